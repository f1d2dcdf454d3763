"""Pillow opens and saves .b17 files once balle2017.pillow is imported."""

import io
import shutil
import subprocess
import sys

import balle2017
import balle2017.pillow
import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.data.colour import Samples, to_srgb
from balle2017.errors import InputError
from balle2017.interface import plugin
from balle2017.model.find import PRETRAINED
from helpers import make_picture
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

PIXELS = make_picture(1, 60, 90)


@pytest.fixture(scope="module")
def codec(tensorflow):
    return balle2017.open_codec(0.0018)


@pytest.fixture(scope="module")
def data(codec):
    return codec.compress(PIXELS)


def test_a_file_is_opened_without_decoding_it(codec, data, tmp_path, monkeypatch):
    path = tmp_path / "a.b17"
    path.write_bytes(data)
    decoded = []
    monkeypatch.setattr(
        Codec, "decompress", lambda self, data: decoded.append(data) or np.copy(PIXELS)
    )
    with Image.open(path) as image:
        assert (image.size, image.mode, image.format) == ((90, 60), "RGB", "B17")
        assert image.get_format_mimetype() == "image/x-b17"
        assert decoded == []
        np.testing.assert_array_equal(np.asarray(image), PIXELS)
        image.load()
    assert decoded == [data]


def test_the_pixels_are_those_of_the_codec(codec, data, tmp_path):
    expected = codec.decompress(data)
    (tmp_path / "a.b17").write_bytes(data)
    with open(tmp_path / "a.b17", "rb") as file:
        np.testing.assert_array_equal(Image.open(file), expected)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), expected)
    turned = Image.open(tmp_path / "a.b17").transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(turned, np.rot90(expected))


def test_a_file_may_come_in_parts(codec, data):
    parser = ImageFile.Parser()
    for start in range(0, len(data), 50):
        parser.feed(data[start : start + 50])
    np.testing.assert_array_equal(parser.close(), codec.decompress(data))


def test_a_file_may_be_saved_in_its_own_place(data, tmp_path):
    path = tmp_path / "a.b17"
    path.write_bytes(data)
    Image.open(path).save(path, lambda_rd=0.0035)
    assert path.read_bytes()[:4] == data[:4]
    assert path.read_bytes() != data
    assert Image.open(path).size == (90, 60)


def test_saving(codec, data, tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.b17", lambda_rd=0.0018)
    assert (tmp_path / "a.b17").read_bytes() == data
    buffer = io.BytesIO()
    image.save(buffer, "b17", model=codec.model.folder)
    assert buffer.getvalue() == data
    image.save(tmp_path / "b.b17")
    assert (tmp_path / "b.b17").read_bytes() == balle2017.open_codec(0.013).compress(PIXELS)
    grey = image.convert("L")
    grey.save(tmp_path / "c.b17", max_bytes=10000)
    expected = balle2017.Family().compress(np.asarray(grey.convert("RGB")), max_bytes=10000)
    assert (tmp_path / "c.b17").read_bytes() == expected.data


def test_which_model_saves_where_nobody_chose_one(data, tmp_path, monkeypatch):
    monkeypatch.chdir(PRETRAINED.parent)
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.b17", model="pretrained")
    assert (tmp_path / "a.b17").read_bytes() == balle2017.open_codec(0.013).compress(PIXELS)
    for name in ("0.0018", "0.0130"):
        (tmp_path / "models" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "models" / name).symlink_to(PRETRAINED / name)
    with pytest.raises(ValueError, match=r"lambda_rd=\); its lambdas: 0\.0018, 0\.013$"):
        image.save(tmp_path / "b.b17", model=tmp_path / "models")
    image.save(tmp_path / "b.b17", model=tmp_path / "models", lambda_rd=0.0018)
    assert (tmp_path / "b.b17").read_bytes() == data


def test_a_colour_profile_is_converted(codec, tmp_path):
    image = Image.fromarray(PIXELS)
    # Red and green change places.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.info["icc_profile"] = swap_red_and_green(profile)
    image.save(tmp_path / "a.b17", lambda_rd=0.0018)
    samples = Samples(PIXELS, "RGB", "RGB", profile=image.info["icc_profile"])
    converted, _ = to_srgb(samples)
    assert np.abs(converted.astype(int) - PIXELS[..., [1, 0, 2]]).max() <= 4
    assert (tmp_path / "a.b17").read_bytes() == codec.compress(converted)


def swap_red_and_green(profile):
    """Return an RGB profile whose first two primaries are exchanged."""
    return profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")


def test_what_is_no_b17_file_is_not_identified(data, tmp_path):
    for name, content in {
        "text": b"only text",
        "begun": data[:20],
        "version": data[:3] + b"\x09" + data[4:],
        "no side": data[:12] + bytes(2) + data[14:],
    }.items():
        path = tmp_path / f"{name}.b17"
        path.write_bytes(content)
        with pytest.raises(UnidentifiedImageError):
            Image.open(path)


def test_a_size_beyond_the_limit_is_refused_before_pillow_allocates_it(data, tmp_path):
    path = tmp_path / "large.b17"
    # Width and height, as docs/b17.md has them.
    path.write_bytes(data[:12] + b"\xff\xff\xff\xff" + data[16:])
    with pytest.raises(OSError, match="over the pixel limit: 65535x65535 pixels"):
        Image.open(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "cut short"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged: the content does not match"),
        (lambda data: data + b"0", "longer than its header says"),
    ],
)
def test_damage_is_an_error_of_loading(data, change, message):
    image = Image.open(io.BytesIO(change(data)))
    assert image.size == (90, 60)
    with pytest.raises(OSError, match=rf"cannot decode \.b17 file: {message}"):
        image.load()


