"""Whatever reads a picture sees the same pixels, converted to sRGB and turned."""

import io

import numpy as np
import pytest
from archives import tar_bytes
from balle2017.coding.codec import Codec
from balle2017.data.split import split_images
from balle2017.data.store import ImageStore
from balle2017.files import read_table
from balle2017.interface.choice import measure_psnr
from helpers import make_picture, run_script
from odd_pictures import P3, in_srgb, rgb_profile, turned
from PIL import Image


@pytest.fixture(scope="module")
def odd():
    """A JPEG in another space, to be turned, and what it shows, within 2 levels."""
    buffer, marks = io.BytesIO(), Image.Exif()
    marks[0x0112] = 6
    profile = rgb_profile(P3, 2.2)
    picture = Image.fromarray(make_picture(11) // 2 + 64)
    picture.save(buffer, "JPEG", quality=95, exif=marks, icc_profile=profile)
    stored = np.asarray(Image.open(buffer))
    return buffer.getvalue(), turned(in_srgb(stored / 255, P3, 2.2), 6)


@pytest.fixture
def pixels(odd, tmp_path):
    """What unpacking makes of it in an archive of test images."""
    (tmp_path / "test.tar").write_bytes(tar_bytes({"odd.jpg": odd[0]}))
    done = run_script("unpack_test_images", tmp_path / "test.tar", "--out", tmp_path / "unpacked")
    assert done.returncode == 0, done.stderr
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "odd.jpg").write_bytes(odd[0])
    with Image.open(tmp_path / "unpacked" / "odd.png") as image:
        return np.asarray(image)


def test_test_images_are_converted_and_turned(pixels, odd):
    assert pixels.shape == odd[1].shape
    assert np.abs(pixels - odd[1]).max() <= 2


def test_training_sees_what_tests_see(pixels, odd, picture_folder, tmp_path):
    (picture_folder / "odd.jpg").write_bytes(odd[0])
    out = tmp_path / "dataset"
    done = run_script("extract", picture_folder, "--out", out, "--min_size", 16)
    assert done.returncode == 0, done.stderr
    split_images(out / "manifest.csv", tmp_path, 0.5, 1)
    stores = [ImageStore(tmp_path / f"{side}.csv") for side in ("train", "val")]
    (found,) = (
        store[index]
        for store in stores
        for index, name in enumerate(store.names)
        if name == "odd.jpg"
    )
    np.testing.assert_array_equal(found, pixels)
    for tests in (tmp_path / "photos", tmp_path / "unpacked"):
        assert split_images(out / "manifest.csv", tmp_path, 0.5, 1, [tests]).kept_out == ["odd.jpg"]


def test_compressing_and_evaluating_see_it_too(pixels, small_model, tmp_path):
    codec, photos = Codec(small_model), tmp_path / "photos"
    data = codec.compress(pixels)
    done = run_script("compress", photos, "--model", small_model, "--out", tmp_path / "packed")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "packed" / "odd.b17").read_bytes() == data
    out = tmp_path / "evaluation"
    done = run_script("evaluate", "--model", small_model, "--images", photos, "--out", out)
    assert done.returncode == 0, done.stderr
    assert (out / "bitstreams" / "odd.b17").read_bytes() == data
    (row,) = read_table(out / "per_image.csv")
    assert float(row["psnr_rgb"]) == pytest.approx(measure_psnr(pixels, codec.decompress(data)))
