"""Small pictures, and scripts run as a user runs them."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from balle2017.files import read_table
from PIL import Image
from processes import PATIENCE_S, ROOT, Script

__all__ = ["PATIENCE_S", "ROOT"]


def make_picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a smooth random colour picture, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


#: What `pip install` makes of the package's commands.
PROGRAM = Path(sys.executable).with_name("balle2017")


def run_script(name: str | Path, *arguments: object) -> subprocess.CompletedProcess:
    """Run scripts/NAME.py, or another program, in a process of its own, see `processes`."""
    script = Script(name, *arguments)
    status = script.wait()
    return subprocess.CompletedProcess(script.args, status, script.stdout, script.stderr)


def forked(work: Callable[[], object]) -> object:
    """Return what `work` returns or raises in a fork of this process."""
    context = multiprocessing.get_context("fork")
    answer, end = context.Pipe(duplex=False)

    def run() -> None:
        try:
            end.send(work())
        except Exception as error:
            end.send(error)

    process = context.Process(target=run)
    process.start()
    try:
        assert answer.poll(PATIENCE_S), "the fork hangs"
        return answer.recv()
    finally:
        process.kill()
        process.join()


def pretend_gpus(folder: Path, names: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this a machine with GPUs, and their locks in `folder`; return what lists them."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n" + "".join(f"echo {name}\n" for name in names))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return program


def timeless(history: Path) -> list[dict[str, str]]:
    """Return a history.csv without its times."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read_table(history)]


def last_step(checkpoints: Path) -> int:
    """Return the step of the newest checkpoint in a folder, 0 if there is none."""
    steps = [int(path.stem.split("-")[1]) for path in checkpoints.glob("checkpoint-*.safetensors")]
    return max(steps, default=0)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen | Script) -> bool:
    """Wait until the condition holds or the process has ended; return whether it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the run hangs"
        if process.poll() is not None:
            return condition()
        time.sleep(0.002)
    return True
