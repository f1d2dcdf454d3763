"""Read PNG and PNM, whose headers say what decoding will cost."""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from balle2017.data.colour import (
    Primaries,
    Samples,
    Space,
    calibrated_space,
    coded_space,
    to_eight_bits,
)
from balle2017.data.reasons import BadImageError, Reason, refuse

#: Bytes of an ICC profile in a PNG, unpacked; those of printers have 3 MB.
MAX_PROFILE = 16 * 1024 * 1024

#: Parts of a PNG, and comments of a PNM that is text. The time grows with them: seconds.
MAX_PARTS = 2_000_000


@dataclass
class Header:
    """What a picture says before it is decoded.

    Attributes:
        width: in pixels, as stored.
        height: in pixels, as stored.
        load: decodes it.
        orientation: of EXIF, 1 to 8: how the stored picture is turned for display.
    """

    width: int
    height: int
    load: Callable[[], Samples]
    orientation: int = 1

    def displayed_size(self) -> tuple[int, int]:
        """Return width and height after the orientation is applied."""
        # Orientations 5 to 8 turn the picture by a quarter.
        turned = 5 <= self.orientation <= 8
        return (self.height, self.width) if turned else (self.width, self.height)


def exif_orientation(exif: bytes) -> int:
    """Return the orientation in a block of EXIF data; 1 where none can be found.

    Nothing else is read, so that odd entries beside it do no harm.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "4xI", exif)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(order + "HHI", exif, entry)
            if tag == 0x0112 and number == 1 and kind in (1, 3, 4):
                form = {1: "B", 3: "H", 4: "I"}[kind]
                (value,) = struct.unpack_from(order + form, exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass  # unreadable metadata: do not turn the image
    return 1


# PNG

_PNG = b"\x89PNG\r\n\x1a\n"

#: The parts that every decoder must know, as far as there are any.
_PNG_CRITICAL = frozenset([b"IHDR", b"PLTE", b"IDAT", b"IEND"])

#: First row, first column and steps of the passes of an interlaced PNG.
_ADAM7 = [
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)),
    (1, 0, 2, 1),
]

#: Bands and kind of samples by colour type.
_PNG_TYPES = {0: (1, "L"), 2: (3, "RGB"), 3: (1, "P"), 4: (2, "L"), 6: (4, "RGB")}


def open_png(data: bytes) -> Header:
    """Read the header of a PNG, and check its critical parts.

    Raises:
        BadImageError: it is damaged or of a kind that is not decoded.
    """
    parts: dict[bytes, bytes] = {}
    packed: list[bytes] = []
    damage: BadImageError | None = None
    try:
        for name, body, sound in _chunks(data):
            critical = name[:1].isupper()
            if name == b"IHDR" and (parts.keys() & _PNG_CRITICAL or packed):
                raise refuse(Reason.DAMAGED_IMAGE, problem="PNG with two headers")
            # A wrong checksum elsewhere costs metadata, but here pixels.
            if not sound and (critical or name == b"tRNS"):
                raise refuse(
                    Reason.DAMAGED_IMAGE, problem=f"wrong checksum of {name.decode('latin-1')}"
                )
            if critical and name not in _PNG_CRITICAL:
                raise refuse(Reason.UNREAD_KIND, kind=f"PNG with a part {name.decode('latin-1')!a}")
            if name == b"IDAT":
                packed.append(body)
            elif sound:
                parts.setdefault(name, body)
    except BadImageError as error:
        damage = error  # the pixels are damaged, but the size may be known
    if len(parts.get(b"IHDR", b"")) != 13:
        raise damage or refuse(Reason.DAMAGED_IMAGE, problem="PNG without a header")
    width, height, bits, colours = struct.unpack_from(">IIBB", parts[b"IHDR"])
    if colours not in _PNG_TYPES or not width or not height:
        raise refuse(Reason.DAMAGED_IMAGE, problem="PNG with an impossible header")
    profile, space = _png_colours(parts)
    # Pillow sees the pixels alone; it would apply or refuse parts in its own way. It sees them in
    # one part, because it is slow where there are many.
    needed: dict[bytes, bytes] = {n: parts[n] for n in (b"IHDR", b"PLTE") if n in parts}
    if packed:
        needed[b"IDAT"] = b"".join(packed)
    needed[b"IEND"] = b""
    pixels = _PNG + b"".join(_chunk(name, body) for name, body in needed.items())

    def load() -> Samples:
        if damage is not None:
            raise damage
        samples = _png_samples(pixels, bits, colours, parts)
        samples.profile, samples.space = profile, space
        return samples

    return Header(width, height, load, exif_orientation(parts.get(b"eXIf", b"")))


def _chunk(name: bytes, body: bytes) -> bytes:
    """Return a part of a PNG."""
    checksum = zlib.crc32(body, zlib.crc32(name))
    return b"".join([struct.pack(">I", len(body)), name, body, struct.pack(">I", checksum)])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield each part's name, its content, and whether its checksum fits."""
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        if at + 12 > len(data):
            raise refuse(Reason.TRUNCATED, problem="the PNG has no end")
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            raise refuse(Reason.TRUNCATED, problem="the PNG ends within a part")
        name, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        checksum = zlib.crc32(body, zlib.crc32(name))
        yield name, body, checksum == int.from_bytes(data[end - 4 : end], "big")
        if name == b"IEND":
            return
        at = end
    raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_PARTS} parts of a PNG")


