"""What bfloat16 costs: one model trained in each precision, both evaluated in float32.

Trains by the recipe of experiments/reference.yaml with scripts/train.py and codes
the Kodak images with scripts/evaluate.py. An interrupted run goes on.

    uv run python benchmarks/precision.py --archive TAR --kodak DIR --work DIR
"""

import argparse
import dataclasses
import json
import math
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from balle2017.pipeline.experiment import flags
from balle2017.training.settings import TrainingSettings
from time_to_jpeg import ROOT, prepare, recipe

POLICIES = ("float32", "mixed_bfloat16")


def run_script(name: str, **options: object) -> None:
    """Run scripts/NAME.py with options, see `flags`."""
    script = ROOT / "scripts" / f"{name}.py"
    subprocess.run([sys.executable, script, *shlex.split(flags(options))], check=True)


def train_and_code(settings: TrainingSettings, args: argparse.Namespace) -> dict[str, Any]:
    """Return the Kodak point of a model."""
    train_list, val_list = prepare(args.archive, args.work, settings.patch_size)
    out = args.work / settings.precision_policy
    run_script(
        "train",
        train_list=train_list,
        val_list=val_list,
        save_dir=out,
        **dataclasses.asdict(settings),
    )
    run_script("evaluate", model=out / "model", images=args.kodak, out=out / "kodak")
    return json.loads((out / "kodak" / "summary.json").read_text(encoding="utf-8"))[0]


def gap_at_equal_rate(ours: dict[str, Any], other: dict[str, Any], lambda_rd: float) -> float:
    """Return by how many dB `ours` lies above `other` at the rate of `other`.

    Where bpp + lambda * MSE is at its least, a bit per pixel more buys 1 / lambda of
    MSE: the two rates are so close that this slope leads from one to the other.
    """
    mse = 255**2 / 10 ** (other["psnr_rgb"] / 10)
    decibels_per_bit = 10 / math.log(10) / (lambda_rd * mse)
    bits = ours["bpp"] - other["bpp"]
    return ours["psnr_rgb"] - other["psnr_rgb"] - decibels_per_bit * bits


def main() -> None:
    """Train, code, and print the difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--archive", type=Path, required=True, help="training images")
    parser.add_argument("--kodak", type=Path, required=True, help="folder of the Kodak images")
    parser.add_argument("--work", type=Path, required=True, help="folder for data and models")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--patch_size", type=int, default=128)
    parser.add_argument("--batch_size", type=int, default=4)
    parser.add_argument("--lambda_rd", type=float, default=0.013)
    args = parser.parse_args()
    settings = dataclasses.replace(
        recipe(args.lambda_rd),
        epochs=10,
        steps_per_epoch=args.steps // 10,
        patch_size=args.patch_size,
        batch_size=args.batch_size,
    )
    points = {}
    for policy in POLICIES:
        points[policy] = train_and_code(
            dataclasses.replace(settings, precision_policy=policy), args
        )
    for policy, point in points.items():
        print(f"{policy:16}{point['bpp']:.4f} bpp {point['psnr_rgb']:.3f} dB")
    gap = gap_at_equal_rate(points["mixed_bfloat16"], points["float32"], args.lambda_rd)
    print(f"mixed_bfloat16 at the rate of float32: {gap:+.3f} dB")


if __name__ == "__main__":
    main()
