"""One process at a time in a folder."""

from pathlib import Path

import filelock

from balle2017.errors import InputError


def claimed(folder: Path) -> filelock.AcquireReturnProxy:
    """Hold a folder until the `with` block that takes this ends.

    The process that holds it may claim it again. However it ends, the system gives
    the lock back.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "lock", is_singleton=True)
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"another process is training in {folder}") from None
