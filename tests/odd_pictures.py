"""Pictures written bit by bit, in kinds that no usual library writes, and what they show."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from balle2017.data.images import decode_image, read_size
from balle2017.data.reasons import BadImageError, Reason


def pack(samples: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Pack rows of samples, [height, ...], each row to a whole number of bytes."""
    rows = samples.reshape(len(samples), -1)
    if bits in (8, 16, 32):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    single = (rows[:, :, np.newaxis] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    samples: np.ndarray,
    bits: int = 8,
    photometric: int = 1,
    order: str = "<",
    planar: bool = False,
    deflate: bool = False,
    tags: dict[int, Sequence[int] | bytes] | None = None,
) -> bytes:
    """Return a TIFF of one strip a plane.

    Args:
        samples: integers [height, width, bands].
        bits: of a sample.
        photometric: what the samples mean.
        order: of the bytes, "<" or ">".
        planar: the bands lie one after the other.
        deflate: compress the strips.
        tags: more tags, or others; of bytes the type is UNDEFINED.
    """
    height, width, bands = samples.shape
    planes = [samples[:, :, band] for band in range(bands)] if planar else [samples]
    strips = [pack(plane, bits, order) for plane in planes]
    if deflate:
        strips = [zlib.compress(strip) for strip in strips]
    offsets = [8 + sum(map(len, strips[:index])) for index in range(len(strips))]
    entries: dict[int, Sequence[int] | bytes] = {
        256: [width],
        257: [height],
        258: [bits] * bands,
        259: [8 if deflate else 1],
        262: [photometric],
        273: offsets,
        277: [bands],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if planar else 1],
    } | (tags or {})
    body = b"".join(strips)
    body += bytes(len(body) % 2)
    start = 8 + len(body)
    beyond = start + 2 + 12 * len(entries) + 4
    table, extra = struct.pack(order + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        long = tag in (273, 279, 278, 322, 323, 325)
        if isinstance(values, bytes):
            kind, count, content = 7, len(values), values
        else:
            kind, count = (4 if long else 3), len(values)
            content = struct.pack(f"{order}{count}{'I' if long else 'H'}", *values)
        if len(content) > 4:
            content, extra = struct.pack(order + "I", beyond + len(extra)), extra + content
            extra += bytes(len(extra) % 2)
        table += struct.pack(order + "HHI", tag, kind, count) + content.ljust(4, b"\0")
    table += bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", start) + body + table + extra


def chunk(name: bytes, body: bytes, damage: int = 0) -> bytes:
    """Return a part of a PNG; with `damage` its checksum is wrong."""
    checksum = zlib.crc32(name + body) ^ damage
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def png(
    samples: np.ndarray, bits: int, colours: int, parts: Sequence[bytes] = (), interlace: int = 0
) -> bytes:
    """Return a PNG.

    Args:
        samples: integers [height, width, bands].
        bits: of a sample.
        colours: the colour type.
        parts: see `chunk`; they come before the pixels.
        interlace: 1: the samples are those of Adam7.
    """
    height, width, _ = samples.shape
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, interlace)
    passes = [samples]
    if interlace:
        grid = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
        grid.append((1, 0, 2, 1))
        passes = [samples[top::down, left::right] for top, left, down, right in grid]
    lines = b""
    for part in passes:
        if part.size:
            rows = pack(part, bits)
            step = len(rows) // len(part)
            # The filter Sub, which adds the pixel before, so that a wrong width shows.
            size = max(1, bits * samples.shape[2] // 8)
            for top in range(0, len(rows), step):
                row = np.frombuffer(rows[top : top + step], np.uint8)
                before = np.concatenate([np.zeros(size, np.uint8), row])[:step]
                lines += b"\1" + (row - before).tobytes()
    pixels = chunk(b"IDAT", zlib.compress(lines))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + b"".join(parts) + pixels + chunk(b"IEND", b"")


def gif(indices: np.ndarray, palette: np.ndarray, clear: int) -> bytes:
    """Return a GIF of indices [height, width] into 256 colours, one of them transparent."""
    height, width = indices.shape
    # Of 9 bits each: a code that clears the table comes before they would have to grow.
    codes = [code for i in indices.reshape(-1).tolist() for code in (256, i)] + [257]
    bits = (np.array(codes)[:, np.newaxis] >> np.arange(9)) & 1
    packed = np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    parts = [packed[at : at + 255] for at in range(0, len(packed), 255)]
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0xF7, 0, 0)
        + palette.astype(np.uint8).tobytes()
        + struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 1, 0, clear, 0)
        + struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
        + b"\x08"
        + b"".join(bytes([len(part)]) + part for part in parts)
        + b"\0;"
    )