def test_models_of_elsewhere_are_added(small_model, tmp_path, monkeypatch):
    monkeypatch.setattr(plugin, "_folders", plugin._folders.copy())
    shutil.copytree(small_model, tmp_path / "mine")
    codec = Codec(small_model)
    data = codec.compress(PIXELS)
    with pytest.raises(OSError, match=r"does not come with the package; tell balle2017\.pillow"):
        Image.open(io.BytesIO(data)).load()
    balle2017.pillow.add_models(tmp_path)
    np.testing.assert_array_equal(Image.open(io.BytesIO(data)), codec.decompress(data))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no model"):
        balle2017.pillow.add_models(tmp_path / "empty")


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "1", "I;16", "LA"])
def test_other_modes_are_refused_as_pillow_refuses_them(mode, tmp_path):
    with pytest.raises(OSError, match=f"cannot write mode {mode} as B17"):
        Image.new(mode, (20, 20)).save(tmp_path / "a.b17")
    assert not (tmp_path / "a.b17").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lambda_rd": 0.5}, ValueError, "no model of lambda 0.5"),
        ({"bpp": -1}, ValueError, "bpp is -1"),
        ({"bpp": 1, "psnr": 30}, ValueError, "not 2 of them"),
        ({"bpp": 1, "lambda_rd": 0.013}, ValueError, "not both"),
        ({"model": "none"}, ValueError, "none does not exist"),
        ({"model": 5}, ValueError, "model is 5; it must be the path of a folder"),
        ({"model": 0}, ValueError, "model is 0; it must be the path of a folder"),
        ({"psnr": True}, ValueError, "psnr is True; it must be a finite number"),
        ({"lambda_rd": True}, ValueError, "lambda is True; it must be a number"),
        ({"refine": "no"}, ValueError, "refine is 'no'; it must be True or False"),
        ({"psnr": 90}, OSError, "cannot write B17: no model reaches 90 dB"),
    ],
)
def test_options_that_cannot_be_met(options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        Image.fromarray(PIXELS).save(tmp_path / "a.b17", **options)
    assert not (tmp_path / "a.b17").exists()


def test_the_plugin_loads_tensorflow_when_pixels_are_needed(data, tmp_path):
    (tmp_path / "a.b17").write_bytes(data)
    program = (
        "import sys, balle2017.pillow\nfrom PIL import Image\n"
        "image = Image.open(sys.argv[1])\nassert 'tensorflow' not in sys.modules\n"
        "print(*image.size)"
    )
    command = [sys.executable, "-c", program, tmp_path / "a.b17"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "90 60\n"), done.stderr
