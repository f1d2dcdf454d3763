"""Colours that a file describes are shown in sRGB; what is sRGB is left alone."""

import io
import struct
import zlib

import numpy as np
import pytest
from archives import tar_bytes
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.images import decode_image
from balle2017.data.reasons import Reason
from balle2017.data.store import pixel_hash
from balle2017.files import read_table
from helpers import make_picture
from odd_pictures import D65, P3, SRGB, chunk, curve, icc, in_srgb, png, refusal, rgb_profile, tiff
from PIL import Image, ImageCms

ADOBE = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06), D65)
WIDE = ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585))  # D50

SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def encoded(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


EXACT = {
    "PNG": {},
    "TIFF": {"compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100, "subsampling": "4:4:4"},
    "AVIF": {"quality": 100, "subsampling": "4:4:4"},
}


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize(
    ("primaries", "gamma"), [(P3, 2.2), (ADOBE, 2.19921875), (SRGB, 1.8), (WIDE, 1.0)]
)
def test_a_profile_is_converted(primaries, gamma, form):
    rgb = make_picture(11) // 2 + 64
    profile = rgb_profile(primaries, gamma)
    data = encoded(Image.fromarray(rgb), form, icc_profile=profile, **EXACT[form])
    # What a lossy format makes of it, without the profile.
    plain = decode_image(encoded(Image.fromarray(rgb), form, **EXACT[form])).pixels
    decoded = decode_image(data)
    # LittleCMS rounds its numbers to fewer bits.
    assert np.abs(decoded.pixels - in_srgb(plain / 255, primaries, gamma)).max() <= 2
    assert decoded.colour == "test"


def test_the_name_of_a_profile_is_a_short_text():
    text = b"long" * 50_000
    description = b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(79)
    profile = icc(b"GRAY", {b"desc": description, b"kTRC": curve(1)})
    data = encoded(Image.new("L", (64, 64), 99), "PNG", icc_profile=profile)
    assert decode_image(data).colour == "long" * 25


@pytest.mark.parametrize("form", EXACT)
def test_a_large_profile_is_converted_as_a_small_one(form):
    image = Image.fromarray(make_picture(11) // 2 + 64)
    # Those of printers have megabytes; a JPEG holds them in parts of 64 kB.
    padding = np.random.default_rng(1).bytes(2_500_000)
    profile = rgb_profile(P3, 2.2, padding)
    data = encoded(image, form, icc_profile=profile, **EXACT[form])
    assert len(data) > len(padding)
    decoded = decode_image(data)
    plain = decode_image(encoded(image, form, **EXACT[form])).pixels
    assert np.abs(decoded.pixels - in_srgb(plain / 255, P3, 2.2)).max() <= 2
    assert decoded.colour == "test"
    small = encoded(image, form, icc_profile=rgb_profile(P3, 2.2), **EXACT[form])
    expected = decode_image(small).pixels
    np.testing.assert_array_equal(decoded.pixels, expected)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_the_parts_of_a_profile_in_a_jpeg_are_joined_by_their_numbers(order):
    plain = encoded(Image.fromarray(make_picture(11) // 2 + 64), "JPEG", **EXACT["JPEG"])
    profile, parts = rgb_profile(P3, 2.2), b""
    third = -(-len(profile) // 3)
    for number in order:
        part = profile[third * (number - 1) : third * number]
        parts += struct.pack(">HH", 0xFFE2, 16 + len(part))
        parts += b"ICC_PROFILE\0" + bytes([number, 3]) + part
    decoded = decode_image(plain[:2] + parts + plain[2:])
    shown = in_srgb(decode_image(plain).pixels / 255, P3, 2.2)
    assert np.abs(decoded.pixels - shown).max() <= 2
    assert decoded.colour == "test"


@pytest.mark.parametrize("form", EXACT)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_pixels_in_srgb_are_left_alone(mode, form):
    image = Image.fromarray(make_picture(12)).convert(mode)
    plain = decode_image(encoded(image, form, **EXACT[form]))
    decoded = decode_image(encoded(image, form, icc_profile=SRGB_PROFILE, **EXACT[form]))
    np.testing.assert_array_equal(decoded.pixels, plain.pixels)
    assert (decoded.colour, plain.colour) == ("", "")


@pytest.mark.parametrize("profile", ["grey", "RGB"])
@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG"])
def test_a_profile_of_grey(form, profile):
    grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(8, 32))
    tags = {b"kTRC": curve(1.8)}
    profile = icc(b"GRAY", tags) if profile == "grey" else rgb_profile(SRGB, 1.8)
    plain = decode_image(encoded(grey, form, **EXACT[form])).pixels
    decoded = decode_image(encoded(grey, form, icc_profile=profile, **EXACT[form]))
    assert np.abs(decoded.pixels - in_srgb(plain / 255, SRGB, 1.8)).max() <= 2
    assert decoded.colour == "test"


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_a_profile_goes_before_transparency(form):
    rgba = np.dstack([make_picture(13), make_picture(14)[..., 0]])
    data = encoded(Image.fromarray(rgba), form, icc_profile=rgb_profile(P3, 2.2), **EXACT[form])
    share = rgba[..., 3:] / 255
    opaque = decode_image(
        encoded(Image.fromarray(rgba[..., :3]), "PNG", icc_profile=rgb_profile(P3, 2.2))
    ).pixels
    expected = opaque * share + 255 * (1 - share)
    seen = rgba[..., 3] > 0  # WebP clears what cannot be seen
    assert np.abs(decode_image(data).pixels - expected)[seen].max() <= 1


def test_a_profile_of_a_palette():
    image = Image.fromarray(make_picture(11)).quantize(16)
    data = encoded(image, "PNG", icc_profile=rgb_profile(P3, 2.2))
    expected = in_srgb(np.asarray(image.convert("RGB")) / 255, P3, 2.2)
    assert np.abs(decode_image(data).pixels - expected).max() <= 2


def cmyk_profile() -> bytes:
    """Return a profile of a printer whose cyan is no pure one."""
    corners = np.zeros((2, 2, 2, 2, 3), np.uint8)
    corners[...] = (20, 128, 128)
    corners[0, 0, 0, 0] = (255, 128, 128)
    corners[1, 0, 0, 0] = (153, 118, 108)  # L 60, a -10, b -20
    ramp = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + ramp * 4
    return icc(b"CMYK", {b"A2B0": table + corners.tobytes() + ramp * 3}, b"Lab ")


@pytest.mark.parametrize("form", ["TIFF", "JPEG"])
def test_cmyk_goes_through_its_profile(form):
    from skimage.color import lab2rgb

    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, 8:, 0] = 255
    image = Image.fromarray(ink, "CMYK")
    cyan = 255 * lab2rgb([[[60.0, -10.0, -20.0]]], illuminant="D65")[0, 0]
    data = encoded(image, form, icc_profile=cmyk_profile())
    decoded = decode_image(data)
    assert decoded.colour == "test"
    assert np.abs(decoded.pixels[8, 4] - 255.0).max() <= 1
    # The darkest ink becomes black, which moves other colours a little.
    assert np.abs(decoded.pixels[8, 12] - cyan).max() < 10
    plain = decode_image(encoded(image, form))
    assert plain.colour == "CMYK"
    assert np.abs(plain.pixels[8, 12] - np.array([0, 255, 255.0])).max() <= 1


@pytest.mark.parametrize(
    "profile", [b"no profile", SRGB_PROFILE[:200], cmyk_profile(), icc(b"GRAY", {})]
)
def test_a_profile_of_no_use_is_reported(profile):
    rgb = make_picture(3)
    for form in ("PNG", "TIFF"):
        decoded = decode_image(encoded(Image.fromarray(rgb), form, icc_profile=profile))
        np.testing.assert_array_equal(decoded.pixels, rgb)
        assert "not used" in decoded.colour


# Spaces described by numbers


def gama(gamma: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(gamma * 100000)))


def chrm(primaries) -> bytes:
    numbers = [primaries[3], *primaries[:3]]
    return chunk(b"cHRM", struct.pack(">8I", *(round(n * 100000) for xy in numbers for n in xy)))


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("gamma", [1.0, 0.55, 0.3])
def test_the_gamma_of_a_png(gamma, bands, bits):
    values = np.random.default_rng(1).integers(0, 2**bits, (7, 9, bands))
    decoded = decode_image(png(values, bits, bands - 1, [gama(gamma)]))
    shown = in_srgb(np.broadcast_to(values, (7, 9, 3)) / (2**bits - 1), SRGB, 1 / gamma)
    assert np.abs(decoded.pixels - shown).max() <= 0.51
    assert decoded.colour == "gAMA"


@pytest.mark.parametrize(("gamma", "exponent"), [(None, None), (1 / 2.2, None), (1 / 1.8, 1.8)])
@pytest.mark.parametrize("primaries", [P3, ADOBE, WIDE])
def test_the_primaries_of_a_png(primaries, gamma, exponent):
    rgb = make_picture(11)
    parts = [chrm(primaries), *([] if gamma is None else [gama(gamma)])]
    decoded = decode_image(png(rgb, 8, 2, parts))
    # The numbers have five digits.
    assert np.abs(decoded.pixels - in_srgb(rgb / 255, primaries, exponent)).max() <= 0.6
    assert decoded.colour == ("cHRM" if exponent is None else "gAMA cHRM")


@pytest.mark.parametrize(
    "parts",
    [
        [gama(0.45455)],
        [gama(0.45455), chrm(SRGB)],
        [chrm(SRGB)],
        [gama(0)],
        [chunk(b"cHRM", bytes(32))],
        [chunk(b"gAMA", b"")],
        [chunk(b"sRGB", b"\0"), gama(1)],
        [gama(1), chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB_PROFILE))],
        [chunk(b"cICP", bytes([1, 13, 0, 1])), gama(1)],
    ],
)
def test_numbers_of_srgb_or_of_no_sense_change_nothing(parts):
    rgb = make_picture(11)
    decoded = decode_image(png(rgb, 8, 2, parts))
    np.testing.assert_array_equal(decoded.pixels, rgb)
    assert decoded.colour == ""


def test_coded_colours_of_a_png():
    rgb = make_picture(11)
    decoded = decode_image(png(rgb, 8, 2, [chunk(b"cICP", bytes([12, 13, 0, 1]))]))
    assert np.abs(decoded.pixels - in_srgb(rgb / 255, P3, None)).max() <= 0.6
    assert decoded.colour == "CICP 12/13"
    for transfer in (16, 18):  # of high dynamic range
        data = png(rgb, 8, 2, [chunk(b"cICP", bytes([9, transfer, 0, 1]))])
        assert refusal(data) == Reason.UNREAD_KIND


def test_samples_of_narrow_range_are_refused():
    for code in ([1, 1, 0, 0], [1, 13, 0, 0]):
        data = png(make_picture(11), 8, 2, [chunk(b"cICP", bytes(code))])
        assert refusal(data) == Reason.UNREAD_KIND


@pytest.mark.parametrize(("primaries", "transfer"), [(1, 13), (1, 1), (2, 2), (12, 13), (9, 16)])
def test_coded_colours_of_an_avif(primaries, transfer):
    image = Image.fromarray(make_picture(11))
    data = encoded(image, "AVIF", **EXACT["AVIF"])
    at = data.index(b"nclx") + 4
    plain = decode_image(data).pixels
    data = data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]
    if transfer == 16:
        assert refusal(data) == Reason.UNREAD_KIND
    elif primaries == 12:
        decoded = decode_image(data)
        assert np.abs(decoded.pixels - in_srgb(plain / 255, P3, None)).max() <= 0.6
        assert decoded.colour == "CICP 12/13"
    else:
        np.testing.assert_array_equal(decode_image(data).pixels, plain)


