"""Patches per second of a training step: tensorflow-compression's defaults against ours.

Each contender has a process of its own; they take turns.

    uv run python benchmarks/train_step.py --json
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

from balle2017.model import runtime
from balle2017.training.settings import TrainingSettings
from turns import Worker, take_turns

CONTENDERS = ("tfc_default_float32", "float32", "bfloat16")
WARM_UP = 3


def make_step(contender: str, settings: TrainingSettings) -> Callable[[], object]:
    """Return a function that takes one training step on constant patches."""
    import numpy as np
    import tensorflow as tf

    size = settings.patch_size
    shape = (settings.batch_size, size, size, 3)
    patches = tf.constant(np.random.default_rng(1).integers(0, 256, shape, np.uint8))
    if contender == "tfc_default_float32":
        from tfc_default import TfcTrainer

        baseline = TfcTrainer(settings.num_filters, settings.lambda_rd)
        return lambda: float(baseline.train_step(patches))
    from balle2017.training.trainer import Trainer

    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[contender]
    trainer = Trainer(settings, policy)
    return lambda: trainer.train_step(tf.constant(trainer.step, tf.int64), patches)


def work(contender: str, settings: TrainingSettings, steps: int) -> None:
    """Take `steps` steps whenever asked, and answer with their mean time."""
    if contender == "tfc_default_float32":
        # As people run it: without the price of determinism.
        runtime.set_threads(settings.threads)
    else:
        runtime.configure(settings.threads, "cpu", settings.seed)
    step = make_step(contender, settings)
    for _ in range(WARM_UP):
        step()

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    take_turns(measure)


def command(contender: str, size: int, args: argparse.Namespace) -> list[object]:
    """Return what starts a contender's process."""
    options = ["--num_filters", args.num_filters, "--batch_size", args.batch_size]
    options += ["--threads", args.threads, "--steps", args.steps]
    return [sys.executable, __file__, "--worker", contender, "--size", size, *options]


def measure(size: int, args: argparse.Namespace) -> dict[str, float]:
    """Return patches per second for each contender, medians over the rounds."""
    workers = {contender: Worker(command(contender, size, args)) for contender in CONTENDERS}
    times: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    for _ in range(args.rounds):
        for contender, worker in workers.items():
            times[contender].append(float(worker.measure()))
    for worker in workers.values():
        worker.stop()
    base = times[CONTENDERS[0]]
    rates = {}
    for contender, values in times.items():
        rates[contender] = args.batch_size / statistics.median(values)
        # Each round's own ratio: the machine's mood changes from round to round.
        ratio = statistics.median(b / v for b, v in zip(base, values, strict=True))
        patches = f"{args.batch_size} of {size}x{size}"
        print(f"{patches:14}{contender:22}{rates[contender]:12.1f}{ratio:8.2f}", flush=True)
    return rates


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--num_filters", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="steps a round")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        settings = TrainingSettings(
            patch_size=args.size,
            batch_size=args.batch_size,
            num_filters=args.num_filters,
            threads=args.threads,
            clip_norm=1.0,
            average_decay=0.998,
        )
        work(args.worker, settings, args.steps)
        return
    kind = runtime.bfloat16_instructions() or "no instructions"
    print(f"{runtime.cpu_model()[0]}, {kind} for bfloat16,")
    print(f"{args.threads} threads, {args.num_filters} filters,")
    print(f"medians of {args.rounds} rounds of {args.steps} steps")
    print(f"{'patches':14}{'':22}{'patches/s':>12}{'ratio':>8}")
    rates = {size: measure(size, args) for size in (256, 128)}
    if args.json:
        print(json.dumps(rates[256]))


if __name__ == "__main__":
    main()
