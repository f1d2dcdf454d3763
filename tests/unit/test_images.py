import io

import numpy as np
import pytest
from balle2017.data.images import decode_image, list_images, list_test_images, read_image, read_size
from balle2017.data.reasons import BadImageError
from balle2017.errors import InputError
from helpers import make_picture
from PIL import Image


def encode(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_rgb_pixels_come_back_unchanged():
    pixels = make_picture(1)
    decoded, mode, _ = decode_image(encode(Image.fromarray(pixels)))
    assert mode == "RGB"
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, pixels)


def test_greyscale_is_repeated():
    grey = make_picture(1)[:, :, 0]
    decoded, mode, _ = decode_image(encode(Image.fromarray(grey)))
    assert mode == "L"
    for channel in range(3):
        np.testing.assert_array_equal(decoded[:, :, channel], grey)


def test_sixteen_bits_are_scaled_to_eight():
    samples = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    decoded = decode_image(encode(Image.fromarray(samples))).pixels
    assert decoded[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_pgm_is_scaled_too():
    data = b"P5 4 1 65535\n" + np.array([0, 257, 128 * 257, 65535], ">u2").tobytes()
    assert decode_image(data)[0][0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_size_is_read_without_decoding():
    """A picture cut in its pixels still has its header."""
    for form in ("PNG", "JPEG"):
        data = encode(Image.fromarray(make_picture(3, 200, 300)), form)
        assert read_size(data[: len(data) // 2]) == (300, 200)


def test_dark_sixteen_bit_pictures_stay_dark():
    samples = np.full((2, 2), 200, np.uint16)
    decoded = decode_image(encode(Image.fromarray(samples))).pixels
    assert decoded.max() <= 1


def test_transparency_lies_over_white():
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    decoded = decode_image(encode(Image.fromarray(pixels))).pixels
    assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_metadata_that_nobody_can_read_turns_no_picture():
    pixels = make_picture(1)
    data = encode(Image.fromarray(pixels), exif=b"Exif\0\0no TIFF header")
    decoded = decode_image(data).pixels
    np.testing.assert_array_equal(decoded, pixels)


def test_exif_orientation_is_applied():
    pixels = make_picture(2, 20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to display
    decoded = decode_image(encode(Image.fromarray(pixels), exif=exif)).pixels
    np.testing.assert_array_equal(decoded, np.rot90(pixels, -1))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_is_none_turns_nothing(value):
    pixels = make_picture(1, 20, 60)
    exif = Image.Exif()
    exif[0x0112] = value
    data = encode(Image.fromarray(pixels), exif=exif)
    np.testing.assert_array_equal(decode_image(data)[0], pixels)
    assert read_size(data, 10**6, 1) == (60, 20)


def test_other_data_is_not_an_image():
    with pytest.raises(BadImageError, match=r"^not an image$"):
        decode_image(b"hello")


def test_truncation_is_noticed():
    data = encode(Image.fromarray(make_picture(3, 200, 200)), "JPEG")
    with pytest.raises(BadImageError, match="truncated"):
        decode_image(data[: len(data) // 2])


def test_pixel_limit_is_checked_before_decoding():
    with pytest.raises(BadImageError, match="64x48 is more than 3071 pixels"):
        decode_image(encode(Image.fromarray(make_picture(1))), max_pixels=64 * 48 - 1)


def test_read_image_names_the_file(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(b"no")
    with pytest.raises(BadImageError, match=f"{path}: not an image"):
        read_image(path)


def test_listing_is_sorted_and_ignores_other_files(picture_folder):
    (picture_folder / "notes.txt").write_text("x")
    assert [path.name for path in list_images(picture_folder)] == [f"{i}.png" for i in range(5)]


def test_listing_needs_pictures(tmp_path):
    with pytest.raises(InputError, match="holds no image"):
        list_images(tmp_path)


def test_a_test_set_names_the_pictures_that_would_share_results(picture_folder):
    assert list_test_images(picture_folder) == list_images(picture_folder)
    (picture_folder / "3.jpg").write_bytes((picture_folder / "3.png").read_bytes())
    with pytest.raises(InputError, match=r"3\.jpg and 3\.png differ only in the suffix"):
        list_test_images(picture_folder)
