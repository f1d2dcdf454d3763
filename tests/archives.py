"""Archives of small pictures, made in memory."""

import gzip
import io
import tarfile
import zipfile

import zstandard
from helpers import make_picture
from PIL import Image


def png(seed: int, height: int = 48, width: int = 64) -> bytes:
    """Return a PNG of a smooth random picture."""
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed, height, width)).save(buffer, "PNG")
    return buffer.getvalue()


def tar_bytes(members: dict[str, bytes | tarfile.TarInfo], mode: str = "w") -> bytes:
    """Return a tar; a TarInfo stands for a member that is no regular file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members.items():
            if isinstance(data, tarfile.TarInfo):
                data.name = name
                tar.addfile(data)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Return a tar member that is a link or a device."""
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, target
    return info


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def encrypted_zip(members: dict[str, bytes]) -> bytes:
    """Return a zip whose members are marked as encrypted."""
    data = bytearray(zip_bytes(members))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = data.find(signature)
        while position >= 0:
            data[position + offset] |= 1
            position = data.find(signature, position + 4)
    return bytes(data)


def zst(data: bytes) -> bytes:
    """Return data compressed with zstd."""
    return zstandard.ZstdCompressor().compress(data)


def gz(data: bytes) -> bytes:
    """Return data compressed with gzip."""
    return gzip.compress(data, mtime=0)
