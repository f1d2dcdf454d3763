"""What each kind of TIFF decodes to, beside a reference computed from its samples."""

import io
import zlib
from itertools import product

import numpy as np
import pytest
from balle2017.data.images import decode_image
from balle2017.data.reasons import BadImageError, Reason
from helpers import make_picture
from odd_pictures import assert_shows, refusal, samples, shown, tiff, turned
from PIL import Image


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiff(bits, white, order, deflate):
    grey = samples(bits, 1)
    meant = grey if white else 2**bits - 1 - grey
    data = tiff(grey, bits, white, order, deflate=deflate)
    assert_shows(data, shown(meant, 2**bits - 1))


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_tiff(bits, extra, order, deflate):
    rgb = samples(bits, 3 if extra is None else 4)
    maximum = 2**bits - 1
    tags = {} if extra is None else {338: [extra]}
    alpha = rgb[..., 3] if extra in (1, 2) else None
    stored = rgb.copy()
    if extra == 1:
        # Multiplied by alpha, and rounded: what it was can be told for large alphas only.
        stored[..., :3] = np.rint(rgb[..., :3] * (alpha[..., np.newaxis] / maximum))
    data = tiff(stored, bits, 2, order, deflate=deflate, tags=tags)
    # 16 bits are rounded before they lie over white, and then again.
    tolerance = 0.5 if bits == 8 and extra != 1 else 1
    assert_shows(data, shown(rgb[..., :3], maximum, alpha), tolerance)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("extra", [None, 1, 2])
def test_planes_of_eight_bits(extra, deflate, order):
    rgb = samples(8, 3 if extra is None else 4)
    alpha = None if extra is None else rgb[..., 3]
    stored = rgb.copy()
    if extra == 1:
        stored[..., :3] = np.rint(rgb[..., :3] * (alpha[..., np.newaxis] / 255))
    tags = {} if extra is None else {338: [extra]}
    data = tiff(stored, 8, 2, order, planar=True, deflate=deflate, tags=tags)
    assert_shows(data, shown(rgb[..., :3], 255, alpha), 0.5 if extra != 1 else 1.5)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("extra", [0, 1, 2])
def test_grey_tiff_with_a_second_band(extra, deflate, order):
    both = samples(8, 2)
    alpha = both[..., 1] if extra else None
    stored = both.copy()
    if extra == 1:
        stored[..., 0] = np.rint(both[..., 0] * (both[..., 1] / 255))
    data = tiff(stored, 8, 1, order, deflate=deflate, tags={338: [extra]})
    assert_shows(data, shown(both[..., :1], 255, alpha), 0.5 if extra != 1 else 1)


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_tiff(bits, wide):
    indices = samples(bits, 1)
    palette = samples(16 if wide else 8, 3, 1, 2**bits)[0]
    data = tiff(indices, bits, 3, tags={320: palette.T.reshape(-1).tolist()})
    assert_shows(data, shown(palette[indices[..., 0]], 65535 if wide else 255), 1)


@pytest.mark.parametrize("factor", [1, 256, 257])
def test_a_palette_of_eight_bits_comes_back(factor):
    indices, palette = samples(8, 1), samples(8, 3, 1, 256)[0]
    data = tiff(indices, 8, 3, tags={320: (palette.T * factor).reshape(-1).tolist()})
    assert_shows(data, palette[indices[..., 0]].astype(float), 0)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_tiff(bits, order, deflate):
    ink = samples(bits, 4)
    maximum = 2**bits - 1
    expected = (1 - ink[..., :3] / maximum) * (1 - ink[..., 3:] / maximum) * 255
    assert_shows(tiff(ink, bits, 5, order, deflate=deflate), expected, 1.5)


@pytest.mark.parametrize("deflate", [False, True])
def test_full_ycbcr_tiff(deflate):
    rgb = make_picture(4, 16, 24)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    tags = {530: [1, 1]}
    assert_shows(tiff(ycbcr, 8, 6, deflate=deflate, tags=tags), rgb.astype(float), 3)


