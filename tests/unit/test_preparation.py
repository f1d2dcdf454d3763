import dataclasses
import hashlib
import io

import numpy as np
import pytest
from archives import png
from balle2017.data.extraction import ExtractSettings, prepare
from balle2017.data.store import pixel_hash, uniform
from balle2017.errors import InputError
from helpers import make_picture
from PIL import Image


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def test_pixels_pass_unchanged_by_default():
    result = prepare(png(1), ExtractSettings(min_size=16))
    np.testing.assert_array_equal(result.pixels, make_picture(1))
    assert result.row["sha256"] == hashlib.sha256(png(1)).hexdigest()
    assert result.row["pixel_hash"] == pixel_hash(make_picture(1))
    assert (result.row["width"], result.row["height"], result.row["scale"]) == (64, 48, 1)


def test_downscaling_draws_a_factor_for_each_picture():
    settings = ExtractSettings(min_size=16, downscale=(0.5, 0.75))
    factors = set()
    for seed in range(20):
        result = prepare(png(seed, 100, 200), settings)
        height, width, _ = result.pixels.shape
        factor = result.row["scale"]
        assert 0.5 <= factor <= 0.75
        assert (width, height) == (round(200 * factor), round(100 * factor))
        assert (result.row["width"], result.row["height"]) == (width, height)
        again = prepare(png(seed, 100, 200), settings)
        np.testing.assert_array_equal(again.pixels, result.pixels)
        factors.add(factor)
    assert len(factors) == 20


def test_a_scaled_picture_is_known_by_its_pixels_before():
    pixels = make_picture(1, 100, 200)
    settings = ExtractSettings(min_size=16, downscale=(0.5, 0.75))
    png_row = prepare(encoded(pixels), settings).row
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "BMP")
    bmp_row = prepare(buffer.getvalue(), settings).row
    assert png_row["pixel_hash"] == bmp_row["pixel_hash"] == pixel_hash(pixels)
    assert png_row["scale"] == bmp_row["scale"]


def test_the_split_does_not_follow_the_factor():
    """Both draw from the hash of the pixels and the same seed."""
    settings = ExtractSettings(min_size=16, downscale=(0.5, 1.0))
    factors = {True: [], False: []}
    for seed in range(60):
        row = prepare(png(seed, 100, 100), settings).row
        factors[uniform(settings.seed, row["pixel_hash"]) < 0.5].append(row["scale"])
    for side in factors.values():
        assert min(side) < 0.6 < 0.9 < max(side)


def test_the_stored_pixels_are_recorded():
    settings = ExtractSettings(min_size=16, downscale=(0.5, 0.75))
    plain, scaled = (
        prepare(png(1, 100, 200), s)
        for s in (dataclasses.replace(settings, downscale=None), settings)
    )
    assert plain.row["stored_hash"] == plain.row["pixel_hash"] == pixel_hash(plain.pixels)
    assert scaled.row["pixel_hash"] == plain.row["pixel_hash"]
    assert scaled.row["stored_hash"] == pixel_hash(scaled.pixels) != plain.row["stored_hash"]


def test_downscaling_stops_at_min_size():
    result = prepare(png(1, 48, 64), ExtractSettings(min_size=40, downscale=(0.1, 0.2)))
    assert min(result.pixels.shape[:2]) == 40


def test_saturated_and_flat_pictures_are_rejected():
    half = make_picture(1).copy()
    half[:24] = 255
    settings = ExtractSettings(min_size=16, max_saturated=0.4, min_deviation=2)
    assert prepare(encoded(half), settings).row["reason"].startswith("saturated: 5")
    flat = np.full((48, 64, 3), 77, np.uint8)
    row = prepare(encoded(flat), settings).row
    assert (row["status"], row["reason"]) == ("rejected", "flat: standard deviation 0.0")
    assert prepare(png(2), settings).row["status"] == "accepted"
    assert prepare(encoded(flat), ExtractSettings(min_size=16)).row["status"] == "accepted"


def test_a_turned_picture_has_its_displayed_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.jpg"
    Image.fromarray(make_picture(1, 20, 60)).save(path, exif=exif)
    row = prepare(path.read_bytes(), ExtractSettings(min_size=16)).row
    assert (row["width"], row["height"]) == (20, 60)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_size": 0}, "min_size is 0"),
        ({"max_images": 1}, "max_images is 1"),
        ({"downscale": (0.9, 0.5)}, "downscale is 0.9 0.5"),
        ({"downscale": (0.5, 1.5)}, "downscale is 0.5 1.5"),
        ({"max_rejected": 2}, "max_rejected is 2"),
        ({"max_saturated": -1}, "max_saturated is -1"),
    ],
)
def test_bounds(settings, message):
    with pytest.raises(InputError, match=message):
        ExtractSettings(**settings)
