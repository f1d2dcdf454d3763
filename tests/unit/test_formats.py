"""What each kind of each format decodes to, beside a reference computed from its samples."""

import io
import struct
import zlib
from itertools import product

import numpy as np
import pytest
import simplejpeg
from balle2017.data.images import decode_image, read_size
from balle2017.data.reasons import BadImageError, Reason
from helpers import make_picture
from odd_pictures import (
    assert_shows,
    chunk,
    exif,
    gif,
    pack,
    png,
    refusal,
    samples,
    shown,
    turned,
)
from PIL import Image

# PNG

TYPES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize(
    ("bits", "colours"),
    [
        *((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)),
        *((1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)),
    ],
)
def test_png(bits, colours, clear, interlace):
    values = samples(bits, TYPES[colours])
    maximum, alpha, parts = 2**bits - 1, None, []
    colour = values
    if colours == 3:
        palette = samples(8, 3, 1, 2**bits)[0]
        parts.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
        maximum, colour = 255, palette[values[..., 0]]
        if clear:
            alphas = samples(8, 1, 1, 2**bits)[0, :, 0]
            parts.append(chunk(b"tRNS", alphas.astype(np.uint8).tobytes()))
            alpha = alphas[values[..., 0]]
    elif colours in (4, 6):
        colour, alpha = values[..., :-1], values[..., -1]
    elif clear:
        # Beside the pixel that is clear, one whose samples differ in the last bit.
        values[1, 1] = values[2, 2] ^ 1
        parts.append(chunk(b"tRNS", values[2, 2].astype(">u2").tobytes()))
        alpha = np.where((values == values[2, 2]).all(axis=2), 0, maximum)
    data = png(values, bits, colours, parts, interlace)
    tolerance = 1 if bits == 16 and alpha is not None else 0.5
    assert_shows(data, shown(colour, maximum, alpha), tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", [">", "<"])
def test_a_png_is_turned(orientation, order):
    rgb = make_picture(7, 16, 24)
    data = png(rgb, 8, 2, [chunk(b"eXIf", exif(orientation, order))])
    assert_shows(data, turned(rgb, orientation).astype(float))


def test_text_of_any_size_harms_no_png():
    rgb = make_picture(3)
    text = zlib.compress(bytes(100_000_000))
    parts = [
        chunk(b"zTXt", b"workflow\0\0" + text),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + text),
        chunk(b"tEXt", b"long\0" + bytes(5_000_000).replace(b"\0", b"x")),
    ]
    assert_shows(png(rgb, 8, 2, parts), rgb.astype(float))


@pytest.mark.parametrize("name", [b"eXIf", b"tEXt", b"pHYs", b"gAMA", b"iCCP", b"tIME", b"bKGD"])
def test_a_wrong_checksum_of_what_is_no_pixel_does_no_harm(name):
    rgb = make_picture(3)
    data = png(rgb, 8, 2, [chunk(name, b"MM\0*\0\0\0\x08", damage=1)])
    assert_shows(data, rgb.astype(float))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"eXIf", exif(6, ">")),
        (b"gAMA", struct.pack(">I", 100000)),
        (b"cICP", bytes([12, 13, 0, 1])),
    ],
    ids=["eXIf", "gAMA", "cICP"],
)
def test_what_has_a_wrong_checksum_neither_turns_nor_converts(name, body):
    rgb = make_picture(3)
    whole = decode_image(png(rgb, 8, 2, [chunk(name, body)])).pixels
    assert not np.array_equal(whole, rgb)
    damaged = png(rgb, 8, 2, [chunk(name, body, damage=1)])
    assert_shows(damaged, rgb.astype(float), 0)
    assert decode_image(damaged).colour == ""


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"IEND"])
def test_a_wrong_checksum_of_pixels_is_damage(name):
    parts = [chunk(b"PLTE", bytes(768)), chunk(b"tRNS", bytes(256))]
    data = bytearray(png(samples(8, 1), 8, 3, parts))
    at = data.index(name) - 4
    data[at + 8 + int.from_bytes(data[at : at + 4], "big")] ^= 1
    assert refusal(bytes(data)) == Reason.DAMAGED_IMAGE


