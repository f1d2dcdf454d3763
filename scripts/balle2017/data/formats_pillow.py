"""Read the formats that Pillow decodes: AVIF, BMP, GIF, JPEG 2000, TIFF and WebP.

How much memory and time they take cannot be told from their headers, so `limits` runs this
module in a process of its own.
"""

import contextlib
import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin

from balle2017.data.colour import Samples, Space, coded_space
from balle2017.data.formats import Header, exif_orientation, join_halves
from balle2017.data.formats_jpeg import open_jpeg
from balle2017.data.reasons import BadImageError, Reason, refuse

# Our own limits name the image; Pillow's would warn first.
Image.MAX_IMAGE_PIXELS = None

_II, _MM = b"II", b"MM"
for _order, _letter in ((_II, ""), (_MM, "B")):
    # Kinds of TIFF that Pillow can unpack, but has in its table for one byte order or one
    # direction of grey only. Samples of 12 bits are packed alike in both orders.
    TiffImagePlugin.OPEN_INFO[_order, 0, (1,), 1, (16,), ()] = (f"I;16{_letter}",) * 2
    for _photometric in (0, 1):
        TiffImagePlugin.OPEN_INFO[_order, _photometric, (1,), 1, (12,), ()] = ("I;16", "I;12")


def open_with_pillow(data: bytes, name: str) -> Header:
    """Read the header of a picture.

    Args:
        data: the encoded picture.
        name: Pillow's, of one of these formats.

    Raises:
        BadImageError: of a kind that is not decoded.
        Exception: whatever Pillow's readers raise at damaged data.
    """
    Image.init()
    # Not Image.open, which hides what was wrong.
    if name == "TIFF":
        return _open_tiff(data)
    image = Image.OPEN[name][0](io.BytesIO(data), "")
    profile, space, levels = image.info.get("icc_profile"), None, None
    if name == "AVIF":
        space = _avif_space(data, profile)
    elif name == "JPEG2000":
        maximum, has_alpha, profile = _read_jp2(data, image.mode)
    elif name == "BMP":
        profile, levels = _bmp_profile(data), _bmp_levels(image)
        if image.mode in ("1", "L") and (image.mode, data[28]) not in (("1", 1), ("L", 8)):
            # Pillow would read samples of as many bits as the greys of the palette need.
            raise _unsupported(f"BMP of {data[28]} bits with a palette of few greys")
    covered = _first_frame(image, data)

    def load() -> Samples:
        image.load()
        samples = _samples(image if levels is None else image.point(levels))
        if covered is not None and samples.alpha is None:
            samples.alpha = np.zeros(samples.pixels.shape[:2], np.uint8)
            samples.alpha[covered] = 255
        if name == "BMP" and samples.alpha is not None and not samples.alpha.any():
            # Many programs leave the fourth byte at 0.
            samples.alpha = None
        if name == "JPEG2000":
            samples.maximum = maximum
            samples.alpha = samples.alpha if has_alpha else None
        samples.profile, samples.space = profile, space
        return samples

    width, height = image.size
    return Header(width, height, load, exif_orientation(image.info.get("exif", b"")))


def _samples(image: Image.Image) -> Samples:
    """Return what Pillow decoded."""
    mode = image.mode
    if mode in ("P", "PA"):
        clear = mode == "PA" or "transparency" in image.info
        palette = image.palette.mode if image.palette else "RGB"
        image = image.convert("CMYK" if palette == "CMYK" else "RGBA")
        if not clear and palette == "RGB":
            image = image.convert("RGB")
    elif mode in ("1", "L", "RGB") and "transparency" in image.info:
        image = image.convert("RGBA")
    elif mode == "1":
        image = image.convert("L")
    elif mode in ("RGBX", "YCbCr"):
        image = image.convert("RGB")
    pixels = np.atleast_3d(np.asarray(image))
    if mode.startswith("I;16"):
        return Samples(pixels.astype(np.uint16), mode, "L", 65535)
    if image.mode in ("L", "RGB", "CMYK", "LAB"):
        return Samples(pixels, mode, image.mode)
    if image.mode in ("LA", "RGBA", "La"):
        kind = "RGB" if image.mode == "RGBA" else "L"
        alpha = pixels[..., -1]
        return Samples(pixels[..., :-1], mode, kind, alpha=alpha, premultiplied=mode == "La")
    raise refuse(Reason.UNKNOWN_RANGE)


def _unsupported(text: str) -> BadImageError:
    return refuse(Reason.UNREAD_KIND, kind=text)


# TIFF


#: Tags that say how YCbCr became RGB, and what Pillow takes them for.
_YCBCR = {529: (0.299, 0.587, 0.114), 532: (0, 255, 128, 255, 128, 255)}


