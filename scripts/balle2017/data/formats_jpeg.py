"""Read JPEG, whose header says what decoding will cost."""

import io
import re
import struct
from collections.abc import Iterator

import numpy as np
import simplejpeg
from PIL import Image

from balle2017.data.colour import Samples
from balle2017.data.formats import Header, exif_orientation
from balle2017.data.reasons import Reason, refuse

#: Scans of a JPEG that are decoded; usual encoders write ten. The time grows with them.
MAX_SCANS = 100

#: Segments of a JPEG that are looked at, before its coded data and in them; usual files have fifty.
MAX_SEGMENTS = 100_000

_END = b"\xff\xd9"

#: Markers of the frames that are decoded: sequential and progressive, coded by Huffman's method or
#: arithmetically.
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
_PROGRESSIVE = (0xC2, 0xCA)

#: A marker, after bytes of filling.
_ANY_MARKER = re.compile(rb"\xff[^\xff]")

#: A marker that can end coded data.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")


def open_jpeg(data: bytes) -> Header:
    """Read the header of a JPEG.

    Raises:
        BadImageError: it is damaged, of a kind that is not decoded, or has too many scans.
    """
    frame, kind, orientation, start = b"", 0, None, None
    profile: dict[int, bytes] = {}
    jfif = adobe = 0
    profiles = []
    for marker, body, end in _segments(data):
        if marker == 0xE0 and body.startswith(b"JFIF\0"):
            jfif = end - len(body)
        elif marker == 0xE1 and body.startswith(b"Exif\0") and orientation is None:
            orientation = exif_orientation(body)
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
            profiles.append(end - len(body))
        elif marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = end - len(body)
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            frame, kind = body, marker
        elif marker == 0xDA:
            start = end - len(body) - 4
            break
    if start is None or len(frame) < 6:
        raise refuse(Reason.TRUNCATED, problem="the JPEG ends before its pixels")
    bits, height, width, bands = struct.unpack_from(">BHHB", frame)
    modes = {1: ("L", "GRAY"), 3: ("RGB", "RGB"), 4: ("CMYK", "CMYK")}
    if kind not in _FRAMES:
        raise refuse(Reason.UNREAD_KIND, kind="lossless or hierarchical JPEG, or JPEG-LS")
    if bits != 8 or bands not in modes:
        raise refuse(Reason.UNREAD_KIND, kind=f"JPEG with {bands} samples of {bits} bits")
    if not width or not height:
        raise refuse(Reason.DAMAGED_IMAGE, problem="JPEG without a size")
    # In coded data FF is never followed by DA; what follows the picture may hold anything.
    if data.count(b"\xff\xda", start) > MAX_SCANS:
        _scans(data, start)
    mode, space = modes[bands]
    data = _with_known_codes(data, jfif, adobe, bands, profiles)

    def load() -> Samples:
        try:
            pixels = simplejpeg.decode_jpeg(data, space, strict=True)
        except ValueError as error:
            text = str(error)
            if "subsampling" in text:
                pixels = _unusual_jpeg(data, start, kind in (0xC0, 0xC1))
            else:
                early = "premature end" in text.lower()
                reason = Reason.TRUNCATED if early else Reason.DAMAGED_IMAGE
                raise refuse(reason, problem=text) from None
        _check_scans(data, start, kind in _PROGRESSIVE, frame[6 : 6 + 3 * bands : 3])
        if mode == "CMYK":
            # As Adobe's programs, and whoever followed them, write it.
            pixels = 255 - pixels
        joined = b"".join(profile[number] for number in sorted(profile)) or None
        return Samples(pixels, mode, mode, profile=joined)

    return Header(width, height, load, orientation or 1)


