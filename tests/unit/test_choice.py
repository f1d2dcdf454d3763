"""The model that meets a goal, also where rate and quality do not rise with lambda."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from balle2017.decibel import psnr_db
from balle2017.errors import InputError
from balle2017.interface.choice import Goal, UnreachableError, choose, measure_psnr
from balle2017.results import metrics
from helpers import make_picture

PIXELS = np.full((10, 20, 3), 100, np.uint8)
AREA = 200


class Coder:
    """Makes files of a given length, which come back with a given error in every sample."""

    def __init__(self, lambda_rd, size, error):
        self.model = SimpleNamespace(config={"lambda_rd": lambda_rd})
        self._size, self._error = size, error
        self.decoded = 0

    def compress(self, pixels, refine=False):
        return bytes(self._size)

    def decompress(self, data):
        assert len(data) == self._size
        self.decoded += 1
        return PIXELS + np.uint8(self._error)


#: Lambda, bytes and error: as a rule, and with a rate and a quality that fall in between.
USUAL = [(0.001, 50, 16), (0.01, 100, 8), (0.1, 200, 2)]
ODD = [(0.001, 90, 4), (0.01, 60, 8), (0.1, 200, 2), (1.0, 210, 3)]
DB = {error: psnr_db(error**2) for error in (2, 3, 4, 8, 16)}


@pytest.mark.parametrize(
    ("models", "goal", "chosen"),
    [
        (USUAL, {"max_bytes": 1000}, 0.1),
        (USUAL, {"max_bytes": 200}, 0.1),
        (USUAL, {"max_bytes": 199}, 0.01),
        (USUAL, {"max_bytes": 50}, 0.001),
        (USUAL, {"bpp": 8 * 100 / AREA}, 0.01),
        (USUAL, {"bpp": 8 * 100 / AREA - 1e-9}, 0.001),
        (USUAL, {"psnr": DB[16]}, 0.001),
        (USUAL, {"psnr": DB[16] + 1e-9}, 0.01),
        (USUAL, {"psnr": DB[2]}, 0.1),
        (ODD, {"max_bytes": 89}, 0.01),
        (ODD, {"max_bytes": 199}, 0.001),
        (ODD, {"max_bytes": 1000}, 0.1),
        (ODD, {"psnr": DB[8]}, 0.01),
        (ODD, {"psnr": DB[4]}, 0.001),
        (ODD, {"psnr": DB[3]}, 0.1),
        ([(0.1, 70, 3), (0.2, 60, 3)], {"max_bytes": 100}, 0.2),
        ([(0.1, 70, 0), (0.2, 60, 0)], {"psnr": 90}, 0.2),
    ],
)
def test_the_best_within_a_size_and_the_smallest_with_a_quality(models, goal, chosen):
    for order in (models, models[::-1]):
        coders = [Coder(*model) for model in order]
        choice = choose(coders, PIXELS, Goal(**goal))
        size, error = next(
            (size, error) for lambda_rd, size, error in models if lambda_rd == chosen
        )
        assert choice.lambda_rd == chosen
        assert (len(choice.data), choice.bpp) == (size, 8 * size / AREA)
        assert choice.psnr == (pytest.approx(psnr_db(error**2)) if error else math.inf)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"max_bytes": 49}, "no model stays within 49 bytes; their files take 50 to 200 bytes"),
        ({"bpp": 1.5}, "no model stays within 1.5 bpp; their files take 2.0000 to 8.0000 bpp"),
        ({"psnr": 60}, f"no model reaches 60 dB; they give {DB[16]:.2f} to {DB[2]:.2f} dB"),
    ],
)
def test_what_cannot_be_reached_is_said_with_the_range(goal, message):
    with pytest.raises(UnreachableError) as caught:
        choose([Coder(*model) for model in USUAL], PIXELS, Goal(**goal))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("goal", "size"),
    [(Goal(max_bytes=100), 100), (Goal(max_bytes=109), 100), (Goal(max_bytes=120), 110)],
)
def test_a_refined_file_is_taken_where_it_is_better_and_fits(goal, size):
    class Refining(Coder):
        def compress(self, pixels, refine=False):
            return bytes(self._size + 10 * refine)

        def decompress(self, data):
            return PIXELS + np.uint8(self._error if len(data) == self._size else 0)

    assert len(choose([Refining(0.1, 100, 2)], PIXELS, goal, refine=True).data) == size


def test_nothing_is_decoded_that_is_not_compared():
    coders = [Coder(*model) for model in USUAL]
    choose(coders, PIXELS, Goal(psnr=DB[16]))
    assert [coder.decoded for coder in coders] == [1, 0, 0]
    coders = [Coder(*model) for model in USUAL]
    choose(coders, PIXELS, Goal(max_bytes=100))
    assert [coder.decoded for coder in coders] == [1, 1, 0]


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({}, "give one of bpp, psnr and max_bytes, not 0"),
        ({"bpp": 1.0, "psnr": 30.0}, "not 2 of them"),
        ({"bpp": 0.0}, "bpp is 0.0; it must be a finite number above 0"),
        ({"psnr": math.nan}, "psnr is nan"),
        ({"bpp": math.inf}, "bpp is inf"),
        ({"max_bytes": -5}, "max_bytes is -5"),
        ({"bpp": "x"}, "bpp is 'x'; it must be a finite number"),
        ({"psnr": True}, "psnr is True; it must be a finite number"),
        ({"psnr": np.True_}, "psnr is True; it must be a finite number"),
        ({"bpp": 1 + 0j}, "it must be a finite number"),
        ({"bpp": np.complex64(1)}, "it must be a finite number"),
    ],
)
def test_a_goal_is_one_number_above_nothing(goal, message):
    with pytest.raises(InputError, match=message):
        Goal(**goal)


@pytest.mark.parametrize("kind", [int, float, np.int8, np.uint64, np.float16, np.float64])
def test_a_goal_may_be_any_real_number(kind):
    assert Goal(psnr=kind(30)).psnr == 30


def test_the_psnr_is_that_of_the_tables():
    original, decoded = make_picture(1, 700, 30), make_picture(2, 700, 30)
    assert measure_psnr(original, decoded) == pytest.approx(metrics.psnr(original, decoded))
    assert measure_psnr(original, original) == math.inf
    black, white = np.zeros((3, 5, 3), np.uint8), np.full((3, 5, 3), 255, np.uint8)
    assert measure_psnr(black, white) == measure_psnr(white, black) == 0
