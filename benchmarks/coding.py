"""Seconds to encode and to decode a picture: ours, CompressAI's model, and Pillow's codecs.

Ours three times: with the static prior, as balle2017, with the adaptive coder, and with that and
refined latents.

Models are loaded and warm, pictures are in memory. Each contender has a process of
its own; they take turns. CompressAI is installed from PyPI into an environment that is
thrown away (some gigabytes).

    uv run python benchmarks/coding.py --model DIR --images DIR
"""

import argparse
import functools
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from turns import Worker, take_turns

#: Qualities of Pillow's codecs, 0.7 to 0.9 bits per pixel on Kodak.
PILLOW = {"jpeg": 40, "jpeg2000": 0.7, "webp": 55, "avif": 60}
OURS, COMPRESSAI = "balle2017", "compressai"
#: What `Codec.compress` is told.
CODERS = {
    OURS: {"adaptive": False},
    "adaptive": {"adaptive": True},
    "refined": {"adaptive": True, "refine": True},
}
COMPRESSAI_ENVIRONMENT = (
    *("uv", "run", "--no-project", "--isolated", "--python", "3.11"),
    *("--with", "compressai==1.2.6", "--with", "torch==2.2.2"),
    *("--with", "numpy<2", "--with", "pillow"),
)


def work(args: argparse.Namespace) -> None:
    """Code all pictures whenever asked."""
    from balle2017.data.images import list_images, read_image

    pictures = [read_image(path) for path in list_images(args.images)]
    if args.worker in CODERS:
        from balle2017.coding.codec import Codec
        from balle2017.model import runtime

        runtime.configure(1, "cpu", operations=args.threads)
        codec = Codec(args.model, args.threads)
        encode = functools.partial(codec.compress, **CODERS[args.worker])
        decode = codec.decompress
    else:
        from balle2017.results.conventional import CODECS

        pillow, quality = CODECS[args.worker], PILLOW[args.worker]
        encode, decode = lambda pixels: pillow.encode(pixels, quality), pillow.decode

    def code(picture: np.ndarray) -> tuple[float, float, float]:
        start = time.perf_counter()
        data = encode(picture)
        encoded = time.perf_counter()
        decode(data)
        done = time.perf_counter()
        return encoded - start, done - encoded, 8 * len(data) / picture[:, :, 0].size

    def measure() -> str:
        return json.dumps(np.mean([code(picture) for picture in pictures], axis=0).tolist())

    code(pictures[0])
    take_turns(measure)


def command(contender: str, args: argparse.Namespace) -> list[object]:
    """Return what starts a contender's process."""
    shared = ["--images", args.images, "--threads", args.threads]
    if contender == COMPRESSAI:
        script = Path(__file__).with_name("compressai_codec.py")
        return [*COMPRESSAI_ENVIRONMENT, "python", script, *shared]
    return [sys.executable, __file__, "--worker", contender, "--model", args.model, *shared]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="a trained model")
    parser.add_argument("--images", type=Path, required=True, help="folder of PNG pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args)
        return
    workers = {name: Worker(command(name, args)) for name in (*CODERS, COMPRESSAI, *PILLOW)}
    rounds = [
        {name: json.loads(worker.measure()) for name, worker in workers.items()}
        for _ in range(args.rounds)
    ]
    for worker in workers.values():
        worker.stop()
    print(f"{args.threads} threads, medians of {args.rounds} rounds; times relative to {OURS}")
    print(f"{'':12}{'encode s':>10}{'ratio':>8}{'decode s':>10}{'ratio':>8}{'bpp':>8}")
    for name in workers:
        cells = []
        for column in (0, 1):
            seconds = statistics.median(turn[name][column] for turn in rounds)
            ratio = statistics.median(turn[name][column] / turn[OURS][column] for turn in rounds)
            cells.append(f"{seconds:10.4f}{ratio:8.2f}")
        print(f"{name:12}{''.join(cells)}{rounds[0][name][2]:8.3f}")
    print(f"{COMPRESSAI}: bmshj2018-factorized, 128 filters, untrained weights")


if __name__ == "__main__":
    main()
