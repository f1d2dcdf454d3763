import dataclasses
import importlib.metadata
import io

import numpy as np
import pytest
from balle2017.data.images import read_image
from balle2017.data.reasons import BadImageError
from balle2017.errors import CodecLimitError, InputError
from balle2017.results.built_in import BUILT_IN_CODECS
from balle2017.results.conventional import CODECS, get_codec
from balle2017.results.metrics import psnr
from helpers import make_picture
from PIL import Image, ImageCms

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


def test_jpegxl_keeps_size_depth_and_colours(kodak_dir):
    """What comes back are 8-bit samples of sRGB, which nothing converts; colour is not halved."""
    codec = get_codec("jpegxl", [90])
    pixels = read_image(kodak_dir / "kodim20.png")[:101, :203]
    file = codec.encode(pixels, 90)
    with Image.open(io.BytesIO(file)) as image:
        assert (image.mode, image.size) == ("RGB", (203, 101))
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"))
    decoded = codec.decode(file)
    assert np.abs(np.asarray(converted).astype(int) - decoded).max() <= 1
    # A single red pixel on grey has its colour, where half as much chroma would spread it.
    dot = np.full((64, 64, 3), 128, np.uint8)
    dot[31, 31] = (255, 0, 0)
    chroma = {
        name: np.ptp(CODECS[name].decode(CODECS[name].encode(dot, 95))[31, 31].astype(int))
        for name in ("jpeg", "jpeg444", "jpegxl")
    }
    assert chroma["jpeg"] < 130 < min(chroma["jpeg444"], chroma["jpegxl"])


def test_jpegxl_says_what_it_is():
    text = CODECS["jpegxl"].describe()
    version = importlib.metadata.version("pillow-jxl-plugin")
    assert f"pillow-jxl-plugin {version}, effort=7 decoding_speed=0 lossless=False" in text


def test_the_bounds_of_jpegxl_are_those_of_its_encoder():
    pixels = make_picture(1)
    low, high = CODECS["jpegxl"].bounds
    sizes = [len(CODECS["jpegxl"].encode(pixels, quality)) for quality in (low, 50, high)]
    assert sizes == sorted(sizes)
    with pytest.raises(CodecLimitError, match=r"^the JXL encoder fails: The encoder API is"):
        CODECS["jpegxl"].encode(pixels, 100)


def test_a_test_image_in_jpegxl_is_still_refused(tmp_path):
    """That Pillow could read it now changes nothing about what a test set may have."""
    (tmp_path / "x.jxl").write_bytes(CODECS["jpegxl"].encode(make_picture(1), 90))
    with pytest.raises(BadImageError, match="JPEG XL"):
        read_image(tmp_path / "x.jxl")


def test_unknown_codecs_and_qualities_are_named():
    with pytest.raises(InputError, match="unknown codec 'jpg'; it must be one of jpeg, "):
        get_codec("jpg", [50])
    with pytest.raises(InputError, match="quality 101 of jpeg must lie between 1 and 95"):
        get_codec("jpeg", [50, 101])
    for name in ("jpeg", "jpeg_plain", "jpeg444", "avif"):
        with pytest.raises(InputError, match=rf"quality 30\.2 of {name} must be a whole number"):
            get_codec(name, [30, 30.2])
    get_codec("webp", [30.2])
    with pytest.raises(InputError, match="quality 100 of jpegxl must lie between 0 and 99"):
        get_codec("jpegxl", [100])


def test_the_names_are_known_elsewhere():
    assert tuple(CODECS) == BUILT_IN_CODECS
