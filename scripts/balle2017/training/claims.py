"""What only one process may use at a time: the folder it trains in, and its GPU.

Snakemake counts GPUs but does not assign them. Here a process takes the first free one, with
a lock that the system releases when the process ends, however it ends. Where SLURM has
assigned one GPU to a job, nothing is done.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from balle2017.errors import InputError
from balle2017.files import file_name

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_POLL_SECONDS = 1


def _installed() -> list[str]:
    """Return the unique names of this machine's GPUs; none without NVIDIA's driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.split() if done.returncode == 0 else []


def find_gpus() -> dict[str, str]:
    """Return the GPUs that this process may use: CUDA's word for each, and its unique name.

    CUDA_VISIBLE_DEVICES chooses among them, by number or by name. As in CUDA, everything
    after an unknown name is ignored.
    """
    installed = _installed()
    wanted = os.environ.get(_VISIBLE)
    if wanted is None:
        return {name: name for name in installed}
    found = {}
    for word in wanted.split(","):
        word = word.strip()
        if word.isdigit() and int(word) < len(installed):
            found[word] = installed[int(word)]
        elif word.startswith(("GPU-", "MIG-")):
            # The start of a name is enough for CUDA. Parts of a GPU (MIG) are not listed.
            parts = [word] if word.startswith("MIG-") else []
            names = [name for name in installed if name.startswith(word)] or parts
            if not names:
                break
            found[word] = names[0]
        else:
            break
    return found


def _lock(name: str) -> FileLock:
    folder = Path(tempfile.gettempdir()) / f"balle2017-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{file_name(name)}.lock")


@contextmanager
def claimed_gpu(device: str, log: Callable[[str], None]) -> Iterator[None]:
    """Hold a GPU that no other process of this user trains on; wait until there is one.

    Sets CUDA_VISIBLE_DEVICES, so it comes before TensorFlow looks for devices. Does
    nothing on the CPU, without GPUs, and in a SLURM job that has one.

    Args:
        device: the setting: "auto", "cpu" or "gpu".
        log: takes a line about the GPU taken, or about the wait.
    """
    gpus = {} if device == "cpu" else find_gpus()
    if not gpus or ("SLURM_JOB_ID" in os.environ and len(gpus) == 1):
        yield
        return
    before = os.environ.get(_VISIBLE)
    word, lock = _take(gpus, log)
    log(f"took GPU {word} of {', '.join(gpus)}")
    os.environ[_VISIBLE] = word
    try:
        yield
    finally:
        lock.release()
        if before is None:
            del os.environ[_VISIBLE]
        else:
            os.environ[_VISIBLE] = before


def _take(gpus: dict[str, str], log: Callable[[str], None]) -> tuple[str, FileLock]:
    """Return the first free GPU, as CUDA calls it, and the lock that holds it."""
    waiting = False
    while True:
        for word, name in gpus.items():
            lock = _lock(name)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            return word, lock
        if not waiting:
            log(f"all GPUs are taken ({', '.join(gpus)}); waiting for one")
            waiting = True
        time.sleep(_POLL_SECONDS)


def claimed_folder(folder: Path) -> AcquireReturnProxy:
    """Hold a folder until the `with` block that takes this ends.

    The process that holds it may claim it again. The system releases the lock when the
    process ends, however it ends.

    Raises:
        InputError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", is_singleton=True)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"another process is training in {folder}") from None
