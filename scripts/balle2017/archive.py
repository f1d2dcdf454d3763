"""Walk through the members of image archives, whatever their form.

A source is a folder, a zip, or a tar (plain, gz, bz2, xz), each possibly with
tars or zips inside. The form is told by the first bytes, never by the name.
Nothing is unpacked: members are handed over one at a time, as bytes.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from balle2017.errors import InputError

#: Largest encoded member that is read, in bytes.
MAX_MEMBER_BYTES = 512 * 1024 * 1024

#: How many archives may be nested in one another.
MAX_DEPTH = 4

_COMPRESSIONS = ((b"\x1f\x8b", "gz"), (b"BZh", "bz2"), (b"\xfd7zXZ\x00", "xz"))
_HEAD = 512

#: What the standard library raises for damaged archives.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError)


@dataclass(frozen=True)
class Member:
    """One file of an archive.

    Attributes:
        name: path inside the source; nested archives are joined by "/".
        data: the file's bytes, or None where it is not handed over.
        reason: why it is not, in words; empty otherwise.
    """

    name: str
    data: bytes | None
    reason: str = ""


class _Peekable(io.RawIOBase):
    """A forward-only stream whose first bytes have been read already."""

    def __init__(self, head: bytes, rest: BinaryIO):
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            head, self._head = self._head, b""
            return head + self._rest.read()
        head, self._head = self._head[:size], self._head[size:]
        return head + self._rest.read(size - len(head)) if len(head) < size else head


def _tar_mode(head: bytes) -> str | None:
    """Return tarfile's streaming mode for these first bytes, None if not a tar."""
    for magic, name in _COMPRESSIONS:
        if head.startswith(magic):
            return f"r|{name}"
    empty = len(head) == _HEAD and not head.strip(b"\0")
    return "r|" if empty or head[257:262] == b"ustar" else None


def _is_zip(head: bytes) -> bool:
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def _is_hidden(name: str) -> bool:
    """Tell the droppings of desktop systems (.DS_Store, ._x, __MACOSX/)."""
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..")]
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _walk_file(name: str, size: int, stream: BinaryIO, depth: int) -> Iterator[Member]:
    """Hand over one regular file, or the members of the archive it holds."""
    if _is_hidden(name):
        yield Member(name, None, "hidden file")
        return
    if size > MAX_MEMBER_BYTES and depth >= MAX_DEPTH:
        yield Member(name, None, f"larger than {MAX_MEMBER_BYTES} bytes")
        return
    head = stream.read(_HEAD)
    mode = _tar_mode(head)
    if mode or _is_zip(head):
        if depth >= MAX_DEPTH:
            yield Member(name, None, f"archives nested more than {MAX_DEPTH} deep")
            return
        try:
            if mode:
                yield from _walk_tar(_Peekable(head, stream), mode, f"{name}/", depth + 1)
            else:
                # A zip's directory is at its end, so it cannot be streamed.
                whole = io.BytesIO(head + stream.read())
                yield from _walk_zip(whole, f"{name}/", depth + 1)
        except _DAMAGE as error:
            yield Member(name, None, f"damaged archive: {error}")
        return
    if size > MAX_MEMBER_BYTES:
        yield Member(name, None, f"larger than {MAX_MEMBER_BYTES} bytes")
        return
    yield Member(name, head + stream.read())


def _walk_tar(stream: BinaryIO, mode: str, prefix: str, depth: int) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for info in tar:
            name = prefix + info.name.removeprefix("./")
            if info.isdir():
                continue
            if not info.isreg():
                yield Member(name, None, "not a regular file")
                continue
            yield from _walk_file(name, info.size, tar.extractfile(info), depth)


def _walk_zip(stream: BinaryIO, prefix: str, depth: int) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            name = prefix + info.filename
            try:
                with archive.open(info) as file:
                    yield from _walk_file(name, info.file_size, file, depth)
            except _DAMAGE as error:
                yield Member(name, None, f"cannot be read: {error}")


def _walk_folder(folder: Path) -> Iterator[Member]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                name = path.relative_to(folder).as_posix()
                yield from _walk_file(name, path.stat().st_size, file, 1)


def iterate_members(source: Path) -> Iterator[Member]:
    """Yield every file of a folder, tar or zip, in the order it is stored.

    Memory stays at one member (one inner zip, where zips are nested).

    Raises:
        InputError: the source does not exist, is no archive, or is cut short.
    """
    source = Path(source)
    if source.is_dir():
        yield from _walk_folder(source)
        return
    try:
        with open(source, "rb") as file:
            head = file.read(_HEAD)
            file.seek(0)
            mode = _tar_mode(head)
            try:
                if mode:
                    yield from _walk_tar(file, mode, "", 1)
                elif _is_zip(head):
                    yield from _walk_zip(file, "", 1)
                else:
                    raise InputError(
                        f"{source} is neither a tar (plain, gz, bz2, xz) nor a zip nor a folder"
                    )
            except _DAMAGE as error:
                raise InputError(f"{source} is damaged or cut short: {error}") from None
    except FileNotFoundError:
        raise InputError(f"archive {source} does not exist") from None