def exif(orientation: int, order: str = "<", *entries: bytes, kind: int = 3) -> bytes:
    """Return EXIF data with an orientation and, after it, other entries of 12 bytes."""
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    value = struct.pack(order + {1: "B", 3: "H", 4: "I"}[kind], orientation).ljust(4, b"\0")
    own = struct.pack(order + "HHI", 0x0112, kind, 1) + value
    return start + struct.pack(order + "H", 1 + len(entries)) + own + b"".join(entries) + bytes(4)


def samples(bits: int, bands: int, height: int = 5, width: int = 13) -> np.ndarray:
    """Return random samples of all sizes; 13 of 12 bits end within a byte."""
    drawn = np.random.default_rng(bits + bands).integers(0, 2**bits, (height, width, bands))
    drawn[0, :2] = [[0] * bands, [2**bits - 1] * bands]
    return drawn


def shown(values: np.ndarray, maximum: int, alpha: np.ndarray | None = None) -> np.ndarray:
    """Return what samples show: 8-bit RGB over white, not yet rounded."""
    values = values / maximum * 255
    if alpha is not None:
        share = alpha[..., np.newaxis] / maximum
        values = values * share + 255 * (1 - share)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def assert_shows(data: bytes, expected: np.ndarray, tolerance: float = 0.5) -> None:
    """Check pixels and size of an encoded picture."""
    decoded = decode_image(data).pixels
    assert decoded.dtype == np.uint8
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= tolerance + 1e-9
    height, width, _ = expected.shape
    assert read_size(data) == (width, height)


def refusal(data: bytes) -> Reason:
    """Return why a picture is refused; fail if it is not."""
    with pytest.raises(BadImageError) as raised:
        decode_image(data)
    return raised.value.refusal.reason


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Return what EXIF says: where row 0 and column 0 of the stored picture are displayed."""
    return {
        1: lambda p: p,
        2: np.fliplr,
        3: lambda p: np.rot90(p, 2),
        4: np.flipud,
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
        8: lambda p: np.rot90(p, 1),
    }[orientation](pixels)


D65 = (0.3127, 0.3290)
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), D65)
P3 = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), D65)


def in_srgb(
    values: np.ndarray, primaries: Sequence[Sequence[float]], gamma: float | None
) -> np.ndarray:
    """Return values of 0..1 in another space as sRGB, 0..255, by the definitions."""
    if gamma is None:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    else:
        linear = values**gamma
    light = linear @ (np.linalg.inv(to_pcs(SRGB)) @ to_pcs(primaries)).T
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _tag(value: bytes) -> bytes:
    return value + bytes(-len(value) % 4)


def icc(
    space: bytes, tags: dict[bytes, bytes], connection: bytes = b"XYZ ", padding: bytes = b""
) -> bytes:
    """Return an ICC profile of version 2 for screens or, of CMYK, printers.

    The padding lies before the content of the tags.
    """
    description = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0"} | tags
    tags[b"wtpt"] = fixed(b"XYZ ", [0.9642, 1, 0.8249])
    table, body, start = b"", padding, 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += _tag(value)
    kind = b"prtr" if space == b"CMYK" else b"mntr"
    size = start + len(body)
    header = struct.pack(">I4sI", size, b"test", 0x02100000) + kind + space + connection
    header = header.ljust(36, b"\0") + b"acsp"
    header = header.ljust(68, b"\0") + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def fixed(kind: bytes, numbers: Sequence[float]) -> bytes:
    """Return a tag of numbers with 16 bits before and after the point."""
    return kind + bytes(4) + struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def curve(gamma: float) -> bytes:
    """Return a tag of a power, with 8 bits before and after the point."""
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(primaries: Sequence[Sequence[float]], gamma: float, padding: bytes = b"") -> bytes:
    """Return the ICC profile of a space given by x and y of red, green, blue and white."""
    columns = to_pcs(primaries).T
    tags = {b"rgb"[i : i + 1] + b"XYZ": fixed(b"XYZ ", columns[i]) for i in range(3)}
    tags |= {b"rgb"[i : i + 1] + b"TRC": curve(gamma) for i in range(3)}
    return icc(b"RGB ", tags, padding=padding)


def to_pcs(primaries: Sequence[Sequence[float]]) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ relative to D50, with Bradford's adaptation."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    matrix = xyz[:, :3] @ np.diag(np.linalg.inv(xyz[:, :3]) @ xyz[:, 3])
    cone = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    gain = (cone @ [0.9642, 1, 0.8249]) / (cone @ xyz[:, 3])
    return np.linalg.inv(cone) @ np.diag(gain) @ cone @ matrix