def test_a_png_that_ends_early_is_truncated():
    data = png(samples(8, 3), 8, 2)
    for length in (30, len(data) - 20, len(data) - 12, len(data) - 1):
        assert refusal(data[:length]) == Reason.TRUNCATED


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("bits", "colours"), [(1, 0), (8, 2), (16, 6)])
def test_a_png_with_too_few_rows_is_truncated(bits, colours, interlace):
    data = png(samples(bits, TYPES[colours]), bits, colours, (), interlace)
    rest = (bits, colours, 0, 0, interlace)
    header, taller = (chunk(b"IHDR", struct.pack(">IIBBBBB", 13, h, *rest)) for h in (5, 9))
    # The rows of passes after the first are then found at wrong places.
    reasons = [Reason.TRUNCATED, Reason.DAMAGED_IMAGE][: 1 + interlace]
    assert refusal(data.replace(header, taller)) in reasons


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (3, 2), (8, 8)])
def test_a_black_png_is_whole(height, width, interlace):
    black = np.zeros((height, width, 3), int)
    assert_shows(png(black, 8, 2, (), interlace), black.astype(float))


def test_a_png_of_an_unknown_kind_is_refused():
    assert refusal(png(samples(8, 3), 8, 2, [chunk(b"CgBI", b"")])) == Reason.UNREAD_KIND


def test_a_png_with_two_headers_or_no_palette_is_damaged():
    again = chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 3, 8, 2, 0, 0, 0))
    assert refusal(png(samples(8, 3), 8, 2, [again])) == Reason.DAMAGED_IMAGE
    assert refusal(png(samples(8, 1), 8, 3)) == Reason.DAMAGED_IMAGE


def test_the_reason_for_an_impossible_header_is_the_same_each_time():
    data = png(samples(8, 3), 4, 2)
    with pytest.raises(BadImageError, match=r"^damaged image: the header has values that are not"):
        decode_image(data)


# PNM


@pytest.mark.parametrize("maximum", [1, 2, 15, 100, 255, 256, 1000, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_pnm(kind, maximum):
    values = np.random.default_rng(maximum).integers(
        0, maximum + 1, (5, 13, 3 if kind % 3 == 0 else 1)
    )
    body = " ".join(map(str, values.reshape(-1))).encode()
    if kind > 3:
        body = values.astype(">u2" if maximum > 255 else "u1").tobytes()
    data = b"P%d\n# a remark 1 2\n13 5\n%d\n" % (kind, maximum) + body
    assert_shows(data, shown(values, maximum))
    assert refusal(data[:-20]) == Reason.TRUNCATED


@pytest.mark.parametrize("kind", [4, 5, 6])
@pytest.mark.parametrize("maximum", [255, 1000])
def test_a_pnm_of_windows(kind, maximum):
    values = samples(1 if kind == 4 else 7, 3 if kind == 6 else 1)
    body = (
        pack(values, 1) if kind == 4 else values.astype(">u2" if maximum > 255 else "u1").tobytes()
    )
    lines = b"P%d\r\n13 5\r\n" % kind + (b"" if kind == 4 else b"%d\r\n" % maximum)
    expected = shown(1 - values, 1) if kind == 4 else shown(values, maximum)
    assert_shows(lines + body, expected)
    # After the usual end of a line this byte belongs to the pixels.
    assert_shows(lines[:-2] + b"\n" + body, expected)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_pnm_of_spaces_is_refused_at_once(number):
    data = b"P6" + (b" " * 900 + b"1") * number + b" " * 900 + b"x"
    assert refusal(data) == Reason.DAMAGED_IMAGE


@pytest.mark.parametrize("kind", [1, 4])
def test_pbm(kind):
    ink = samples(1, 1)
    text = "".join(map(str, ink.reshape(-1))).encode()
    data = b"P%d 13 5\n" % kind + (text if kind == 1 else pack(ink, 1))
    assert_shows(data, shown(1 - ink, 1))


def test_a_pnm_does_not_exceed_its_maximum():
    assert refusal(b"P5 2 1 100\n" + bytes([100, 101])) == Reason.DAMAGED_IMAGE
    assert refusal(b"P2 2 1 100\n100 x1") == Reason.DAMAGED_IMAGE
    assert refusal(b"P2 2 1 100\n100 101") == Reason.DAMAGED_IMAGE
    assert refusal(b"P1 2 1\n1 2 0") == refusal(b"P1 2 1\n1 text 0") == Reason.DAMAGED_IMAGE


# BMP and GIF


@pytest.mark.parametrize("alpha", ["none", "some"])
def test_an_alpha_of_a_bmp_that_is_nought_everywhere_is_none(alpha):
    rgb = make_picture(5, 16, 24)
    band = np.zeros((16, 24, 1), np.uint8)
    band[3:, :] = 0 if alpha == "none" else 200
    bgra = np.concatenate([rgb[..., ::-1], band], axis=2)[::-1]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 24, 16, 1, 32, 3, bgra.size, 0, 0, 0, 0) + masks
    body = header.ljust(108, b"\0") + bgra.tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 108) + body
    opaque = None if alpha == "none" else band[..., 0].astype(int)
    assert_shows(data, shown(rgb.astype(float), 255, opaque))


