import dataclasses

import numpy as np
import pytest
from balle2017.data.images import read_image
from balle2017.errors import InputError
from balle2017.results.conventional import CODECS, get_codec
from balle2017.results.metrics import psnr

MIDDLE = {"jpeg2000": (0.5, 2), "jpeg2000_plain": (0.5, 2), "webp": (20, 90), "avif": (20, 90)}


@pytest.mark.parametrize("name", CODECS)
def test_more_quality_is_more_bits_and_less_distortion(name, kodak_dir):
    pixels = read_image(kodak_dir / "kodim20.png")
    results = []
    for quality in MIDDLE.get(name, (20, 90)):
        codec = get_codec(name, [quality])
        data = codec.encode(pixels, quality)
        decoded = codec.decode(data)
        assert decoded.shape == pixels.shape
        results.append((len(data), psnr(pixels, decoded)))
    assert results[0][0] < results[1][0]
    assert results[0][1] + 3 < results[1][1]


def test_jpeg_variants_differ_as_their_names_say(kodak_dir):
    pixels = read_image(kodak_dir / "kodim20.png")
    files = {name: CODECS[name].encode(pixels, 50) for name in ("jpeg", "jpeg_plain", "jpeg444")}
    assert len(files["jpeg"]) < len(files["jpeg_plain"]) < len(files["jpeg444"])
    np.testing.assert_array_equal(
        CODECS["jpeg"].decode(files["jpeg"]), CODECS["jpeg"].decode(files["jpeg_plain"])
    )


def test_jpeg2000_uses_the_colour_transform(kodak_dir):
    pixels = read_image(kodak_dir / "kodim20.png")
    codec = CODECS["jpeg2000"]
    without = dataclasses.replace(codec, options=codec.options | {"mct": 0})
    qualities = [psnr(pixels, c.decode(c.encode(pixels, 1))) for c in (codec, without)]
    assert qualities[0] > qualities[1] + 1.5


def test_unknown_codecs_and_qualities_are_named():
    with pytest.raises(InputError, match="unknown codec 'jpg'; it must be one of jpeg, "):
        get_codec("jpg", [50])
    with pytest.raises(InputError, match="quality 101 of jpeg must lie between 1 and 95"):
        get_codec("jpeg", [50, 101])
