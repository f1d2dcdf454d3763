"""How soon training beats JPEG, and how it goes on: ours, or tensorflow-compression's defaults.

Trains at one lambda by the recipe of experiments/reference.yaml. The clock runs
while it trains; at certain minutes it stops, and the model is measured on held-out
crops of the archive and, with real bitstreams, on Kodak. Run again to go on after
an interruption; tensorflow-compression's defaults, which have as many latents as filters,
start anew.

    uv run python benchmarks/time_to_jpeg.py --archive TAR --kodak DIR --work DIR
    uv run python benchmarks/time_to_jpeg.py ... --contender tfc_default --minutes 20
"""

import argparse
import csv
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.images import list_images, read_image
from balle2017.data.split import split_images
from balle2017.data.store import DEFAULT_VAL_SPLIT, ImageStore
from balle2017.decibel import psnr_db
from balle2017.files import write_table
from balle2017.model import runtime
from balle2017.names import value_for
from balle2017.results.conventional import CODECS
from balle2017.results.metrics import psnr
from balle2017.training.input import PatchSampler, validation_patches
from balle2017.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parent.parent
MARKS = (0.25, 0.5, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40, 50, 60)
HELD_OUT_SIZE = 256
JPEG_QUALITIES = (*range(4, 96, 4), 95)
#: Settings that may be maps from lambda to value.
MAPS = (("model", "num_filters"), ("model", "num_latents"), ("training", "epochs"))


