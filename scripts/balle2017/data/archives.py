"""Walk through the members of image archives, whatever their form.

A source is a folder, a zip, or a tar (plain, gz, bz2, xz, zst), each possibly
with tars or zips inside. Its first bytes tell which, never its name. Nothing is
unpacked: members are handed over one at a time, as bytes, and their names are
never used as paths.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Self

import zstandard

from balle2017.data.reasons import Reason, Refusal
from balle2017.data.streams import (
    HEAD_BYTES,
    CountingReader,
    Readable,
    Stream,
    ZstdFile,
    open_zipped,
)
from balle2017.errors import InputError
from balle2017.files import files_below, printable

#: Largest encoded member that is read, in bytes.
MAX_MEMBER_BYTES = 256 * 1024 * 1024

# First bytes of the archive formats that are not read.
_UNREAD_ARCHIVES = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "RAR",
    b"\x1f\x9d": "compress (.Z)",
    b"\x04\x22\x4d\x18": "LZ4",
    b"LZIP\x01": "lzip",
    # With dictionaries of 8, 16, 32 and 64 MB, as xz and its ancestor make them.
    b"\x5d\0\0\x80\0": "lzma without xz",
    b"\x5d\0\0\0\1": "lzma without xz",
    b"\x5d\0\0\0\2": "lzma without xz",
    b"\x5d\0\0\0\4": "lzma without xz",
    b"\x89LZO\0": "lzop",
    b"MSCF\0\0\0\0": "CAB",
    b"070701": "cpio",
    b"070702": "cpio",
    b"070707": "cpio",
    b"!<arch>\n": "ar",
    b"xar!\0": "xar",
    b"MSWIM\0\0\0": "WIM",
    b"hsqs": "squashfs",
    b"PK\x07\x08": "zip in several parts",
    b"PK\x30\x30PK": "zip in several parts",
}

# The compression methods of zip that zipfile reads.
_ZIP_METHODS = (
    zipfile.ZIP_STORED,
    zipfile.ZIP_DEFLATED,
    zipfile.ZIP_BZIP2,
    zipfile.ZIP_LZMA,
)
_ZIP_METHOD_NAMES = {
    1: "shrink",
    6: "implode",
    9: "deflate64",
    19: "LZ77",
    93: "zstd",
    94: "MP3",
    95: "xz",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
}

#: How many archives may be nested in one another.
MAX_DEPTH = 4

# An archive may expand to this many times its size, and a gigabyte more.
MAX_EXPANSION = 100
_EXPANSION_ALLOWANCE = 1 << 30

_TAR_BUFFER = 512 * 512
_MAX_HEADER_BYTES = 1 << 20

# A block, and the end of a file without one.
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")

# Any, because the libraries disagree about the type of a binary file.
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b\x08": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    **{b"BZh%d" % size + start: bz2.BZ2File for size in range(1, 10) for start in _BZIP2_BLOCKS},
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": ZstdFile,
    # Frames to skip, with which pzstd begins a file.
    **{bytes([0x50 + kind]) + b"\x2a\x4d\x18": ZstdFile for kind in range(16)},
}

# What the libraries raise for damaged archives; NotImplementedError is zipfile's
# for an unknown compression.
_DAMAGE = (
    struct.error,
    OverflowError,
    LookupError,
    UnicodeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    zstandard.ZstdError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    MemoryError,
)


class _DamagedMemberError(Exception):
    """A compressed file that is not an archive does not decompress."""


class _TooLargeError(Exception):
    """The source expands beyond any reasonable size."""


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        name: path inside the source, in printable characters; nested archives
            are joined by "/".
        data: the file's bytes, or None where it is not handed over.
        refusal: why it is not; None otherwise.
    """

    name: str
    data: bytes | None
    refusal: Refusal | None = None