def test_lab_tiff():
    from skimage.color import lab2rgb

    lab = np.zeros((3, 256, 3), int)
    lab[..., 0] = np.arange(256)
    lab[1, :, 1:] = (20, -30)
    lab[2, :, 1:] = (-15, 25)
    # Relative to its white, so that the kind of white hardly matters.
    expected = 255 * lab2rgb(lab * [100 / 255, 1, 1], illuminant="D65")
    inside = (expected > 2).all(axis=2) & (expected < 253).all(axis=2)
    decoded = decode_image(tiff(lab & 255, 8, 8)).pixels
    assert np.abs(decoded - expected)[inside].max() < 8
    assert np.abs(decoded - expected)[0].max() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_is_turned(orientation, order):
    rgb = make_picture(7, 16, 24)
    data = tiff(rgb, 8, 2, order, tags={274: [orientation]})
    assert_shows(data, turned(rgb, orientation).astype(float))


@pytest.mark.parametrize(
    ("why", "arguments", "tags"),
    [
        ("planes of 16 bits", {"bits": 16, "photometric": 2, "planar": True}, {}),
        ("signed samples", {"bits": 8, "photometric": 2}, {339: [2, 2, 2]}),
        ("floats", {"bits": 32, "photometric": 2}, {339: [3, 3, 3]}),
        ("10 bits", {"bits": 10, "photometric": 2}, {}),
        ("12 bits of colour", {"bits": 12, "photometric": 2}, {}),
        ("fewer samples of colour", {"bits": 8, "photometric": 6}, {530: [2, 2]}),
        ("a preview", {"bits": 8, "photometric": 2}, {254: [1]}),
        ("a colour filter", {"bits": 8, "photometric": 32803}, {}),
        ("ICC Lab", {"bits": 8, "photometric": 9}, {}),
        ("LogLuv", {"bits": 8, "photometric": 32845}, {}),
        ("unknown compression", {"bits": 8, "photometric": 2}, {259: [12345]}),
        ("WebP", {"bits": 8, "photometric": 2}, {259: [50001]}),
        ("a predictor of packbits", {"bits": 8, "photometric": 2}, {259: [32773], 317: [2]}),
        ("weights", {"bits": 8, "photometric": 6}, {530: [1, 1], 529: [1, 0, 0]}),
        ("range", {"bits": 8, "photometric": 6}, {530: [1, 1], 532: [16, 235] + [128, 240] * 2}),
        ("planes of Lab", {"bits": 8, "photometric": 8, "planar": True}, {}),
        ("planes of YCbCr", {"bits": 8, "photometric": 6, "planar": True}, {530: [1, 1]}),
        ("planes of grey", {"bits": 8, "photometric": 1, "planar": True}, {338: [0, 0]}),
        ("bits from the other end", {"bits": 8, "photometric": 0}, {266: [2], 277: [1], 258: [8]}),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_a_tiff_that_nobody_knows_is_refused(why, arguments, tags, order):
    bits = arguments["bits"]
    values = samples(min(bits, 16), 3)
    reason = refusal(tiff(values, order=order, tags=tags, **arguments))
    assert reason in (Reason.UNREAD_KIND, Reason.UNKNOWN_RANGE), why


@pytest.mark.parametrize(
    ("kind", "code"), [("float32", 3), ("int32", 2), ("uint32", 1), ("int16", 2), ("int8", 2)]
)
@pytest.mark.parametrize("order", "<>")
def test_grey_whose_range_nobody_knows_is_refused(kind, code, order):
    grey = np.linspace(0, 100, 65).astype(kind).reshape(5, 13, 1)
    size = grey.itemsize
    data = tiff(grey.view(f"u{size}"), 8 * size, order=order, tags={339: [code]})
    sentences = "signed, 32-bit or float samples of unknown range|kind of image not supported: TIFF"
    with pytest.raises(BadImageError, match=rf"^({sentences})[^\n]*$"):
        decode_image(data)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_the_first_page_of_a_tiff_is_shown(compression):
    first, second = make_picture(9, 16, 24), Image.fromarray(make_picture(10, 32, 20)[..., 0])
    buffer = io.BytesIO()
    options = {"save_all": True, "append_images": [second], "compression": compression}
    Image.fromarray(first).save(buffer, "TIFF", **options)
    with Image.open(buffer) as image:
        assert image.n_frames == 2
    assert_shows(buffer.getvalue(), first.astype(float), 0)


def test_the_bytes_of_a_bigtiff_in_the_other_order_are_no_damage():
    assert refusal(b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10" + bytes(100)) == Reason.UNREAD_KIND


def test_the_usual_range_of_ycbcr_may_be_stated():
    rgb = make_picture(4, 16, 24)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    assert_shows(
        tiff(ycbcr, 8, 6, tags={530: [1, 1], 532: [0, 255, 128, 255, 128, 255]}),
        rgb.astype(float),
        3,
    )


@pytest.mark.parametrize(("photometric", "inks"), [(5, [2])])
def test_other_inks_than_cmyk_are_refused(photometric, inks):
    data = tiff(samples(8, 4), 8, photometric, tags={332: inks})
    assert refusal(data) == Reason.UNREAD_KIND


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *product(["tiff_lzw", "tiff_adobe_deflate", "packbits"], ["L", "RGB", "RGBA", "I;16"]),
        *(("jpeg", "L"), ("jpeg", "RGB"), ("group4", "1")),
    ],
)
def test_a_compressed_tiff_of_pillow(kind, mode):
    rgb = Image.fromarray(make_picture(9, 16, 24))
    wide = np.asarray(rgb.convert("L"), np.uint16) * 257
    image = Image.fromarray(wide) if mode == "I;16" else rgb.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression=kind)
    grey = np.asarray(rgb.convert("1" if mode == "1" else "L")) * (255 if mode == "1" else 1)
    expected = grey[..., np.newaxis] if mode in ("1", "L", "I;16") else np.asarray(rgb)
    assert_shows(buffer.getvalue(), shown(expected.astype(float), 255), 8 if kind == "jpeg" else 0)