@pytest.mark.parametrize("size", [12, 40, 52, 56, 64, 108, 124])
def test_all_headers_of_bmp_are_read(size):
    rgb = make_picture(5, 16, 24)
    if size == 12:
        header = struct.pack("<IHHHH", size, 24, 16, 1, 24)
    else:
        header = struct.pack("<IiiHHIIiiII", size, 24, 16, 1, 24, 0, 0, 0, 0, 0, 0)
    body = header.ljust(size, b"\0") + rgb[::-1, :, ::-1].tobytes()
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + size) + body
    assert_shows(data, rgb.astype(float))


def bmp(pixels: bytes, bits: int, palette: bytes, masks: bytes = b"") -> bytes:
    """Return a BMP of 24x16 pixels with four bytes for each colour of its palette."""
    compression = 3 if masks else 0
    colours = len(palette) // 4
    header = struct.pack("<IiiHHIIiiII", 40, 24, 16, 1, bits, compression, 0, 0, 0, colours, 0)
    start = 14 + len(header + masks + palette)
    body = header + masks + palette + pixels
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, start) + body


def test_a_bmp_of_more_bits_than_its_greys_need_is_refused():
    black_and_white = bytes(4) + b"\xff\xff\xff\0"
    values = samples(1, 1, 16, 24)
    rows = pack(values[::-1], 1) + bytes(1)
    lines = b"".join(rows[at : at + 3] + b"\0" for at in range(0, 48, 3))
    assert_shows(bmp(lines, 1, black_and_white), shown(values, 1))
    assert refusal(bmp(values.astype(np.uint8).tobytes(), 8, black_and_white)) == Reason.UNREAD_KIND
    dark = bytes(level for level in range(16) for _ in range(4))
    assert refusal(bmp(bytes(192), 4, dark)) == Reason.UNREAD_KIND


@pytest.mark.parametrize("green", [5, 6])
def test_a_bmp_of_sixteen_bits(green):
    values = np.arange(3 * 16 * 24).reshape(16, 24, 3) % [32, 2**green, 32]
    packed = values @ [1 << (5 + green), 32, 1]
    masks = struct.pack("<3I", 31 << (5 + green), (2**green - 1) << 5, 31)
    data = bmp(packed[::-1].astype("<u2").tobytes(), 16, b"", masks)
    assert_shows(data, 255 * values / [31, 2**green - 1, 31], 0.5)


def test_a_bmp_that_pillow_does_not_know_is_not_called_damaged():
    masks = struct.pack("<3I", 0x3FF00000, 0xFFC00, 0x3FF)
    assert refusal(bmp(bytes(4 * 16 * 24), 32, b"", masks)) == Reason.UNREAD_KIND
    assert refusal(bmp(bytes(6 * 16), 2, bytes(16))) == Reason.UNREAD_KIND


@pytest.mark.parametrize("kind", ["colours", "greys"])
def test_the_transparent_colour_of_a_gif_lies_over_white(kind):
    indices = samples(8, 1)[..., 0]
    clear, twin = indices[2, 2], indices[1, 1]
    palette = np.repeat(np.arange(256)[:, np.newaxis], 3, axis=1)  # Pillow sees no palette here
    if kind == "colours":
        palette = samples(8, 3, 1, 256)[0]
        # The same colour under another number is not transparent.
        palette[twin] = palette[clear]
    expected = palette[indices].astype(float)
    expected[indices == clear] = 255
    assert_shows(gif(indices, palette, clear), expected, 0)


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *product(["BMP", "GIF", "PNG", "TIFF", "WEBP"], ["1", "L", "P", "RGB"]),
        *product(["PPM"], ["1", "L", "RGB"]),
        *product(["JPEG2000"], ["L", "RGB"]),
    ],
)
def test_what_pillow_writes_without_loss(form, mode):
    rgb = Image.fromarray(make_picture(6, 16, 24))
    image = rgb.quantize(16) if mode == "P" or (mode, form) == ("RGB", "GIF") else rgb.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, form, **({"lossless": True} if form == "WEBP" else {}))
    assert_shows(buffer.getvalue(), np.asarray(image.convert("RGB")).astype(float))