def _with_known_codes(data: bytes, jfif: int, adobe: int, bands: int, profiles: list[int]) -> bytes:
    """Return a JPEG without the codes of which libjpeg warns but which say nothing of damage.

    Args:
        data: the JPEG.
        jfif: where the content of its JFIF segment begins; 0 if it has none.
        adobe: the same of the segment of Adobe.
        bands: of a pixel.
        profiles: the same of the parts of the profile, which libjpeg need not read.
    """
    changes = dict.fromkeys(profiles, ord("i"))
    if jfif and data[jfif + 5 : jfif + 6] != b"\1":
        changes[jfif + 5] = 1  # the revision
    usual = {3: (0, 1), 4: (0, 2)}.get(bands)
    if adobe and usual is not None and data[adobe + 11] not in usual:
        changes[adobe + 11] = usual[1]  # what libjpeg takes an unknown colour transform for
    if not changes:
        return data
    changed = bytearray(data)
    for at, value in changes.items():
        changed[at] = value
    return bytes(changed)


def _unusual_jpeg(data: bytes, start: int, sequential: bool) -> np.ndarray:
    """Decode a JPEG with a subsampling that simplejpeg lacks; of CMYK return the inverse.

    Pillow does not tell what libjpeg warns of. Of a picture in one scan, however, the pixels
    depend on what is put after its data only if these are incomplete.
    """
    scans, end = _scans(data, start)
    if end is None:
        raise refuse(Reason.TRUNCATED, problem="the JPEG has no end")
    if not sequential or len(scans) > 1:
        raise refuse(Reason.UNREAD_KIND, kind="JPEG of several scans with this subsampling")
    # Pillow would stumble over odd EXIF data, which is not needed any more.
    data = data[:end].replace(b"Exif\0", b"none\0")
    pixels, other = (_decode_with_pillow(data + tail) for tail in (_END, b"\x5a" * 4096 + _END))
    if not np.array_equal(pixels, other):
        raise refuse(Reason.TRUNCATED, problem="the JPEG's data end before its pixels")
    return pixels


def _decode_with_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        pixels = np.atleast_3d(np.asarray(image))
        return 255 - pixels if image.mode == "CMYK" else pixels


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, content and end of each segment before the coded data."""
    at = 2
    for _ in range(MAX_SEGMENTS):
        found = _ANY_MARKER.search(data, at)
        if found is None or found.start() + 4 > len(data):
            return
        at = found.end()
        marker = data[at - 1]
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:
            continue  # without content
        end = at + int.from_bytes(data[at : at + 2], "big")
        yield marker, data[at + 2 : end], end
        at = end
    raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_SEGMENTS} segments")


def _scans(data: bytes, at: int) -> tuple[list[bytes], int | None]:
    """Return the headers of a JPEG's scans, the first of which is at `at`, and the end's place.

    Raises:
        BadImageError: there are too many.
    """
    headers: list[bytes] = []
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return headers, None
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return headers, found.start()
        length = int.from_bytes(data[at : at + 2], "big")
        if marker == 0xDA:
            headers.append(data[at + 2 : at + length])
            if len(headers) > MAX_SCANS:
                raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_SCANS} scans")
        at += length
    raise refuse(Reason.OVER_LIMITS, limit=f"{MAX_SEGMENTS} segments")


def _check_scans(data: bytes, start: int, progressive: bool, bands: bytes) -> None:
    """Refuse a JPEG that was decoded although it lacks scans, of which libjpeg does not warn.

    Args:
        data: the JPEG.
        start: where its first scan is.
        progressive: several scans bring the coefficients of a band.
        bands: the bytes by which the bands are called.
    """
    if len(set(bands)) < len(bands) or not (progressive or data[start + 4] < len(bands)):
        return
    lacking = {band: set(range(64)) for band in bands}
    for header in _scans(data, start)[0]:
        count = header[0]
        first, last, bits = header[1 + 2 * count : 4 + 2 * count]
        for band in header[1 : 1 + 2 * count : 2]:
            if not progressive:
                lacking[band].clear()
            elif bits & 15 == 0:  # no lower bits are to come
                lacking[band].difference_update(range(first, last + 1))
    if any(lacking.values()):
        raise refuse(Reason.TRUNCATED, problem="the JPEG lacks scans")