def _open_tiff(data: bytes) -> Header:
    if data[:4] == b"MM\0+":
        raise _unsupported("BigTIFF with the bytes in big-endian order")
    try:
        image = TiffImagePlugin.TiffImageFile(io.BytesIO(data), "")
    except SyntaxError as error:
        # What Pillow misses in a table of its own, or, of planes of bands, in an entry of it.
        if str(error) in ("unknown pixel mode", "string index out of range"):
            raise _unsupported("TIFF with these bits, bands and colours") from None
        if isinstance(error.__cause__, KeyError):
            raise _unsupported(f"TIFF with compression {error}") from None
        raise
    tags = image.tag_v2
    photometric = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 0)
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    planar = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
    if image.mode in ("I", "F") or set(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))) != {1}:
        raise refuse(Reason.UNKNOWN_RANGE)
    if planar and bits > 8 and tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) > 1:
        raise _unsupported("TIFF with planes of 16 bits; store the bands of a pixel together")
    if photometric == 5 and tags.get(332, 1) != 1:
        raise _unsupported("TIFF with inks that are not CMYK")
    if tags.get(254, 0) & 1:
        raise _unsupported("TIFF that begins with a preview, as raw files of cameras do")
    compression = image.info.get("compression")
    if compression == "webp":
        raise _unsupported("TIFF with compression WebP")
    if compression == "packbits" and tags.get(TiffImagePlugin.PREDICTOR, 1) != 1:
        raise _unsupported("TIFF with a predictor that this compression does not have")
    if photometric == 6 and compression == "raw":
        if tags.get(TiffImagePlugin.YCBCRSUBSAMPLING, (2, 2)) != (1, 1):
            raise _unsupported("TIFF of uncompressed YCbCr with fewer samples of colour")
        stated = {tag: np.array(tags.get(tag, usual), float) for tag, usual in _YCBCR.items()}
        if not all(np.allclose(stated[tag], usual) for tag, usual in _YCBCR.items()):
            raise _unsupported("TIFF of uncompressed YCbCr with a range or weights of its own")
    if photometric == 8 and planar:
        raise _unsupported("TIFF of Lab in planes")
    orientation = tags.get(TiffImagePlugin.ExifTags.Base.Orientation, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]

    def load() -> Samples:
        samples = _tiff_samples(data, bits, photometric)
        _check_strips(data, tags, compression)
        samples.profile = tags.get(TiffImagePlugin.ICCPROFILE)
        return samples

    return Header(width, height, load, orientation)


def _tiff_samples(data: bytes, bits: int, photometric: int) -> Samples:
    image = _load_tiff(data)
    tags = image.tag_v2
    extra = tags.get(TiffImagePlugin.EXTRASAMPLES, ())
    if image.mode in ("RGB", "RGBA", "CMYK") and bits == 16:
        pixels = join_halves(lambda order: np.asarray(_load_tiff(data, order)), "L")
        samples = Samples(pixels, image.mode, image.mode.removesuffix("A"), 65535)
        if image.mode == "RGBA":
            samples.pixels, samples.alpha = pixels[..., :3], pixels[..., 3]
    else:
        samples = _samples(image)
        if bits == 12:
            samples.maximum = 4095
        if photometric == 0 and bits > 8:
            samples.pixels = samples.maximum - samples.pixels  # 0 is white
        if image.mode == "P":
            samples.pixels = _tiff_palette(tags[TiffImagePlugin.COLORMAP])[np.asarray(image)]
    if samples.alpha is not None:
        # Pillow itself divides by alpha where it gets planes from libtiff.
        planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
        divided = planes and image.info.get("compression") != "raw"
        samples.premultiplied = 1 in extra and not divided
        if not extra and not samples.alpha.any():
            samples.alpha = None  # a fourth band of no stated meaning
    return samples


def _load_tiff(data: bytes, half: str = "L") -> TiffImagePlugin.TiffImageFile:
    """Load a TIFF unturned, its alpha as stored, with one half of samples of 16 bits.

    `half` is "L" for the upper half, "B" for the lower one.
    """
    image = TiffImagePlugin.TiffImageFile(io.BytesIO(data), "")
    # Loading would read all other tags, and turn by one; the turning is the same for all formats.
    image._exif = Image.Exif()
    image._exif._loaded = True
    image._size = (image.tag_v2[256], image.tag_v2[257])
    image.tile = [tile._replace(args=_as_stored(tile.args, half)) for tile in image.tile]
    try:
        with _no_complaints():
            image.load()
    except ValueError as error:
        if "raw mode" in str(error):  # an entry of Pillow's table that its decoder lacks
            raise _unsupported("TIFF with these bits, bands and colours") from None
        raise
    return image


