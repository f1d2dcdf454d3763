"""Patches per second of the training input beside what the training step consumes.

Then the step itself, on the real input and on a constant tensor, in turn.

    uv run python benchmarks/input_pipeline.py --train_list results/quickstart/split/train.csv
"""

import argparse
import atexit
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from balle2017.files import read_table, write_table
from balle2017.model import runtime
from balle2017.training.settings import TrainingSettings


def seconds_per_item(items: Iterator, count: int) -> float:
    """Return the mean time to take one of the next `count` items."""
    start = time.perf_counter()
    for _ in range(count):
        next(items)
    return (time.perf_counter() - start) / count


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--train_list", type=Path, required=True, help="train.csv of a split")
    parser.add_argument("--num_filters", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="training steps a round")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    args = parser.parse_args()
    policy = runtime.resolve_policy("auto", runtime.configure(threads=2, device="cpu", seed=1))

    # TensorFlow must be configured before these are imported and used.
    from balle2017.data import create_train_val_datasets
    from balle2017.training.trainer import Trainer

    # Beside the list, whose paths are relative to its folder.
    big = args.train_list.with_name(".benchmark.csv")
    atexit.register(big.unlink, missing_ok=True)
    rows = [
        row
        for row in read_table(args.train_list)
        if min(int(row["width"]), int(row["height"])) >= 256
    ]
    write_table(big, list(rows[0]), rows)
    results = {}
    print(f"{args.num_filters} filters, {policy}, medians of {args.rounds} rounds")
    print(f"{'patches':16}{'input/s':>10}{'step/s':>10}{'ratio':>8}{'real/constant':>15}")
    for patch, batch in ((64, 16), (128, 8), (256, 8)):
        settings = TrainingSettings(
            patch_size=patch, batch_size=batch, num_filters=args.num_filters, epochs=1000
        )
        dataset, _ = create_train_val_datasets(big, big, settings)
        real = iter(dataset)
        constant = iter([next(real)] * 10**6)
        trainer = Trainer(settings, policy)
        steps = {
            name: (trainer.train_step(*item) for item in source)
            for name, source in (("constant", constant), ("real", real))
        }
        for generator in steps.values():
            seconds_per_item(generator, 3)
        alone = iter(create_train_val_datasets(big, big, settings)[0])
        times: dict[str, list[float]] = {"input": [], "constant": [], "real": []}
        for _ in range(args.rounds):
            times["input"].append(seconds_per_item(alone, 50))
            for name, generator in steps.items():
                times[name].append(seconds_per_item(generator, args.steps))
        ratio = statistics.median(
            step / load for step, load in zip(times["constant"], times["input"], strict=True)
        )
        cost = statistics.median(
            real / step for real, step in zip(times["real"], times["constant"], strict=True)
        )
        rates = {name: batch / statistics.median(values) for name, values in times.items()}
        label = f"{batch} of {patch}x{patch}"
        print(f"{label:16}{rates['input']:10.0f}{rates['constant']:10.0f}{ratio:8.1f}{cost:15.3f}")
        results[label] = {"input_to_step": ratio, "real_to_constant": cost}
    if args.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
