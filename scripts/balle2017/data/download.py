"""Download a file with a known hash, and resume an earlier attempt."""

import contextlib
import fcntl
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from balle2017.errors import WorkError
from balle2017.files import put_in_place, sha256_file

_TIMEOUT_SECONDS = 60


def download(url: str, target: Path, sha256: str, hint: str = "") -> None:
    """Download `url` to `target`, unless the file is there already.

    The bytes received so far are kept in `target`.part, and the next attempt asks only for
    the rest. The hash is checked before the file is put in place.

    Args:
        url: http, https or file address.
        target: the file to write.
        sha256: its expected hash, 64 hex digits.
        hint: end of the message if the download fails.

    Raises:
        WorkError: the download failed, or the file has another hash.
    """
    target = Path(target)
    if target.is_file() and sha256_file(target) == sha256.lower():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with _locked(part):
        try:
            # Another process may have downloaded it in the meantime.
            if not (target.is_file() and sha256_file(target) == sha256.lower()):
                _download(url, part, target, sha256, hint)
        finally:
            if part.is_file() and not part.stat().st_size:
                part.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a file for this call alone, and make it if it is not there."""
    while True:
        with open(path, "ab") as file:
            with contextlib.suppress(OSError):  # as on a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = path.stat()
            except FileNotFoundError:
                continue
            # Whoever held it before may have moved it. Then the next one asks for another lock.
            if os.path.samestat(os.fstat(file.fileno()), current):
                yield
                return


def _download(url: str, part: Path, target: Path, sha256: str, hint: str) -> None:
    """Complete `part`, check it, and put it in the place of `target`."""
    try:
        _fetch(url, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        raise WorkError(f"{url} cannot be downloaded ({reason}){hint}") from None
    actual = sha256_file(part)
    if actual != sha256.lower():
        part.unlink()
        raise WorkError(f"{url} has SHA-256 {actual}, not {sha256}; check the address and the hash")
    put_in_place(part, target)


def _fetch(url: str, part: Path) -> None:
    """Append what is missing to `part`; begin anew where the server cannot continue."""
    there = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        raise
    with response:
        continues = response.status == http.HTTPStatus.PARTIAL_CONTENT
        with open(part, "ab" if continues else "wb") as file:
            shutil.copyfileobj(response, file, 1 << 20)
        expected = response.headers.get("Content-Length")
        received = part.stat().st_size - (there if continues else 0)
        if expected is not None and received < int(expected):
            raise OSError(f"only {received} of {expected} bytes arrived")
