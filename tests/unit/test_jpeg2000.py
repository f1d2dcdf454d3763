"""What each kind of JPEG 2000 decodes to, or that it is refused."""

import io
import struct

import numpy as np
import pytest
from balle2017.data.reasons import Reason
from helpers import make_picture
from odd_pictures import assert_shows, refusal, samples, shown
from PIL import Image

RGB = make_picture(6, 16, 24)
ALPHA = samples(8, 1, 16, 24).astype(np.uint8)


def encoded(pixels: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG2000", **options)
    return buffer.getvalue()


def with_depth(data: bytes, *depths: int) -> bytes:
    """Return a JPEG 2000 that states other bits for its bands, and is the same otherwise.

    Half of the range is added to samples after decoding, so the middle of the range stays.
    """
    changed = bytearray(data)
    siz = data.index(b"\xff\x4f\xff\x51") + 2
    for band, depth in enumerate(depths):
        changed[siz + 40 + 3 * band] = depth - 1
    header = data.find(b"ihdr")
    if header >= 0:
        changed[header + 14] = depths[0] - 1
    return bytes(changed)


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + name + body


def with_boxes(data: bytes, **boxes: bytes) -> bytes:
    """Return a JP2 whose header has other boxes, or more; empty ones are left out."""
    start = data.index(b"jp2h") - 4
    end = start + int.from_bytes(data[start : start + 4], "big")
    found, at = {}, start + 8
    while at < end:
        length = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8].decode()] = data[at + 8 : at + length]
        at += length
    kept = {name: body for name, body in (found | boxes).items() if body}
    header = b"".join(box(name.encode(), body) for name, body in kept.items())
    return data[:start] + box(b"jp2h", header) + data[end:]


def bands(*entries: tuple[int, int, int]) -> bytes:
    """Return a box that says of each band its number, its kind and which colour it is."""
    return struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHH", *e) for e in entries)


def space(number: int) -> bytes:
    return b"\1\0\0" + struct.pack(">I", number)


COLOURS = [(0, 0, 1), (1, 0, 2), (2, 0, 3)]


@pytest.mark.parametrize("no_jp2", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 10, 12, 14, 15])
def test_grey_of_any_depth(bits, no_jp2):
    grey = samples(bits, 1, 16, 24)
    room = 8 if bits < 8 else 16
    stored = grey[..., 0] - 2 ** (bits - 1) + 2 ** (room - 1)
    data = encoded(stored.astype(f"u{room // 8}"), no_jp2=no_jp2)
    assert_shows(with_depth(data, bits), shown(grey, 2**bits - 1))


@pytest.mark.parametrize("bits", [1, 4, 7])
def test_few_bits_of_colour_and_alpha(bits):
    values = samples(bits, 4, 16, 24)
    stored = (values - 2 ** (bits - 1) + 128).astype(np.uint8)
    expected = shown(values[..., :3], 2**bits - 1)
    assert_shows(with_depth(encoded(stored[..., :3]), *[bits] * 3), expected)
    expected = shown(values[..., :3], 2**bits - 1, values[..., 3])
    assert_shows(with_depth(encoded(stored), *[bits] * 4), expected, 1)


@pytest.mark.parametrize("depths", [[9] * 3, [12] * 3, [16] * 3, [16] * 4, [10] * 2, [8, 4, 8]])
def test_depths_that_pillow_gets_wrong_are_refused(depths):
    values = np.dstack([RGB, ALPHA])[..., [0, 3] if len(depths) == 2 else range(len(depths))]
    image = Image.fromarray(np.ascontiguousarray(values), "LA" if len(depths) == 2 else None)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG2000")
    assert refusal(with_depth(buffer.getvalue(), *depths)) == Reason.UNREAD_KIND


def test_nine_bits_of_grey_are_refused_where_pillow_takes_them_for_eight():
    assert refusal(with_depth(encoded(RGB[..., 0]), 9)) == Reason.UNREAD_KIND


def test_few_bits_of_luma_and_chroma_are_refused():
    data = with_depth(encoded(RGB), 5, 5, 5)
    assert refusal(with_boxes(data, colr=space(18))) == Reason.UNREAD_KIND


def test_a_palette_is_refused():
    palette = struct.pack(">HB", 2, 3) + bytes([7, 7, 7]) + bytes(range(6))
    mapping = b"".join(struct.pack(">HBB", 0, 1, column) for column in (2, 1, 0))
    data = with_boxes(encoded(RGB[..., 0] & 1), colr=space(16), pclr=palette, cmap=mapping)
    assert refusal(data) == Reason.UNREAD_KIND


def test_bands_in_another_order_are_refused():
    swapped = bands((0, 0, 3), (1, 0, 2), (2, 0, 1))
    assert refusal(with_boxes(encoded(RGB), cdef=swapped)) == Reason.UNREAD_KIND
    rgba = np.dstack([RGB, ALPHA])
    alpha_first = bands((0, 1, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3))
    assert refusal(with_boxes(encoded(rgba), cdef=alpha_first)) == Reason.UNREAD_KIND


def test_a_fourth_band_is_alpha_only_where_the_file_says_so():
    rgba = np.dstack([RGB, ALPHA])
    data = encoded(rgba)
    assert_shows(data, shown(RGB.astype(int), 255, ALPHA[..., 0].astype(int)))
    other = bands(*COLOURS, (3, 0xFFFF, 0xFFFF))
    assert_shows(with_boxes(data, cdef=other), RGB.astype(float), 0)
    assert refusal(with_boxes(data, cdef=b"")) == Reason.UNREAD_KIND
    assert refusal(encoded(rgba, no_jp2=True)) == Reason.UNREAD_KIND


def test_premultiplied_alpha_is_refused():
    data = with_boxes(encoded(np.dstack([RGB, ALPHA])), cdef=bands(*COLOURS, (3, 2, 0)))
    assert refusal(data) == Reason.UNREAD_KIND


def test_zero_for_white_is_refused():
    assert refusal(with_boxes(encoded(RGB[..., 0]), colr=space(0))) == Reason.UNREAD_KIND