def damaged(kind: str, damage: str) -> bytes:
    """Return a TIFF of one strip whose second half is zeros or noise, or begins with EOI."""
    picture = Image.fromarray(make_picture(9, 64, 96))
    buffer = io.BytesIO()
    picture.convert("1" if "group" in kind or "ccitt" in kind else "RGB").save(
        buffer, "TIFF", compression=kind
    )
    data = bytearray(buffer.getvalue())
    with Image.open(buffer) as image:
        (start,), (length,) = image.tag_v2[273], image.tag_v2[279]
    middle, end = start + length // 2, start + length
    replaced = {
        "none": b"",
        "zeros": bytes(end - middle),
        "noise": np.random.default_rng(1).bytes(end - middle),
        "end": b"\xff\xd9",
    }[damage]
    data[middle : middle + len(replaced)] = replaced
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        *product(["tiff_adobe_deflate", "tiff_lzw"], ["zeros", "noise"]),
        *product(["jpeg"], ["zeros", "noise", "end"]),
        ("group4", "noise"),
    ],
)
def test_damage_of_which_libtiff_makes_little_is_damage(kind, damage):
    decode_image(damaged(kind, "none"))
    assert refusal(damaged(kind, damage)) in (Reason.TRUNCATED, Reason.DAMAGED_IMAGE)


def test_a_tag_of_which_libtiff_complains_does_no_harm():
    rgb = make_picture(9, 16, 24)
    # A unit of resolution that there is not.
    assert_shows(tiff(rgb, 8, 2, deflate=True, tags={296: [99]}), rgb.astype(float))


def test_deflate_may_have_its_bits_from_the_other_end():
    rgb = make_picture(9, 16, 24)
    packed = np.frombuffer(zlib.compress(rgb.tobytes()), np.uint8)
    turned_bits = np.packbits(np.unpackbits(packed), bitorder="little").tobytes()
    usual, other = (tiff(rgb, 8, 2, deflate=True, tags={266: [order]}) for order in (1, 2))
    assert_shows(usual, rgb.astype(float))
    assert_shows(other.replace(packed.tobytes(), turned_bits), rgb.astype(float))