class _StrictTarInfo(tarfile.TarInfo):
    """A tar header that ends the archive only at its end mark.

    tarfile itself stops without an error at a damaged header, and at the end of a
    file that was cut between two members.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise  # a block of zeros: the end mark
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]
            raise tarfile.ReadError("it ends without an end mark") from None
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a header is damaged ({error})") from None
        if info.size < 0:
            raise tarfile.ReadError(f"a header has {info.size} bytes")
        # tarfile reads these wholly into memory: long names and extended headers.
        if info.type not in tarfile.REGULAR_TYPES and info.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header has {info.size} bytes, which is too many")
        return info


def _is_tar(head: bytes) -> bool:
    """Tell a tar by its first header; old ones have no magic, but a checksum."""
    if head[257:262] == b"ustar":
        return True
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _problem(error: Exception) -> str:
    """Say what is wrong with an archive; raise what is wrong with the machine."""
    if isinstance(error, OSError):
        if error.errno == errno.EINVAL:
            return "an offset points before its start"
        # The decompressors raise OSError without a number for damaged data.
        if error.errno is not None:
            raise error
    # Messages may quote names from the archive.
    return printable(str(error)) or type(error).__name__


def _is_hidden(name: str) -> bool:
    """Tell whether a desktop system left this file behind (.DS_Store, ._x, __MACOSX/)."""
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..")]
    return any(
        part == "__MACOSX" or (part.startswith(".") and not part.startswith("..")) for part in parts
    )


class _Walker:
    """One walk through one source; counts what of it is done, and what it expands to."""

    def __init__(self, size: int, advance: Callable[[int], object], scratch: Path | None):
        self._left = MAX_EXPANSION * size + _EXPANSION_ALLOWANCE
        self._not_done, self._advance = size, advance
        self._scratch = scratch

    def counted(self, file: IO[bytes]) -> CountingReader:
        """Return a file of the source, with what is read of it reported."""
        return CountingReader(file, self._report)

    def end(self) -> None:
        """Report what was passed over as done too."""
        self._report(self._not_done)

    def _report(self, size: int) -> None:
        # Some bytes are read twice, such as those that tell what a file is.
        size = min(size, self._not_done)
        self._not_done -= size
        self._advance(size)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _TooLargeError

    def file(self, name: str, stream: Stream, depth: int) -> Iterator[Member]:
        """Hand over a regular file, or the members of the archive it holds."""
        head = stream.peek()
        if kind := self.archive_kind(head):
            if depth > MAX_DEPTH:
                yield Member(name, None, Refusal(Reason.DEEP_ARCHIVE, {"limit": MAX_DEPTH}))
                return
            try:
                if kind == "compressed":
                    yield from self._compressed(name, stream, depth)
                else:
                    yield from self.archive(kind, stream, f"{name}/", depth)
            except _DamagedMemberError as error:
                yield Member(name, None, Refusal(Reason.DAMAGED_MEMBER, {"problem": str(error)}))
            except (*_DAMAGE, OSError) as error:
                yield Member(
                    name, None, Refusal(Reason.DAMAGED_ARCHIVE, {"problem": _problem(error)})
                )
            return
        if _is_hidden(name):
            yield Member(name, None, Refusal(Reason.HIDDEN))
            return
        for magic, archive in _UNREAD_ARCHIVES.items():
            if head.startswith(magic):
                yield Member(name, None, Refusal(Reason.UNREAD_ARCHIVE, {"format": archive}))
                return
        data = stream.read(MAX_MEMBER_BYTES + 1)
        if len(data) > MAX_MEMBER_BYTES:
            yield Member(name, None, Refusal(Reason.LARGE_FILE, {"limit": MAX_MEMBER_BYTES}))
            return
        yield Member(name, data)

    @staticmethod
    def archive_kind(head: bytes) -> str | None:
        """Tell an archive by its first bytes: "zip", "tar", "compressed" or None."""
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return "zip"
        if head.startswith(tuple(_DECOMPRESSORS)):
            return "compressed"
        return "tar" if _is_tar(head) else None

    def archive(self, kind: str, stream: Stream, prefix: str, depth: int) -> Iterator[Member]:
        """Hand over the members of an archive of a known kind."""
        if kind == "zip":
            yield from self._zip(stream, prefix, depth)
        elif kind == "tar":
            yield from self._tar(stream, prefix, depth)
        else:
            with self._decompressed(stream) as inner:
                if self.archive_kind(inner.peek()) != "tar":
                    raise tarfile.ReadError("compressed, but not a tar")
                yield from self._tar(inner, prefix, depth)

    def _compressed(self, name: str, stream: Stream, depth: int) -> Iterator[Member]:
        """Hand over the members of a compressed tar, or whatever single file was compressed."""
        with self._decompressed(stream) as inner:
            if self.archive_kind(inner.peek()) == "tar":
                yield from self._tar(inner, f"{name}/", depth)
                return
            # A single file, whose loss can be told; of a damaged archive nobody knows what it held.
            try:
                yield from self.file(name, inner, depth + 1)
            except (*_DAMAGE, OSError) as error:
                raise _DamagedMemberError(_problem(error)) from None

    @contextlib.contextmanager
    def _decompressed(self, stream: Stream) -> Iterator[Stream]:
        """Open compressed data, and read it to its end."""
        head = stream.peek()
        make = next(make for magic, make in _DECOMPRESSORS.items() if head.startswith(magic))
        with make(stream) as plain:
            inner = Stream(plain, self._count)
            yield inner
            # The checksum of what was compressed is at its very end.
            while inner.read(1 << 20):
                pass

    def _tar(self, stream: Stream, prefix: str, depth: int) -> Iterator[Member]:
        # A file can be read in larger pieces than a stream.
        file = stream.rewound()
        with tarfile.open(
            fileobj=file or stream,
            mode="r:" if file else "r|",
            bufsize=_TAR_BUFFER,
            tarinfo=_StrictTarInfo,
        ) as tar:
            for info in tar:
                name = prefix + printable(info.name.removeprefix("./"))
                # tarfile would keep every header it has seen.
                tar.members = []  # type: ignore[attr-defined]
                # An extended header may give another size, with which tarfile would go back.
                if info.size < 0 or tar.offset <= info.offset:
                    raise tarfile.ReadError(f"a member has {info.size} bytes")
                if info.isdir():
                    continue
                if info.issparse():
                    # A few bytes may stand for any size, and for any number of holes.
                    yield Member(name, None, Refusal(Reason.SPARSE))
                elif not info.isreg():
                    yield Member(name, None, Refusal(Reason.NOT_REGULAR))
                else:
                    content = tar.extractfile(info)
                    assert content is not None, "of a regular file"
                    member = Stream(content, seekable=bool(file))
                    yield from self.file(name, member, depth + 1)
            while rest := tar.fileobj.read(_TAR_BUFFER):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("there is data after its end mark")

    def _zip(self, stream: Stream, prefix: str, depth: int) -> Iterator[Member]:
        # A zip's directory is at its end, so it cannot be streamed.
        with tempfile.TemporaryFile(dir=self._scratch) as spool:
            while chunk := stream.read(1 << 20):
                spool.write(chunk)
            yield from self.zip_file(spool, prefix, depth)

    def zip_file(self, file: Readable, prefix: str, depth: int) -> Iterator[Member]:
        """Hand over the members of a zip that can be sought in."""
        with zipfile.ZipFile(file) as archive:
            first = min((info.header_offset for info in archive.infolist()), default=0)
            if first < 0:
                # zipfile counts from the directory backwards, and so may the archive's maker.
                raise zipfile.BadZipFile("bytes are missing before its directory")
            file.seek(0)
            if first > 0 and file.read(4) == b"PK\x03\x04":
                raise zipfile.BadZipFile(
                    "it begins with files that its directory does not list, as zips that were "
                    "joined do; take them apart"
                )
            for info in archive.infolist():
                if info.is_dir():
                    continue
                name = prefix + printable(info.filename)
                if info.flag_bits & 1:
                    yield Member(name, None, Refusal(Reason.ENCRYPTED))
                elif info.compress_type not in _ZIP_METHODS:
                    number = info.compress_type
                    method = _ZIP_METHOD_NAMES.get(number, f"number {number} of zip")
                    yield Member(name, None, Refusal(Reason.COMPRESSION, {"method": method}))
                elif stat.S_ISLNK(info.external_attr >> 16):
                    yield Member(name, None, Refusal(Reason.NOT_REGULAR))
                else:
                    try:
                        with open_zipped(archive, info) as member:
                            yield from self.file(name, Stream(member, self._count), depth + 1)
                    except (*_DAMAGE, OSError) as error:
                        yield Member(
                            name, None, Refusal(Reason.DAMAGED_MEMBER, {"problem": _problem(error)})
                        )

    def folder(self, folder: Path, without: Collection[Path]) -> Iterator[Member]:
        """Hand over the files below a folder, one subfolder after the other."""
        root = folder.resolve()
        closed: list[OSError] = []
        for path in files_below(folder, without, closed.append):
            name = printable(path.relative_to(folder).as_posix())
            if not path.is_file():
                yield Member(name, None, Refusal(Reason.NOT_REGULAR))
            elif path.is_symlink() and not path.resolve().is_relative_to(root):
                yield Member(name, None, Refusal(Reason.OUTSIDE_LINK))
            else:
                try:
                    with open(path, "rb") as file:
                        yield from self.file(name, Stream(self.counted(file)), 1)
                except PermissionError:
                    yield Member(name, None, Refusal(Reason.NOT_READABLE))
        for error in closed:
            name = printable(Path(error.filename).relative_to(folder).as_posix())
            yield Member(f"{name}/", None, Refusal(Reason.NOT_READABLE))


def source_size(source: Path, without: Collection[Path] = ()) -> int:
    """Return the bytes that a walk through a file, or a folder without some, reads."""
    if source.is_dir():
        paths = files_below(source, without)
        return sum(path.stat().st_size for path in paths if path.is_file())
    return os.stat(source).st_size


def iterate_members(
    source: Path,
    advance: Callable[[int], object] = lambda count: None,
    scratch: Path | None = None,
    without: Collection[Path] = (),
) -> Iterator[Member]:
    """Yield every file of a folder, tar or zip, in the order it is stored.

    Memory stays at one member, and a zip's directory.

    Args:
        source: file or folder.
        advance: called with the number of source bytes that were read or passed over since the
            last time; at the end the sum is `source_size`.
        scratch: folder for zips that lie in other archives; the system's by default.
        without: folders below `source` that are passed over.

    Raises:
        InputError: the source does not exist, is no archive, is cut short, or
            expands beyond `MAX_EXPANSION`.
    """
    source = Path(source)
    try:
        walker = _Walker(source_size(source, without), advance, scratch)
        if source.is_dir():
            yield from walker.folder(source, without)
            walker.end()
            return
        with open(source, "rb") as file:
            reader = walker.counted(file)
            stream = Stream(reader, seekable=True)
            head = stream.peek()
            empty_tar = len(head) == HEAD_BYTES and not head.strip(b"\0")
            kind = "tar" if empty_tar else walker.archive_kind(head)
            if kind == "zip":
                yield from walker.zip_file(reader, "", 1)
            elif kind:
                yield from walker.archive(kind, stream, "", 1)
            else:
                raise InputError(
                    f"{source} is neither a tar (plain, gz, bz2, xz, zst) nor a zip nor a folder"
                )
            walker.end()
    except FileNotFoundError:
        raise InputError(f"archive {source} does not exist") from None
    except _TooLargeError:
        raise InputError(
            f"{source} expands to more than {MAX_EXPANSION} times its size, as a zip bomb does"
        ) from None
    except (*_DAMAGE, OSError) as error:
        raise InputError(f"{source} is damaged or cut short: {_problem(error)}") from None