@pytest.mark.parametrize("no_jp2", [False, True])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_the_samples_of_a_jpeg_2000(mode, no_jp2):
    grey = np.random.default_rng(3).integers(0, 65536, (16, 24), np.uint16)
    image = Image.fromarray(grey)
    if mode != "I;16":
        image = Image.fromarray(make_picture(6, 16, 24)).convert(mode)
    values, maximum = np.asarray(image), 65535 if mode == "I;16" else 255
    for signed in (False, True):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG2000", signed=signed, no_jp2=no_jp2)
        if signed:
            assert refusal(buffer.getvalue()) == Reason.UNREAD_KIND
        else:
            shape = values if mode == "RGB" else values[..., np.newaxis]
            assert_shows(buffer.getvalue(), shown(shape.astype(float), maximum))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_alpha_lies_over_white(form, mode):
    values = np.random.default_rng(2).integers(0, 256, (16, 24, len(mode)), np.uint8)
    if form == "AVIF":  # which is not exact
        values = np.asarray(Image.fromarray(make_picture(1, 64, 64)).convert(mode)).copy()
        values[:32, :, -1] = 0
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    options = {"quality": 100, "subsampling": "4:4:4"} if form == "AVIF" else options
    Image.fromarray(values).save(buffer, form, **options)
    expected = shown(values[..., :-1].astype(float), 255, values[..., -1].astype(int))
    assert_shows(buffer.getvalue(), expected, 4 if form == "AVIF" else 0.5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "WEBP", "AVIF"])
def test_a_picture_is_turned(form, orientation):
    rgb = make_picture(7, 32, 48)
    buffer = io.BytesIO()
    marks = Image.Exif()
    marks[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": "4:4:4"}
    Image.fromarray(rgb).save(buffer, form, exif=marks, **options)
    assert_shows(buffer.getvalue(), turned(rgb, orientation).astype(float), 4)


def with_property(data: bytes, box: bytes) -> bytes:
    """Return an AVIF of one picture with one more property, the fifth."""
    changed = bytearray(data)
    end = data.index(b"mdat") - 4
    growth = {b"meta": len(box) + 1, b"iprp": len(box) + 1, b"ipco": len(box), b"ipma": 1}
    for name, count in growth.items():
        at = data.index(name) - 4
        struct.pack_into(">I", changed, at, int.from_bytes(data[at : at + 4], "big") + count)
    # The place of the pixels, and the number of properties.
    place = data.index(struct.pack(">I", end + 8), data.index(b"iloc"))
    struct.pack_into(">I", changed, place, end + 8 + len(box) + 1)
    start = data.index(b"ipma")
    changed[start + 14] += 1
    changed[end:end] = b"\x85"
    changed[start - 4 : start - 4] = box
    return bytes(changed)


def test_an_avif_is_not_shown_with_what_it_cuts_off():
    rgb = make_picture(7, 32, 48)
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    mirror = struct.pack(">I4sB", 9, b"imir", 1)
    assert_shows(with_property(buffer.getvalue(), mirror), rgb[:, ::-1].astype(float), 4)
    window = struct.pack(">I4sIIIIiIiI", 40, b"clap", 24, 1, 16, 1, 0, 1, 0, 1)
    assert refusal(with_property(buffer.getvalue(), window)) == Reason.UNREAD_KIND


# JPEG


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "RGB kept"])
def test_jpeg_is_what_pillow_decodes(mode, subsampling, progressive):
    image = Image.fromarray(make_picture(8, 37, 53)).convert(mode.split()[0])
    options = {"keep_rgb": True} if "kept" in mode else {"subsampling": subsampling}
    if mode == "CMYK" and subsampling != "4:4:4" and progressive:
        assert refusal(jpeg(image, progressive=True, **options)) == Reason.UNREAD_KIND
        return
    data = jpeg(image, progressive=progressive, restart_marker_rows=1, **options)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert_shows(data, expected.astype(float), 0)


@pytest.mark.parametrize("subsampling", ["440", "411", "422", "Gray"])
def test_other_subsamplings(subsampling):
    data = simplejpeg.encode_jpeg(make_picture(8, 37, 53), colorsubsampling=subsampling)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert_shows(data, expected.astype(float), 0)