def _png_colours(parts: dict[bytes, bytes]) -> tuple[bytes | None, Space | None]:
    """Return the profile or the space of a PNG; the more exact takes precedence."""
    if b"cICP" in parts and len(parts[b"cICP"]) == 4:
        if not parts[b"cICP"][3]:
            raise refuse(Reason.UNREAD_KIND, kind="PNG with samples of narrow range")
        return None, coded_space(*parts[b"cICP"][:2])
    if b"iCCP" in parts:
        _, _, packed = parts[b"iCCP"].partition(b"\0")
        try:
            unpacked = zlib.decompressobj().decompress(packed[1:], MAX_PROFILE + 1)
        except zlib.error:
            unpacked = b"damaged"  # and reported as unreadable
        if len(unpacked) > MAX_PROFILE:
            raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_PROFILE >> 20} MB of ICC profile")
        return unpacked, None
    if b"sRGB" in parts or not (b"gAMA" in parts or b"cHRM" in parts):
        return None, None
    gamma, primaries = None, None
    if len(parts.get(b"gAMA", b"")) == 4:
        gamma = struct.unpack(">I", parts[b"gAMA"])[0] / 100000 or None
    if len(parts.get(b"cHRM", b"")) == 32:
        white, *colours = np.array(struct.unpack(">8I", parts[b"cHRM"])).reshape(4, 2) / 100000
        primaries = _possible([*colours, white])
    return None, calibrated_space(gamma, primaries)


def _possible(points: list[np.ndarray]) -> Primaries | None:
    """Return four chromaticities if they span a space."""
    corners = np.array([[x, y, 1] for x, y in points[:3]])
    if min(y for _, y in points) <= 0 or abs(np.linalg.det(corners)) < 1e-3:
        return None
    return tuple((float(x), float(y)) for x, y in points)