@contextlib.contextmanager
def _no_complaints() -> Iterator[None]:
    """Refuse what a decoder of libtiff calls an error, on the standard error stream, and goes on.

    What others say there is about tags, not pixels.
    """
    usual = os.dup(2)
    reader, writer = os.pipe()
    for end in (reader, writer):
        os.set_blocking(end, False)  # a thousand complaints are as good as a million
    os.dup2(writer, 2)
    try:
        yield
    finally:
        os.dup2(usual, 2)
        for number in (usual, writer):
            os.close(number)
        with open(reader, "rb", buffering=0) as file:
            said = file.read(2**16) or b""
    if error := re.search(rb"^\w+Decode\w*: .*", said, re.MULTILINE):
        raise refuse(Reason.DAMAGED_IMAGE, problem=error[0].decode("latin-1"))


def _check_strips(data: bytes, tags: Any, compression: str | None) -> None:
    """Refuse damage in the strips or tiles of a TIFF of which libtiff does not tell.

    It reads no further than the last sample of Deflate, before the checksum, and keeps to itself
    what libjpeg warns of.
    """
    offsets = tags.get(TiffImagePlugin.STRIPOFFSETS) or tags.get(TiffImagePlugin.TILEOFFSETS, ())
    lengths = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS)
    strips = (data[at : at + size] for at, size in zip(offsets, lengths or (), strict=False))
    if compression == "jpeg":
        tables = bytes(tags.get(TiffImagePlugin.JPEGTABLES, b"")).removesuffix(b"\xff\xd9")
        for strip in strips:
            try:
                open_jpeg(tables + strip[2:] if tables else strip).load()
            except BadImageError as error:
                if error.refusal.reason is not Reason.UNREAD_KIND:  # by itself
                    raise
    elif "deflate" in (compression or "") and tags.get(TiffImagePlugin.FILLORDER, 1) == 1:
        for strip in strips:
            unpack, left = zlib.decompressobj(), strip
            while not unpack.eof:
                if not unpack.decompress(left, 2**20) and not unpack.eof:
                    raise refuse(Reason.TRUNCATED, problem="data of the TIFF have no end")
                left = unpack.unconsumed_tail


def _as_stored(arguments: Any, half: str) -> tuple:
    rawmode, *rest = arguments
    if not rawmode.startswith("La"):
        rawmode = rawmode.replace("a", "A")
    name, _, order = rawmode.partition(";16")
    if order and name != "I":
        # "N", the machine's order, is that of an x86: L.
        upper = "L" if order == "N" else order
        lower = "B" if upper == "L" else "L"
        rawmode = f"{name};16{upper if half == 'L' else lower}"
    return (rawmode, *rest)


def _tiff_palette(colormap: tuple[int, ...]) -> np.ndarray:
    """Return a palette as uint8 [256, 3]."""
    entries = np.array(colormap).reshape(3, -1).T
    # Of 8 bits programs make 16 by 256 or by 257, and some leave them as they are.
    scaled = entries >> 8 if entries.max() > 255 else entries
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(scaled)] = scaled[:256]
    return palette


# The first frames of animations


def _first_frame(image: ImageFile.ImageFile, data: bytes) -> tuple[slice, slice] | None:
    """Return the rows and columns that an animation's first frame covers; None: all.

    Nothing is shown elsewhere, where Pillow has the first colour or black.
    """
    width, height = image.size
    left, top, right, bottom = 0, 0, width, height
    if image.format == "GIF":
        left, top, right, bottom = image.tile[0].extents or (0, 0, width, height)
    elif image.format == "WEBP" and data[12:16] == b"VP8X" and data[20] & 2:
        frame = data.find(b"ANMF", 30) + 8
        left, top, *size = (
            int.from_bytes(data[frame + at : frame + at + 3], "little") for at in (0, 3, 6, 9)
        )
        left, top = 2 * left, 2 * top
        right, bottom = left + size[0] + 1, top + size[1] + 1
    if (left, top, right, bottom) == (0, 0, width, height):
        return None
    return slice(top, bottom), slice(left, right)


# Boxes of JPEG 2000 and AVIF, and BMP


def _boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start of the content and end of the boxes in data[start:end]."""
    at, end = start, len(data) if end is None else end
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        content = at + 8
        if length == 1 and at + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if length == 0 else min(end, at + length)
        if stop < content:
            return
        yield name, content, stop
        at = stop


def _avif_properties(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of what an AVIF states of its pictures."""
    for name, start, end in _boxes(data):
        if name in (b"meta", b"iprp"):
            # The first of these has four more bytes.
            yield from _avif_properties(data[start + 4 * (name == b"meta") : end])
        elif name == b"ipco":
            yield from ((name, data[a:b]) for name, a, b in _boxes(data, start, end))


