"""Time extraction beside unpacking with tar and beside decoding alone.

All variants run in turn, in processes of their own, on one core and on two;
the ratios are medians over rounds of times taken in the same round.

    uv run python benchmarks/extract.py YOUR.tar
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "extract.py"


def decode_only(archive: Path) -> None:
    """Decode every picture of a tar of tars once, and keep nothing."""
    with tarfile.open(archive) as outer:
        for member in outer:
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for picture in inner:
                    data = inner.extractfile(picture).read()
                    np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar of tars with the tar command."""
    subprocess.run(["tar", "xf", archive, "-C", folder], check=True)
    for inner in folder.glob("*.tar"):
        subprocess.run(["tar", "xf", inner, "-C", folder], check=True)


def variants(archive: Path, scratch: Path) -> dict[str, tuple[int, list[str]]]:
    """Return for each variant its number of cores and its command."""
    this = [sys.executable, str(Path(__file__).resolve()), str(archive)]
    extract = [sys.executable, str(SCRIPT), str(archive), "--out", str(scratch), "--threads"]
    return {
        "tar xf": (1, [*this, "--unpack_to", str(scratch)]),
        "decode only": (1, [*this, "--decode_only"]),
        "extract, 1 core": (1, [*extract, "1"]),
        "extract, 2 cores": (2, [*extract, "2"]),
    }


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("archive", type=Path, help="tar of tars of pictures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--decode_only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--unpack_to", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.decode_only:
        return decode_only(args.archive)
    if args.unpack_to:
        return unpack(args.archive, args.unpack_to)
    cores = sorted(os.sched_getaffinity(0))
    times: dict[str, list[float]] = {}
    for number in range(args.rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            for name, (count, command) in variants(args.archive, Path(folder) / "out").items():
                (Path(folder) / "out").mkdir()
                start = time.perf_counter()
                subprocess.run(
                    ["taskset", "-c", ",".join(map(str, cores[:count])), *command],
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                if number:  # the first round fills the caches
                    times.setdefault(name, []).append(time.perf_counter() - start)
                shutil.rmtree(Path(folder) / "out")
    ratios = {}
    print(f"{'':18}{'seconds':>9}{'to decode only':>16}   medians of {args.rounds} rounds")
    for name, values in times.items():
        pairs = zip(values, times["decode only"], strict=True)
        ratios[name] = statistics.median(value / base for value, base in pairs)
        print(f"{name:18}{statistics.median(values):9.2f}{ratios[name]:16.2f}")
    if args.json:
        print(json.dumps(ratios))
    return None


if __name__ == "__main__":
    main()