def jp2(image: Image.Image, colour: bytes) -> bytes:
    """Return a JPEG 2000 whose box of colours has another content."""
    data = encoded(image, "JPEG2000")
    at = data.index(b"colr") - 4
    old = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    new = struct.pack(">I", 8 + len(colour)) + b"colr" + colour
    header = data.index(b"jp2h") - 4
    size = int.from_bytes(data[header : header + 4], "big") + len(new) - len(old)
    changed = data.replace(old, new, 1)
    return changed[:header] + struct.pack(">I", size) + changed[header + 4 :]


def test_the_colours_of_a_jpeg_2000():
    rgb = make_picture(11)
    image = Image.fromarray(rgb)
    decoded = decode_image(jp2(image, b"\2\0\0" + rgb_profile(P3, 2.2)))
    assert np.abs(decoded.pixels - in_srgb(rgb / 255, P3, 2.2)).max() <= 2
    assert decoded.colour == "test"
    plain = decode_image(jp2(image, b"\1\0\0" + struct.pack(">I", 16)))
    np.testing.assert_array_equal(plain.pixels, rgb)
    assert refusal(jp2(image, b"\1\0\0" + struct.pack(">I", 14))) == Reason.UNREAD_KIND


def test_the_profile_of_a_bmp():
    rgb = make_picture(11, 16, 24)
    profile = rgb_profile(P3, 2.2)
    pixels = rgb[::-1, :, ::-1].tobytes()
    header = struct.pack("<IiiHHIIiiII", 124, 24, 16, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    header = header.ljust(56, b"\0") + b"DEBM"
    header = header.ljust(112, b"\0") + struct.pack("<III", 124 + len(pixels), len(profile), 0)
    body = header + pixels + profile
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 124) + body
    assert np.abs(decode_image(data).pixels - in_srgb(rgb / 255, P3, 2.2)).max() <= 2