def recipe(lambda_rd: float) -> TrainingSettings:
    """Return the settings of experiments/reference.yaml for one lambda, as one epoch."""
    merged: dict[str, Any] = {}
    for path in (ROOT / "config.yaml", ROOT / "experiments" / "reference.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key in ("model", "training"):
            merged |= content.get(key, {})
    names = TrainingSettings.__dataclass_fields__
    settings = {key: value for key, value in merged.items() if key in names}
    for section, key in MAPS:
        settings[key] = value_for(settings[key], lambda_rd, f"{section}.{key}")
    steps = settings["epochs"] * settings["steps_per_epoch"]
    settings |= {"lambda_rd": lambda_rd, "epochs": 1, "steps_per_epoch": steps}
    return TrainingSettings(**settings)


def prepare(archive: Path, work: Path, size: int) -> tuple[Path, Path]:
    """Extract and split the archive once; return the two lists."""
    folder = work / f"{archive.stem}-{size}"
    lists = folder / "train.csv", folder / "val.csv"
    if not lists[1].is_file():
        extract_archives([archive], folder / "dataset", ExtractSettings(min_size=size))
        split_images(folder / "dataset" / "manifest.csv", folder, DEFAULT_VAL_SPLIT, 1)
    return lists


def jpeg_curve(pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean bpp and mean PSNR of JPEG at rising quality."""
    codec = CODECS["jpeg"]
    points = []
    for quality in JPEG_QUALITIES:
        files = [codec.encode(picture, quality) for picture in pictures]
        bpp = [8 * len(f) / (p.shape[0] * p.shape[1]) for f, p in zip(files, pictures, strict=True)]
        quality_db = [psnr(p, codec.decode(f)) for f, p in zip(files, pictures, strict=True)]
        points.append((np.mean(bpp), np.mean(quality_db)))
    bpp, decibel = np.transpose(points)
    return bpp, decibel


class Ours:
    """The pipeline's own training."""

    def __init__(self, settings: TrainingSettings, work: Path):
        """Go on from the state in `work`, if there is one."""
        device = runtime.configure(settings.threads, "cpu", settings.seed)
        policy = runtime.resolve_policy(settings.precision_policy, device)

        from balle2017.model.tensors import load_tensors
        from balle2017.training.trainer import Trainer

        self._trainer = Trainer(settings, policy)
        self._state, self._model = work / "state.safetensors", work / "model"
        if self._state.is_file():
            arrays, description, _ = load_tensors(self._state)
            if description["fingerprint"] != dataclasses.asdict(settings):
                raise SystemExit(f"{self._state} belongs to another recipe; give another --work")
            self._trainer.restore(self._state, arrays, description)
        self.step, self.seconds = self._trainer.step, self._trainer.seconds

    def train_step(self, patches: np.ndarray) -> None:
        """Take one step."""
        import tensorflow as tf

        self._trainer.train_step(tf.constant(self.step, tf.int64), tf.constant(patches))
        self.step += 1

    def save(self) -> None:
        """Write the state."""
        self._trainer.seconds = self.seconds
        self._trainer.save(self._state, dataclasses.asdict(self._trainer.settings))

    def measure(self, patches: np.ndarray) -> dict[str, float]:
        """Return the loss on patches, and what the normalizations do."""
        validation = self._trainer.validate(patches)
        result = validation.result
        return {
            "loss": result.loss,
            "bpp": result.bpp,
            "psnr": psnr_db(result.mse),
            "igdn_0": validation.gdn_shares["igdn_0"],
            "igdn_1": validation.gdn_shares["igdn_1"],
        }

    def code(self, pictures: Sequence[np.ndarray]) -> list[tuple[float, float]]:
        """Return bpp from real files and PSNR of each picture."""
        from balle2017.coding.codec import Codec
        from balle2017.model.files import save_model

        settings = self._trainer.settings
        network = self._trainer.current_network()
        save_model(self._model, network, settings.lambda_rd, settings.seed)
        codec = Codec(self._model)
        points = []
        for picture in pictures:
            data = codec.compress(picture)
            height, width, _ = picture.shape
            points.append((8 * len(data) / (height * width), psnr(picture, codec.decompress(data))))
        return points


class TfcContender:
    """Layers with their default options and Adam 1e-4."""

    def __init__(self, settings: TrainingSettings, work: Path):
        """Start anew; `work` is not used."""
        runtime.set_threads(settings.threads)
        import tensorflow as tf
        from tfc_default import TfcTrainer

        tf.keras.utils.set_random_seed(settings.seed)
        self._lambda_rd = settings.lambda_rd
        self._trainer = TfcTrainer(settings.num_filters, settings.lambda_rd)
        self.step, self.seconds = 0, 0.0

    def train_step(self, patches: np.ndarray) -> None:
        """Take one step."""
        float(self._trainer.train_step(patches))
        self.step += 1

    def save(self) -> None:
        """Keep nothing."""

    def measure(self, patches: np.ndarray) -> dict[str, float]:
        """Return the loss on patches."""
        codec = self._trainer.network.codec()
        results = [codec(patch[None]) for patch in patches]
        bpp = float(np.mean([bits / patches[0, :, :, 0].size for bits, _ in results]))
        mse = float(
            np.mean(
                [
                    np.mean((patch.astype(np.float64) - reconstruction) ** 2)
                    for patch, (_, reconstruction) in zip(patches, results, strict=True)
                ]
            )
        )
        return {"loss": bpp + self._lambda_rd * mse, "bpp": bpp, "psnr": psnr_db(mse)}

    def code(self, pictures: Sequence[np.ndarray]) -> list[tuple[float, float]]:
        """Return bpp of the coded latents and PSNR of each picture."""
        codec = self._trainer.network.codec()
        points = []
        for picture in pictures:
            bits, reconstruction = codec(picture[None])
            points.append((bits / picture[:, :, 0].size, psnr(picture, reconstruction[0])))
        return points


def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train and measure; return one row for each mark."""
    settings = recipe(args.lambda_rd)
    lists = prepare(args.archive, args.work, HELD_OUT_SIZE)
    sampler = PatchSampler(
        ImageStore(lists[0]), settings.patch_size, settings.batch_size, 1, settings.seed, True
    )
    held_out = validation_patches(ImageStore(lists[1]), HELD_OUT_SIZE)
    pictures = [read_image(path) for path in list_images(args.kodak)]
    jpeg_bpp, jpeg_psnr = jpeg_curve(pictures)
    folder = args.work / args.contender
    folder.mkdir(parents=True, exist_ok=True)
    contender = {"ours": Ours, "tfc_default": TfcContender}[args.contender](settings, folder)
    table = folder / "table.json"
    rows = json.loads(table.read_text()) if contender.step else []
    print(f"{args.contender}: from step {contender.step} of {settings.total_steps}", flush=True)
    for mark in (mark for mark in MARKS if 60 * mark > contender.seconds):
        if mark > args.minutes:
            break
        while contender.seconds < 60 * mark and contender.step < settings.total_steps:
            start = time.perf_counter()
            contender.train_step(sampler.batch(contender.step))
            contender.seconds += time.perf_counter() - start
        row = {"minute": round(contender.seconds / 60, 2), "steps": contender.step}
        row |= contender.measure(held_out)
        bpp, decibel = np.mean(contender.code(pictures), axis=0)
        row |= {"kodak_bpp": bpp, "kodak_psnr": decibel}
        # Not a number outside of the curve of JPEG.
        at, outside = np.log(bpp), {"left": np.nan, "right": np.nan}
        row["jpeg_psnr"] = float(np.interp(at, np.log(jpeg_bpp), jpeg_psnr, **outside))
        rows.append(row)
        contender.save()
        table.write_text(json.dumps(rows))
        print("  ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if contender.step >= settings.total_steps:
            break
    if rows:
        write_table(folder / "table.csv", list(rows[0]), rows)
    return rows


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--archive", type=Path, required=True, help="training images")
    parser.add_argument("--kodak", type=Path, required=True, help="folder of the Kodak images")
    parser.add_argument("--work", type=Path, required=True, help="folder for data and states")
    parser.add_argument("--contender", choices=("ours", "tfc_default"), default="ours")
    parser.add_argument("--minutes", type=float, default=60, help="of training")
    parser.add_argument("--lambda_rd", type=float, default=0.025)
    args = parser.parse_args()
    rows = run(args)
    if not rows:
        sys.exit("no mark was reached; give more --minutes")
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow(f"{value:.4g}" for value in row.values())
    above = [row for row in rows if row["kodak_psnr"] > row["jpeg_psnr"]]
    when = f"after {above[0]['minute']:.1f} minutes" if above else "not in this time"
    print(f"above JPEG on Kodak: {when}")


if __name__ == "__main__":
    main()
