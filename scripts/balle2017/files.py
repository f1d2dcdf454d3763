"""Read, write and hash files; a file that is written is either whole or absent."""

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from balle2017.errors import InputError


def is_url(source: object) -> bool:
    """Tell an http(s) address from a path."""
    return str(source).startswith(("http://", "https://"))


def file_name(text: str) -> str:
    """Return a name that is safe in paths and shell commands."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "images"


def printable(text: str) -> str:
    """Return a text, such as a file's name, with control and undecodable characters escaped."""
    return "".join(
        character
        if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        else character.encode("unicode_escape").decode()
        for character in text
    )


def check_name(name: str, what: str, advice: str) -> str:
    """Return a name that goes into tables, if they can hold it.

    Args:
        name: to check.
        what: whose name it is, for the message.
        advice: what to do about it, for the message.

    Raises:
        InputError: it is not UTF-8, or has control characters: csv does not quote a carriage
            return, and reads it as the end of a row.
    """
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise InputError(
            f"{printable(what)} has a name that tables cannot hold (control characters, or not "
            f"UTF-8); {advice}"
        )
    return name


def real_path(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without links. Unlike `Path.resolve`, let links go in a circle."""
    return Path(os.path.realpath(path))


def files_below(
    folder: Path,
    without: Iterable[Path] = (),
    onerror: Callable[[OSError], object] | None = None,
) -> Iterator[Path]:
    """Yield the files below a folder, one subfolder after the other, sorted.

    Links to folders are yielded, not followed.

    Args:
        folder: where to look.
        without: folders to skip; ignored if they hold `folder` itself.
        onerror: called with the error of a subfolder that cannot be read.
    """
    root = real_path(folder)
    left_out = {real_path(path) for path in without} - {root, *root.parents}
    for parent, folders, files in os.walk(folder, onerror=onerror):
        inside = real_path(parent)
        folders[:] = sorted(name for name in folders if inside / name not in left_out)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for path in (Path(parent) / name for name in sorted(files + links)):
            if not (path.is_symlink() and left_out.intersection(real_path(path).parents)):
                yield path


def refuse_inputs_in(folders: Iterable[Path], inputs: Iterable[Path], flag: str) -> None:
    """Check that no input is in a folder of output.

    Raises:
        InputError: one does; `flag` names the output.
    """
    places = {folder: real_path(folder) for folder in folders}
    for path in inputs:
        actual = real_path(path)
        for folder, place in places.items():
            if actual.is_relative_to(place):
                raise InputError(
                    f"{path} is in {folder}, where results are written; give another {flag}"
                )


@contextlib.contextmanager
def set_aside(paths: Iterable[Path], folder: Path) -> Iterator[None]:
    """Move files and folders away while the block puts others in their places.

    Args:
        paths: with different names; those that do not exist are passed over.
        folder: a new one, on the same disk, for what was there. If the block fails, it is moved
            back. Otherwise it stays there, for the caller to delete.
    """
    folder.mkdir()
    moved: list[Path] = []
    try:
        for path in paths:
            if os.path.lexists(path):
                os.replace(path, folder / path.name)
                moved.append(path)
        yield
    except BaseException:
        for path in reversed(moved):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            os.replace(folder / path.name, path)
        raise


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as 64 hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Return the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place if the block succeeds.

    The content is flushed to disk before the rename, so after a crash `path`
    holds either its old content or the whole new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Short enough for any file system; libraries choose a format by the suffix, so it stays.
    digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()
    temporary = path.with_name(f".{os.getpid()}-{digest[:16]}{path.suffix[:16]}")
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        # The message names the file that was asked for, and some libraries name none.
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(complete: Path, path: Path) -> None:
    """Give a complete file, flushed to disk before, its place on the same file system."""
    with open(complete, "rb") as file:
        os.fsync(file.fileno())
    os.replace(complete, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content, atomically."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_hashes(path: Path, files: Iterable[Path], folder: Path) -> None:
    """Write the SHA-256 of files to `path`, in the format of sha256sum, named as below `folder`."""
    lines = [f"{sha256_file(file)}  {file.relative_to(folder)}\n" for file in files]
    write_bytes(path, "".join(lines).encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # Bytes that are not UTF-8, as in a file name, become an escape that JSON knows too.
    write_bytes(path, (text + "\n").encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is none, or nested too deep.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_map(path: Path, what: str, types: Mapping[str, Any]) -> dict[str, Any]:
    """Read a JSON file that holds a map.

    Args:
        path: the file.
        what: what it should be, in words, for the message.
        types: entries that it must have, and for each its type, or a map of the same kind.

    Raises:
        InputError: it is something else, or does not exist.
    """
    try:
        record = read_json(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (IsADirectoryError, ValueError) as error:
        raise InputError(f"{path} is not a {what}: {error}") from None
    wrong = _wrong_entry(record, types)
    if wrong is not None:
        problem = f"{wrong} is missing or wrong" if wrong else "it is not a map"
        raise InputError(f"{path} is not a {what}: {problem}")
    return record


def _wrong_entry(value: Any, types: Mapping[str, Any]) -> str | None:
    """Return the name of an entry that is missing or of another type, if there is one."""
    if not isinstance(value, dict):
        return ""
    for name, kind in types.items():
        if isinstance(kind, Mapping):
            inner = _wrong_entry(value.get(name), kind)
            if inner is not None:
                return f"{name}.{inner}".rstrip(".")
        elif name not in value or not isinstance(value[name], kind):
            return name
    return None


def write_table(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV with the given columns, atomically; missing cells stay empty.

    Text that is not UTF-8, as in a file name, is escaped.
    """
    with (
        atomic_path(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV file as a list of rows, every cell a string of any length.

    Raises:
        InputError: it is not a table.
    """
    # Names in archives may be longer than csv expects; its limit is one for the whole process.
    usual = csv.field_size_limit(sys.maxsize)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a table: {error}") from None
    finally:
        csv.field_size_limit(usual)
