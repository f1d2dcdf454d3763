"""Tell which files claim to be images, by name or first bytes, whether they can be decoded or not.

A file that claims to be an image and cannot be used is an error in a test set, and is counted
in a training set. Drawings such as SVG claim it too; films and documents (PDF, EPS) do not.
"""

import re
from pathlib import Path, PurePath

#: Number of first bytes that are looked at.
HEAD_BYTES = 4096

# ruff: noqa: SIM905 - lists with one word per line would be harder to read

#: Suffixes of images that can be decoded.
EXTENSIONS = frozenset(
    ".avif .avifs .apng .bmp .dib .gif .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx "
    ".mpo .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)

#: Suffixes of raw files of cameras. Many begin like a TIFF, with a small preview.
_CAMERAS = frozenset(
    ".3fr .ari .arw .bay .cap .cr2 .cr3 .crw .dcr .dcs .dng .drf .eip .erf .fff .gpr .iiq .k25 "
    ".kdc .mef .mos .mrw .nef .nrw .orf .pef .ptx .pxn .raf .raw .rw2 .rwl .rwz .sr2 .srf .srw "
    ".x3f".split()
)

#: Suffixes of other images that are not decoded: from phones, painting programs and displays,
#: drawings, and rare formats.
_OTHERS = frozenset(
    ".bpg .cin .cur .dcm .dds .dicom .dpx .exr .ff .fits .flif .fts .hdp .hdr .heic .heics .heif "
    ".heifs .hif .icns .ico .jls .jng .jph .jxl .jxr .jxs .mng .pam .pcx .pfm .psb .psd "
    ".qoi .ras .rgb .rgba .rgbe .sgi .svg .svgz .tga .wdp .xbm .xcf .xpm".split()
)

#: Suffixes of archives, and of compressed files.
_ARCHIVES = frozenset(
    ".7z .ace .alz .ar .arj .cab .cb7 .cbr .cbt .cbz .cpio .egg .lha .lzh .rar .sit .sitx .tar "
    ".taz .tbz .tbz2 .tgz .tlz .txz .tzst .wim .xar .zip .zipx".split()
)
_COMPRESSED = frozenset(".br .bz2 .gz .lz .lz4 .lzma .lzo .xz .z .zst".split())

#: What archives begin with: zip, 7z, RAR and, in its header, tar.
_ARCHIVE = rb"PK\x03\x04|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|.{257}ustar"

#: Formats that are decoded, by Pillow's names, and their first bytes.
_READ = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "PNM": rb"P[1-6](?:\s|#[^\n]*\n)+\d+",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "JPEG2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "WEBP": rb"RIFF.{4}WEBP",
    "GIF": rb"GIF8[79]a",
    # The size of the header is at the fifteenth byte.
    "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "AVIF": rb".{4}ftyp(?:.{4})*?avi[fs]",
}

#: Formats that are not decoded, and their first bytes.
_NOT_READ = {
    "HEIC": rb"(?!.{8}(?:.{4})*?avi[fs]).{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1|mif2)",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": rb"II\xbc",
    "JPEG XS": rb"\0\0\0\x0cJXS \r\n\x87\n|\xff\x10\xff\x50",
    "Canon raw": rb"II\*\0.{4}CR|II\x1a\0\0\0HEAPCCDR|.{4}ftypcrx ",
    "Fujifilm raw": rb"FUJIFILMCCD-RAW",
    "Olympus raw": rb"IIRO|IIRS|MMOR",
    "Panasonic raw": rb"IIU\0",
    "Sigma raw": rb"FOVb",
    "Minolta raw": rb"\0MRM",
    "Photoshop": rb"8BPS",
    "GIMP": rb"gimp xcf ",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(?:RADIANCE|RGBE)",
    "DDS": rb"DDS \x7c\0\0\0",
    "icon": rb"\0\0[\x01\x02]\0[\x01-\x40]\0|icns",
    "QOI": rb"qoif",
    "BPG": rb"BPG\xfb",
    "FLIF": rb"FLIF",
    "DICOM": rb".{128}DICM",
    "FITS": rb"SIMPLE  = ",
    "farbfeld": rb"farbfeld",
    "ILBM": rb"FORM.{4}(?:ILBM|PBM )",
    "JBIG2": rb"\x97JB2\r\n\x1a\n",
    "KTX": rb"\xabKTX [12][01]\xbb\r\n\x1a\n",
    "PAM": rb"P7\s",
    "PFM": rb"P[fF]\s+\d+\s",
    "DPX": rb"SDPX|XPDS",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]\0[\x01-\x03]",
    "PCX": rb"\x0a[\0\x02-\x05]\x01[\x01\x02\x04\x08]",
    "MNG": rb"\x8aMNG|\x8bJNG",
    "XPM": rb"/\* XPM \*/",
    # Atomic groups: what a comment may be is not tried again, which takes years for fifty of them.
    "SVG": rb"(?:\xef\xbb\xbf)?\s*"
    rb"(?:(?><\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>)\s*)*+<svg\b",
}


def _matched(table: dict[str, bytes], head: bytes) -> str | None:
    """Return the name of the format of a table by which a file begins."""
    head = head[:HEAD_BYTES]
    if head[4:8] == b"ftyp":
        # A box, which begins with its size; beyond it there are no brands.
        head = head[: max(16, int.from_bytes(head[:4], "big"))]
    matches = (name for name, pattern in table.items() if re.match(pattern, head, re.DOTALL))
    return next(matches, None)


def unread_format(head: bytes, name: str = "") -> str | None:
    """Return the picture format of a file that is not decoded, or None.

    Args:
        head: its first bytes.
        name: of the file; the suffix tells a camera's raw file, which begins like a TIFF.
    """
    found = _matched(_NOT_READ, head)
    preview = PurePath(name).suffix.lower() in _CAMERAS and _matched(_READ, head) == "TIFF"
    return found or ("raw file of a camera" if preview else None)


def read_format(head: bytes, name: str = "") -> str | None:
    """Return the picture format of a file that is decoded, by Pillow's name ("PNM": any), or None.

    For the arguments see `unread_format`.
    """
    return None if unread_format(head, name) else _matched(_READ, head)


def named_like_picture(name: str) -> bool:
    """Tell whether a name ends like that of a picture."""
    return PurePath(name).suffix.lower() in EXTENSIONS | _CAMERAS | _OTHERS


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file; none if it is not a regular file.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():
        return b""
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES)


def claims_picture(path: Path) -> bool:
    """Tell whether a file claims to be a picture.

    Raises:
        OSError: it cannot be read.
    """
    if path.name.startswith(".") or path.is_dir():
        return False
    if named_like_picture(path.name):
        return True
    head = read_head(path)
    return bool(_matched(_NOT_READ, head) or _matched(_READ, head))


def may_hold_pictures(path: Path) -> bool:
    """Tell whether a file is an archive, or a compressed picture or archive.

    Its name tells, or the first bytes where the name has no suffix: many documents are zips too.

    Raises:
        OSError: it cannot be read.
    """
    if not path.suffix:
        return re.match(_ARCHIVE, read_head(path), re.DOTALL) is not None
    return named_like_archive(path.name)


def named_like_archive(file_name: str) -> bool:
    """Tell whether a name ends like that of an archive, or of a compressed picture or archive."""
    name = PurePath(file_name)
    if name.suffix.lower() in _COMPRESSED:
        name = name.with_suffix("")
        return named_like_picture(name.name) or name.suffix.lower() in _ARCHIVES
    return name.suffix.lower() in _ARCHIVES