def _png_samples(data: bytes, bits: int, colours: int, parts: dict[bytes, bytes]) -> Samples:
    bands, kind = _PNG_TYPES[colours]
    key = parts.get(b"tRNS")
    mode, pixels = _png_pixels(data, bits, colours)
    # Where the data end early, Pillow leaves the rest at 0.
    if parts[b"IHDR"][12] or not pixels[-1].any():
        _check_length(data, parts[b"IHDR"])
    if kind == "P":
        if len(parts.get(b"PLTE", b"")) < 3:
            raise refuse(Reason.DAMAGED_IMAGE, problem="PNG without a palette")
        return _from_palette(pixels[:, :, 0], parts[b"PLTE"], key or b"")
    maximum = 65535 if bits == 16 else 255
    if bands in (2, 4):
        return Samples(pixels[..., :-1], mode, kind, maximum, alpha=pixels[..., -1])
    if key is None:
        return Samples(pixels, mode, kind, maximum)
    # One colour is transparent, given with the bits that the file has.
    if len(key) != 2 * bands:
        raise refuse(Reason.DAMAGED_IMAGE, problem="PNG with an impossible transparent colour")
    values = np.frombuffer(key, ">u2") & (2**bits - 1)
    if bits < 8:
        values = values * (255 // (2**bits - 1))
    alpha = np.where((pixels == values).all(axis=2), 0, maximum).astype(pixels.dtype)
    return Samples(pixels, mode, kind, maximum, alpha)


def _png_pixels(data: bytes, bits: int, colours: int) -> tuple[str, np.ndarray]:
    """Return Pillow's mode and all bits of the pixels, uint8 or uint16 [height, width, bands]."""
    if bits != 16 or colours == 0:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            mode = image.mode
            pixels = np.asarray(image.convert("L") if mode == "1" else image)
        return mode, np.atleast_3d(pixels)
    if colours == 4:
        # Two samples of 16 bits, read as four of 8.
        halves = _read_as(data, "RGBA")
        return "LA", halves.view(">u2").astype(np.uint16)
    mode = "RGB" if colours == 2 else "RGBA"
    return mode, join_halves(lambda order: _read_as(data, f"{mode};16{order}"), "B")


def _check_length(data: bytes, header: bytes) -> None:
    """Refuse a PNG that holds fewer samples than its header says."""
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    grids = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    wanted = 0
    for top, left, down, right in grids:
        rows, columns = -((top - height) // down), -((left - width) // right)
        if rows and columns:
            wanted += rows * (1 + (columns * bits * _PNG_TYPES[colours][0] + 7) // 8)
    unpack = zlib.decompressobj()
    packed = b"".join(body for name, body, _ in _chunks(data) if name == b"IDAT")
    while wanted > 0:
        part = unpack.decompress(packed, 2**20)
        packed = unpack.unconsumed_tail
        wanted -= len(part)
        if not part:
            raise refuse(Reason.TRUNCATED, problem="the PNG has too few samples")


def _read_as(data: bytes, rawmode: str) -> np.ndarray:
    """Read a PNG's samples in another mode than its header says."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
        return np.asarray(image)


def join_halves(read: Callable[[str], np.ndarray], order: str) -> np.ndarray:
    """Return samples of 16 bits, although Pillow keeps only the upper half.

    Args:
        read: reads the picture as if its byte order were "B" or "L"; with the wrong
            order the upper half is the lower one.
        order: the right one.
    """
    upper, lower = read(order), read("L" if order == "B" else "B")
    return upper.astype(np.uint16) << 8 | lower


def _from_palette(indices: np.ndarray, colours: bytes, alphas: bytes) -> Samples:
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 3] = 255
    listed = np.frombuffer(colours, np.uint8)[: len(colours) // 3 * 3].reshape(-1, 3)[:256]
    palette[: len(listed), :3] = listed
    alphas = alphas[:256]
    palette[: len(alphas), 3] = np.frombuffer(alphas, np.uint8)
    pixels = palette[indices]
    alpha = pixels[:, :, 3] if alphas else None
    return Samples(pixels[:, :, :3], "P", "RGB", alpha=alpha)


# PNM

_PNM_BANDS = {1: 1, 2: 1, 3: 3, 4: 1, 5: 1, 6: 3}


def open_pnm(data: bytes) -> Header:
    """Read the header of a PBM, PGM or PPM, as text or binary, of any depth.

    Raises:
        BadImageError: it is damaged.
    """
    kind = data[1] - ord("0")
    numbers = 2 if kind in (1, 4) else 3
    # One way to match each byte: with \s+ a header of forty bytes would take years. It is not
    # tried again: with + instead of ++ a header of megabytes would take gigabytes.
    gap = rb"(?:\s|#[^\r\n]*+[\r\n])++"
    found = re.match(rb"P[1-6]" + (gap + rb"(\d{1,9})") * numbers + rb"(?:#[^\r\n]*)?\s", data)
    if found is None:
        raise refuse(Reason.DAMAGED_IMAGE, problem="PNM without a header")
    width, height, maximum = (*map(int, found.groups()), 1)[:3]
    if not (width and height and 0 < maximum < 65536):
        raise refuse(Reason.DAMAGED_IMAGE, problem="PNM with an impossible header")
    body = memoryview(data)[found.end() :]
    bands = _PNM_BANDS[kind]
    row = (width + 7) // 8 if kind == 4 else width * bands * (2 if maximum > 255 else 1)
    if (
        kind >= 4
        and len(body) == row * height + 1
        and data[found.end() - 1 : found.end() + 1] == b"\r\n"
    ):
        body = body[1:]  # the end of a line as Windows writes it; pixels begin after it

    def load() -> Samples:
        pixels = _pnm_pixels(body, kind, maximum, height * width * bands, width)
        pixels = pixels.reshape(height, width, bands)
        mode = "1" if numbers == 2 else "L" if bands == 1 else "RGB"
        if numbers == 2:
            pixels = 1 - pixels  # 1 is black
        return Samples(to_eight_bits(pixels, maximum), mode, "L" if bands == 1 else "RGB")

    return Header(width, height, load)


def _pnm_pixels(body: memoryview, kind: int, maximum: int, count: int, width: int) -> np.ndarray:
    if kind in (1, 2, 3):
        if bytes(body).count(b"#") > MAX_PARTS:
            raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_PARTS} comments")
        text = re.sub(rb"#[^\r\n]*", b"", body)
        if re.search(rb"[^01\s]" if kind == 1 else rb"[^\d\s]", text):
            raise refuse(Reason.DAMAGED_IMAGE, problem="PNM with a sample that is not a number")
        if kind == 1:  # its digits need no space between them
            digits = np.frombuffer(text, np.uint8)
            samples: np.ndarray = digits[digits >= ord("0")] - ord("0")
        else:
            samples = np.fromstring(text, np.int64, sep=" ")
    elif kind == 4:
        row = (width + 7) // 8
        rows = count // width
        packed = np.frombuffer(body[: row * rows], np.uint8)
        if packed.size < row * rows:
            raise refuse(Reason.TRUNCATED, problem="the PNM has too few samples")
        samples = np.unpackbits(packed.reshape(rows, row), axis=1)[:, :width].reshape(-1)
    else:
        size = 2 if maximum > 255 else 1
        whole = body[: min(count * size, len(body) // size * size)]
        samples = np.frombuffer(whole, ">u2" if size == 2 else np.uint8)
    if samples.size < count:
        raise refuse(Reason.TRUNCATED, problem="the PNM has too few samples")
    if samples[:count].max() > maximum:
        raise refuse(Reason.DAMAGED_IMAGE, problem="PNM with a sample above its maximum")
    return samples[:count].astype(np.uint8 if maximum < 256 else np.uint16, copy=False)
