"""The choice of a model by file size or quality."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from balle2017.decibel import psnr_db
from balle2017.errors import InputError

if TYPE_CHECKING:
    from balle2017.coding.codec import Codec

# Rows that are compared at a time, so that a large image is not copied whole.
_ROWS = 256


class UnreachableError(InputError):
    """No model meets a goal for an image. The message gives the range that they reach."""


def is_real(value: object) -> bool:
    """Tell a real number, which True and False are not meant to be, from all else."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


@dataclass(frozen=True)
class Goal:
    """What a compressed image has to be. One of these is given.

    Attributes:
        bpp: at most so many bits per pixel.
        psnr: at least this PSNR in dB of the decoded pixels.
        max_bytes: at most so many bytes in the file.
    """

    bpp: float | None = None
    psnr: float | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            InputError: none or several are given, or one is not above 0.
        """
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise InputError(f"give one of bpp, psnr and max_bytes, not {len(given)} of them")
        ((name, value),) = given.items()
        if not (is_real(value) and math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value!r}; it must be a finite number above 0")


class Choice(NamedTuple):
    """A compressed image, with its rate and quality.

    Attributes:
        data: the whole file.
        lambda_rd: of the model that made it.
        bpp: bits per pixel of the file.
        psnr: in dB, of the pixels that it decodes to, over R, G and B; infinite without error.
    """

    data: bytes
    lambda_rd: float
    bpp: float
    psnr: float


def measure_psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Return the PSNR in dB of two uint8 arrays [height, width, 3]; infinity if equal."""
    total = 0
    for top in range(0, len(original), _ROWS):
        rows = slice(top, top + _ROWS)
        difference = original[rows].astype(np.int64) - decoded[rows]
        total += int((difference * difference).sum())
    return psnr_db(total / original.size)


def choose(
    codecs: Sequence["Codec"], pixels: np.ndarray, goal: Goal, refine: bool = False
) -> Choice:
    """Return the image, coded by the model that meets the goal best.

    Rate and quality usually rise with lambda, but not for every image. So every file is made, and
    the choice is made on real sizes and decoded pixels.

    Args:
        codecs: of several models.
        pixels: uint8 [height, width, 3].
        goal: with a limit on the size, the best PSNR within it (and the smallest of equally good
            files); with a PSNR, the smallest file that reaches it.
        refine: let each model also make a refined file, see `Codec.encode`.

    Raises:
        UnreachableError: no model meets it.
    """

    def measured(data: bytes, codec: "Codec") -> Choice:
        psnr = measure_psnr(pixels, codec.decompress(data))
        return Choice(data, codec.model.config["lambda_rd"], 8 * len(data) / area, psnr)

    # The refined file of a model may be larger than the other one. (This checks the pixels,
    # and `refine`, whatever it is.)
    ways = (False, refine) if refine else (refine,)
    files = [(codec.compress(pixels, refine=way), codec) for codec in codecs for way in ways]
    area = pixels[:, :, 0].size
    files.sort(key=lambda file: len(file[0]))
    if goal.psnr is not None:
        highest, lowest = -math.inf, math.inf
        for data, codec in files:
            choice = measured(data, codec)
            if choice.psnr >= goal.psnr:
                return choice
            highest, lowest = max(highest, choice.psnr), min(lowest, choice.psnr)
        raise UnreachableError(
            f"no model reaches {goal.psnr:g} dB; they give {lowest:.2f} to {highest:.2f} dB"
        )
    smallest, largest = len(files[0][0]), len(files[-1][0])
    if goal.bpp is not None:
        fitting = [file for file in files if 8 * len(file[0]) <= goal.bpp * area]
        limit = f"{goal.bpp:g} bpp"
        there = f"{8 * smallest / area:.4f} to {8 * largest / area:.4f} bpp"
    else:
        assert goal.max_bytes is not None, "a goal has one value"
        fitting = [file for file in files if len(file[0]) <= goal.max_bytes]
        limit, there = f"{goal.max_bytes} bytes", f"{smallest} to {largest} bytes"
    if not fitting:
        raise UnreachableError(f"no model stays within {limit}; their files take {there}")
    # The first of equals, which is the smallest.
    return max((measured(*file) for file in fitting), key=lambda choice: choice.psnr)
