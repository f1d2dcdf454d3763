"""What a budget of training time buys: the models of one run after some of its epochs.

The run must have exported them (`training.export_epochs`). Each is evaluated with real
files; its point is held to JPEG, as the same experiment measured it, and to the published
factorized prior.

    uv run python benchmarks/rd_over_time.py --results results/reference \
        --model 0.0250-f128-s1 --images kodak --work DIR --out TABLE.csv
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from balle2017.files import read_json, read_table
from balle2017.model.find import find_model, read_config
from balle2017.results.aggregation import collect, read_rd
from balle2017.results.published import rate_over, read_published
from balle2017.results.tables import choose_testset, write_frame

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = ROOT / "workflow" / "resources" / "published_kodak.csv"


def evaluate(model: Path, images: Path, testset: str, out: Path) -> pd.Series:
    """Return the point of a model's curve; evaluated once for each model and test set."""
    summary = out / "summary.json"
    wanted = read_config(find_model(model))["model_sha256"], testset
    found = read_json(summary)[0] if summary.is_file() else {}
    if (found.get("model_sha256"), found.get("testset")) != wanted:
        command = [sys.executable, str(ROOT / "scripts" / "evaluate.py")]
        command += ["--model", str(model), "--images", str(images), "--testset", testset]
        command += ["--out", str(out)]
        subprocess.run(command, check=True)
    return collect([out]).iloc[0]


def main() -> None:
    """Evaluate and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--results", type=Path, required=True, help="results/EXPERIMENT")
    parser.add_argument("--model", required=True, help="name of the model")
    parser.add_argument("--images", type=Path, required=True, help="folder of the test images")
    parser.add_argument("--work", type=Path, required=True, help="folder for evaluations")
    parser.add_argument("--out", type=Path, required=True, help="the table")
    args = parser.parse_args()
    folder = args.results / "models" / args.model
    history = {int(row["epoch"]): row for row in read_table(folder / "history.csv")}
    models = {int(path.name.split("-")[1]): path for path in folder.glob("snapshots/epoch-*")}
    if not models:
        parser.error(f"{folder} has no snapshots; set training.export_epochs")
    # The model itself is that of the best epoch.
    models[read_json(folder / "run.json")["best"]["epoch"]] = folder
    if not args.images.is_dir():
        parser.error(f"{args.images} is not a folder")
    rd = choose_testset(read_rd(args.results / "rd.csv"), None)
    testset = rd["testset"].iloc[0]
    jpeg = rd[rd["codec"] == "jpeg"].sort_values("bpp")
    published = read_published(PUBLISHED)
    prior = published[published["curve"] == "factorized_prior"]
    rows = []
    for epoch, model in sorted(models.items()):
        point = evaluate(model, args.images, testset, args.work / f"epoch-{epoch}")
        # Nothing is compared outside of the other curve.
        outside = {"left": np.nan, "right": np.nan}
        rows.append(
            {
                "minutes": round(float(history[epoch]["seconds"]) / 60, 1),
                "steps": int(history[epoch]["step"]),
                "val_loss": float(history[epoch]["val_loss"]),
                "bpp": point["bpp"],
                "psnr_rgb": point["psnr_rgb"],
                "jpeg_psnr_rgb": np.interp(
                    np.log(point["bpp"]), np.log(jpeg["bpp"]), jpeg["psnr_rgb"], **outside
                ),
                "rate_over_published_percent": rate_over(prior, point["bpp"], point["psnr_rgb"]),
            }
        )
    table = pd.DataFrame(rows)
    write_frame(args.out, table)
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
