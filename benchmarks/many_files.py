"""Memory and pace of one process over many small pictures: compress.py and evaluate.py.

Pictures of as many sizes as there are pictures are made for it, and removed in the end.
While a script works, its finished files are counted, and its memory and processor time read.

    uv run python benchmarks/many_files.py --model pretrained/0.0130
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


def make_pictures(folder: Path, count: int, largest: int) -> None:
    """Write smooth random pictures with sides of 16 to `largest` pixels."""
    rng = np.random.default_rng(0)
    for index in range(count):
        width, height = rng.integers(16, largest + 1, 2).tolist()
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:06}.png")


def watch(command: list[object], out: Path, count: int, every: int) -> None:
    """Run a command that writes .b17 files of `count` names; print a line each `every` names.

    Processor time is that of one of them, in the first line with the start.
    """
    log = out.parent / f"{out.name}.log"
    with open(log, "w") as file:
        process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=file)
    watched = psutil.Process(process.pid)
    done = spent = 0.0
    while process.poll() is None:
        time.sleep(0.1)
        found = len({path.name for path in out.rglob("*.b17")})
        if found - done < every and found < count:
            continue
        with contextlib.suppress(psutil.Error):  # it may have ended
            times = watched.cpu_times()
            seconds, memory = times.user + times.system, watched.memory_info().rss
            pace = 1000 * (seconds - spent) / (found - done)
            print(f"{found:8}{pace:10.0f}{memory / 1e6:10.0f}", flush=True)
            done, spent = found, seconds
        if found == count:
            break
    process.wait()
    if process.returncode:
        sys.exit(log.read_text())


def main() -> None:
    """Make the pictures, run both scripts, print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a trained model")
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--largest", type=int, default=256, help="longest side in pixels")
    parser.add_argument("--every", type=int, default=100, help="pictures to a line")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = folder / "pictures"
        pictures.mkdir()
        make_pictures(pictures, args.count, args.largest)
        shared = ["--model", args.model, "--threads", args.threads]
        for script, inputs in (("compress", [pictures]), ("evaluate", ["--images", pictures])):
            out = folder / script
            out.mkdir()
            print(f"{script}.py\n{'files':>8}{'CPU ms':>10}{'MB':>10}")
            command = [sys.executable, SCRIPTS / f"{script}.py", *inputs, "--out", out, *shared]
            watch(command, out, args.count, args.every)


if __name__ == "__main__":
    main()