def _avif_space(data: bytes, profile: bytes | None) -> Space | None:
    """Return the space that an AVIF states by numbers; refuse what Pillow does not heed."""
    code = None
    for name, body in _avif_properties(data):
        if name == b"clap":
            raise _unsupported("AVIF that is cropped for display")
        if name == b"colr" and body[:4] == b"nclx":
            code = code or struct.unpack_from(">HH", body, 4)
    # A profile takes precedence over numbers.
    return None if profile or code is None else coded_space(*code)


def _read_jp2(data: bytes, mode: str) -> tuple[int, bool, bytes | None]:
    """Return the largest sample that Pillow makes, whether the last band is alpha, the profile.

    Args:
        data: the JPEG 2000.
        mode: in which Pillow decodes it.

    Raises:
        BadImageError: of a kind that Pillow gets wrong.
    """
    size = data.find(b"\xff\x4f\xff\x51") + 2
    bands = int.from_bytes(data[size + 38 : size + 40], "big")
    depths, *steps = (data[size + 40 + at : size + 40 + 3 * bands : 3] for at in range(3))
    if any(depth & 0x80 for depth in depths):
        raise _unsupported("JPEG 2000 with signed samples")
    if len(set(depths)) != 1:
        raise _unsupported("JPEG 2000 with bands of several depths")
    # Pillow shifts samples to the upper end of a byte or two, and beyond it if there are more.
    bits, room = depths[0] + 1, 16 if mode == "I;16" else 8
    if bits > room:
        raise _unsupported(f"JPEG 2000 with {bands} samples of {bits} bits")
    header = next((data[a:b] for name, a, b in _boxes(data) if name == b"jp2h"), b"")
    boxes: dict[bytes, bytes] = {}
    for name, start, end in _boxes(header):
        boxes.setdefault(name, header[start:end])
    if b"pclr" in boxes:
        raise _unsupported("JPEG 2000 with a palette")
    profile, number = None, 16
    colours = boxes.get(b"colr", b"")
    if colours[:1] in (b"\2", b"\3"):
        profile = colours[3:]
    elif colours:
        number = int.from_bytes(colours[3:7], "big")
        # CMYK, white is 1, sRGB, grey, sYCC.
        if number not in (12, 15, 16, 17, 18):
            raise _unsupported(f"JPEG 2000 with colours of kind {number}")
    if bits < 8 and (number == 18 or set(b"".join(steps)) != {1}):
        raise _unsupported(f"JPEG 2000 with luma and chroma of {bits} bits")
    maximum = (2**bits - 1) << (room - bits)
    return maximum, _jp2_alpha(boxes.get(b"cdef"), mode), profile


def _jp2_alpha(definitions: bytes | None, mode: str) -> bool:
    """Tell by the box "cdef" whether the last band is alpha.

    Raises:
        BadImageError: the bands are not where Pillow takes them from.
    """
    colours = {"L": 1, "I;16": 1, "LA": 1, "CMYK": 4}.get(mode, 3)
    if definitions is None:
        if mode in ("LA", "RGBA"):
            raise _unsupported("JPEG 2000 with a band that may be alpha, but is not said to be")
        return False
    whole = len(definitions) - (len(definitions) - 2) % 6
    entries = sorted(struct.iter_unpack(">HHH", definitions[2:whole]))
    if any(kind == 2 for _, kind, _ in entries):
        raise _unsupported("JPEG 2000 with premultiplied alpha")
    if entries[:colours] != [(band, 0, band + 1) for band in range(colours)]:
        raise _unsupported("JPEG 2000 with bands in an unusual order")
    return entries[colours:] == [(colours, 1, 0)]


def _bmp_profile(data: bytes) -> bytes | None:
    """Return the profile that the fifth version of the header may point to."""
    if len(data) < 138 or data[70:74] != b"DEBM" or int.from_bytes(data[14:18], "little") < 124:
        return None
    offset, length = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + offset : 14 + offset + length] or None


def _bmp_levels(image: ImageFile.ImageFile) -> list[int] | None:
    """Return what the levels stand for that Pillow makes of a BMP of 16 bits: 256 for each band.

    Pillow rounds them down. None: there are no such levels.
    """
    arguments = image.tile[0].args or ("",)
    bits = {"BGR;15": (5, 5, 5), "BGR;16": (5, 6, 5)}.get(arguments[0])
    if bits is None:
        return None
    levels = np.zeros((3, 256), int)
    for band, depth in enumerate(bits):
        exact = np.arange(2**depth) * 255 / (2**depth - 1)
        levels[band, exact.astype(int)] = np.rint(exact)
    return levels.reshape(-1).tolist()
