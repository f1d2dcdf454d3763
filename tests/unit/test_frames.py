"""Pictures of several frames or scans, of which the first frame is shown, and all scans."""

import io
import struct
from itertools import pairwise

import numpy as np
import pytest
from balle2017.data.images import decode_image, read_size
from balle2017.data.reasons import Reason
from helpers import make_picture
from odd_pictures import assert_shows, refusal
from PIL import Image

RGB = make_picture(8, 37, 53)


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def on_white(height: int, width: int, top: int, left: int, pixels: np.ndarray) -> np.ndarray:
    """Return what a frame shows that covers a part of its screen."""
    screen = np.full((height, width, 3), 255.0)
    screen[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
    return screen


@pytest.mark.parametrize("mode", ["P", "L", "clear"])
def test_around_the_first_frame_of_a_gif_nothing_is_shown(mode):
    image = Image.fromarray(RGB).quantize(32) if mode != "L" else Image.fromarray(RGB).convert("L")
    options = {"transparency": 3} if mode == "clear" else {}
    data = bytearray(encoded(image, "GIF", interlace=0, **options))
    shown = decode_image(bytes(data)).pixels
    struct.pack_into("<HH", data, 6, 70, 50)
    struct.pack_into("<HH", data, data.rindex(struct.pack("<4H", 0, 0, 53, 37)), 11, 7)
    assert_shows(bytes(data), on_white(50, 70, 7, 11, shown), 0)


@pytest.mark.parametrize("alpha", [0, 0x10])
def test_around_the_first_frame_of_a_webp_nothing_is_shown(alpha):
    image = encoded(Image.fromarray(RGB), "WEBP", lossless=True)[12:]
    numbers = (11 // 2, 7 // 2, 52, 36, 100)
    frame = b"".join(struct.pack("<I", number)[:3] for number in numbers) + b"\0" + image
    screen = bytes([alpha | 2, 0, 0, 0]) + b"".join(struct.pack("<I", n)[:3] for n in (69, 49))
    chunks = {b"VP8X": screen, b"ANIM": bytes(3) + b"\xff\0\0", b"ANMF": frame}
    body = b"".join(name + struct.pack("<I", len(c)) + c for name, c in chunks.items())
    data = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    assert_shows(data, on_white(50, 70, 6, 10, RGB), 0)


def test_a_progressive_jpeg_without_its_last_scans_is_truncated():
    data = encoded(Image.fromarray(RGB), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 5
    assert_shows(data, np.asarray(Image.open(io.BytesIO(data))).astype(float), 0)
    for before, scan in pairwise(scans):
        tables = data.find(b"\xff\xc4", before, scan)
        cut = data[: scan if tables < 0 else tables] + b"\xff\xd9"
        assert refusal(cut) == Reason.TRUNCATED
        assert read_size(cut) == (53, 37)


def test_a_jpeg_without_the_scans_of_some_bands_is_truncated():
    data = encoded(Image.fromarray(RGB).convert("L"), "JPEG")
    at = data.index(b"\xff\xc0")
    bands = b"".join(bytes([band, 0x11, 0]) for band in (1, 2, 3))
    frame = data[at : at + 9] + b"\3" + bands
    assert data[at + 10] == 1
    colour = data[:at] + frame[:2] + struct.pack(">H", 17) + frame[4:] + data[at + 13 :]
    assert refusal(colour) == Reason.TRUNCATED


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC7, 0xCB, 0xCF, 0xF7])
def test_jpegs_of_other_kinds_are_not_called_damaged(marker):
    data = encoded(Image.fromarray(RGB), "JPEG")
    changed = data.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)
    assert refusal(changed) == Reason.UNREAD_KIND