def test_a_profile_of_sixteen_bits():
    values = np.random.default_rng(1).integers(0, 65536, (7, 9, 3))
    data = tiff(values, 16, 2, tags={34675: rgb_profile(SRGB, 1.8)})
    assert np.abs(decode_image(data).pixels - in_srgb(values / 65535, SRGB, 1.8)).max() < 4


# The manifest


@pytest.mark.parametrize("max_images", [None, 5], ids=["all", "sampled"])
def test_the_manifest_says_what_was_converted(tmp_path, max_images):
    pictures = [Image.fromarray(make_picture(seed)) for seed in range(5)]
    members = {
        "p3.jpg": encoded(pictures[0], "JPEG", icc_profile=rgb_profile(P3, 2.2)),
        "gamma.png": png(np.asarray(pictures[1]), 8, 2, [gama(1)]),
        "srgb.png": encoded(pictures[2], "PNG", icc_profile=SRGB_PROFILE),
        "inks.jpg": encoded(pictures[3].convert("CMYK"), "JPEG"),
        "odd.png": encoded(pictures[4], "PNG", icc_profile=b"no profile"),
    }
    source = tmp_path / "archive.tar"
    source.write_bytes(tar_bytes(members))
    settings = ExtractSettings(min_size=32, max_images=max_images)
    extract_archives([source], tmp_path / "out", settings)
    rows = {row["name"]: row for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert {name: (row["mode"], row["colour"]) for name, row in rows.items()} == {
        "p3.jpg": ("RGB", "test"),
        "gamma.png": ("RGB", "gAMA"),
        "srgb.png": ("RGB", ""),
        "inks.jpg": ("CMYK", "CMYK"),
        "odd.png": ("RGB", "unreadable ICC profile, not used"),
    }
    kept = [
        name
        for seed, name in enumerate(members)
        if rows[name]["pixel_hash"] == pixel_hash(make_picture(seed))
    ]
    assert kept == ["srgb.png", "odd.png"]
