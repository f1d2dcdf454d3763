"""Streams of bytes that archives are read from."""

import bz2
import copy
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from typing import IO

import zstandard

#: As many bytes tell what a file is: a tar's header.
HEAD_BYTES = 512

Readable = IO[bytes] | io.RawIOBase


class Stream(io.RawIOBase):
    """A forward-only stream that can be peeked into, and counts what is read."""

    def __init__(
        self,
        rest: Readable,
        count: Callable[[int], object] = lambda size: None,
        seekable: bool = False,
    ):
        """Say `seekable` only where going back to the start costs and hides nothing."""
        super().__init__()
        self._rest, self._count, self._head = rest, count, b""
        self._seekable = seekable

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        if size is None or size < 0:
            raise io.UnsupportedOperation("an archive is never read as a whole")
        head, self._head = self._head[:size], self._head[size:]
        # Some streams hand over little at a time, and bytes would be copied whole for each.
        parts, length = [head], len(head)
        while length < size and (more := self._rest.read(size - length)):
            self._count(len(more))
            parts.append(more)
            length += len(more)
        return b"".join(parts)

    def rewound(self) -> Readable | None:
        """Return the file itself, at its start, if it can be sought in."""
        if self._seekable:
            self._rest.seek(0)
            return self._rest
        return None

    def peek(self) -> bytes:
        """Return the first bytes of what is left without consuming them."""
        if len(self._head) < HEAD_BYTES:
            self._head = self.read(HEAD_BYTES)
        return self._head[:HEAD_BYTES]


class CountingReader(io.RawIOBase):
    """A file that tells how far it has been read."""

    def __init__(self, file: IO[bytes], advance: Callable[[int], object]):
        """Call `advance` with the number of bytes after each read."""
        super().__init__()
        self._file, self._advance = file, advance

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek in the file."""
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """Read like the file, and report it."""
        data = self._file.read(size)
        self._advance(len(data))
        return data


class ZstdFile(io.RawIOBase):
    """The content of zstd frames; an end within a frame is an error, as it is for gzip.

    zstandard's own reader ends there in silence.
    """

    # Of bytes so few no more than 128 MB can come at once.
    _PIECE = 4096

    def __init__(self, rest: Readable):
        """Read from `rest`, which begins with a frame."""
        super().__init__()
        self._rest, self._ready = rest, bytearray()
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none only at the end."""
        while not self._ready and (piece := self._rest.read(self._PIECE)):
            while piece:
                if self._frame.eof:
                    self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._ready += self._frame.decompress(piece)
                piece = self._frame.unused_data
        if not self._ready and not self._frame.eof:
            raise EOFError("it ends within a frame of zstd")
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data


class _CheckedFile(io.RawIOBase):
    """As much of a stream as a zip says that a member has; its checksum is compared at the end."""

    def __init__(self, rest: Readable, size: int, checksum: int):
        super().__init__()
        self._rest, self._left, self._stated, self._checksum = rest, size, checksum, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes, none only at the end."""
        data = self._rest.read(min(size, self._left)) or b""
        if not data and size and self._left:
            raise zipfile.BadZipFile(f"it lacks {self._left} bytes")
        self._left -= len(data)
        self._checksum = zlib.crc32(data, self._checksum)
        if not self._left and self._checksum != self._stated:
            raise zipfile.BadZipFile("Bad CRC-32")
        return data


def open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Readable:
    """Open a member of a zip, of which no more is unpacked than is asked for.

    zipfile itself unpacks bzip2 and LZMA without such a bound, and a kilobyte may hold gigabytes.

    Raises:
        Exception: what zipfile raises at damage, here or when the member is read.
    """
    if info.compress_type not in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return archive.open(info)
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # is that of the unpacked bytes
    rest = archive.open(packed)
    if info.compress_type == zipfile.ZIP_BZIP2:
        return _CheckedFile(bz2.BZ2File(rest), info.file_size, info.CRC)
    # A version, the length of what follows, then as in any file of LZMA: a byte for three numbers.
    head = rest.read(9)
    if len(head) < 9 or head[2:4] != b"\5\0":
        raise zipfile.BadZipFile("its LZMA data have an impossible header")
    options = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": int.from_bytes(head[5:], "little"),
        "lc": head[4] % 9,
        "lp": head[4] // 9 % 5,
        "pb": head[4] // 45,
    }
    return _CheckedFile(
        lzma.LZMAFile(rest, format=lzma.FORMAT_RAW, filters=[options]), info.file_size, info.CRC
    )