@pytest.mark.parametrize("where", ["half", "no end", "end in the middle"])
def test_an_unusual_subsampling_is_no_excuse_for_damage(where):
    image = Image.fromarray(make_picture(8, 200, 200)).convert("CMYK")
    data = jpeg(image, subsampling="4:2:0", quality=95)
    half = data[: len(data) // 2]
    damaged = {"half": half, "no end": data[:-2], "end in the middle": half + b"\xff\xd9"}[where]
    assert refusal(damaged) == Reason.TRUNCATED


def with_segment(data: bytes, marker: int, body: bytes) -> bytes:
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + data[2:]


LONG_UNIT = struct.pack("<HHII", 0x0128, 4, 1, 2**32 - 1)
NEGATIVE = struct.pack("<HHII", 0x011A, 10, 1, 8)
OUTSIDE = struct.pack("<HHII", 0x011B, 5, 2**31, 2**31)


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("entry", [LONG_UNIT, NEGATIVE, OUTSIDE, b"\xff" * 12])
def test_odd_exif_entries_beside_the_orientation_do_no_harm(entry, kind):
    rgb = Image.fromarray(make_picture(7, 32, 48))
    plain = jpeg(rgb)
    data = with_segment(plain, 0xE1, b"Exif\0\0" + exif(6, "<", entry, kind=kind))
    expected = turned(np.asarray(Image.open(io.BytesIO(plain))), 6)
    assert_shows(data, expected.astype(float), 0)


@pytest.mark.parametrize("length", range(0, 27))
def test_exif_data_may_end_anywhere(length):
    plain = jpeg(Image.fromarray(make_picture(7, 32, 48)))
    data = with_segment(plain, 0xE1, b"Exif\0\0" + exif(6)[:length])
    whole = length >= 20
    assert read_size(data) == ((32, 48) if whole else (48, 32))
    np.testing.assert_array_equal(
        decode_image(data).pixels, turned(decode_image(plain).pixels, 6 if whole else 1)
    )


def test_a_jpeg_that_libjpeg_calls_corrupt_is_damaged():
    data = jpeg(Image.fromarray(make_picture(8, 200, 200)), quality=95)
    half = len(data) // 2
    for damaged in (data[:half], data[:half] + b"\xff\xd9", data[:half] + bytes(half), data[:-2]):
        assert refusal(damaged) in (Reason.TRUNCATED, Reason.DAMAGED_IMAGE)


def test_what_follows_a_jpeg_does_not_matter():
    data = jpeg(Image.fromarray(make_picture(8)))
    expected = decode_image(data).pixels
    for tail in (b"\0" * 100, b"\xff\xda" * 1000, data):
        np.testing.assert_array_equal(decode_image(data + tail).pixels, expected)


@pytest.mark.parametrize("numbers", [(1, 2), (2, 2), (1, 3), (0, 0)])
def test_a_jpeg_that_lacks_a_part_of_its_profile_is_decoded(numbers):
    plain = jpeg(Image.fromarray(make_picture(8)))
    data = with_segment(plain, 0xE2, b"ICC_PROFILE\0" + bytes(numbers) + bytes(200))
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels, decode_image(plain).pixels)
    assert decoded.colour == "unreadable ICC profile, not used"


def test_a_jpeg_of_an_unknown_revision_is_decoded():
    data = jpeg(Image.fromarray(make_picture(8)))
    at = data.index(b"JFIF\0") + 5
    odd = data[:at] + b"\x02" + data[at + 1 :]
    np.testing.assert_array_equal(decode_image(odd).pixels, decode_image(data).pixels)


@pytest.mark.parametrize("code", [0, 1, 2, 7])
@pytest.mark.parametrize("mode", ["RGB", "CMYK"])
def test_a_jpeg_of_an_unknown_transform_is_decoded(mode, code):
    plain = jpeg(Image.fromarray(make_picture(8)).convert(mode))
    at = plain.find(b"Adobe")
    body = b"Adobe\0\x64\0\0\0\0" + bytes([code])
    data = (
        with_segment(plain, 0xEE, body)
        if at < 0
        else plain[: at + 11] + body[-1:] + plain[at + 12 :]
    )
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert_shows(data, expected.astype(float), 0)


def test_a_text_of_many_comments_is_told_from_a_drawing_at_once():
    comments = b'<?xml version="1.0"?>\n' + b"<!-- note -->\n" * 250
    assert refusal(comments + b"<html>") == Reason.NOT_AN_IMAGE
    assert refusal(comments + b"<svg>") == Reason.UNREAD_FORMAT


@pytest.mark.parametrize("tail", [b"", b"rest"])
def test_other_data_is_no_picture(tail):
    assert refusal(b"GIF88a" + tail) == Reason.NOT_AN_IMAGE
