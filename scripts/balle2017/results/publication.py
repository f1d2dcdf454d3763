"""The publication of a run: models, tables, figures, and a record of how they were made."""

from pathlib import Path
from typing import Any

import pandas as pd

from balle2017.errors import InputError
from balle2017.files import copy_file, read_map, refuse_inputs_in, write_bytes, write_table
from balle2017.names import MODEL_CODEC, lambda_name, model_name, static_sha256
from balle2017.results.aggregation import read_bd, read_rd
from balle2017.results.style import curve_label

MODEL_COLUMNS = [
    "model",
    "lambda_rd",
    "filters",
    "latents",
    "seed",
    "init_from",
    "steps",
    "batch_size",
    "patch_size",
    "minutes",
    "val_loss",
    "device",
    "cpu",
    "precision",
    "threads",
    "model_sha256",
    "init_from_sha256",
    "code_sha256",
    "train_images_sha256",
    "val_images_sha256",
]

_SHEETS = "comparisons"

#: Files and folders of results/EXPERIMENT that are kept.
KEPT = [
    "rd.csv",
    "per_image.csv",
    "bd_rate.csv",
    "bd_rate_per_image.csv",
    "summary.txt",
    "rd_curve.png",
    "rd_curve.svg",
    "rd_per_image.png",
    "training_curves.png",
    _SHEETS,
]
#: Also kept if there are published curves for the test set.
KEPT_PUBLISHED = ["bd_rate_published.csv", "calibration.csv", "published.txt"]


def read_run(path: Path) -> dict[str, Any]:
    """Read the run.json of a finished training.

    Raises:
        InputError: it is something else.
    """
    whole, number = int, (int, float)
    settings = {"lambda_rd": number, "num_filters": whole, "seed": whole, "threads": whole}
    types = {
        "settings": settings | {"num_latents": (int, type(None))},
        "fingerprint": {"init_from": (str, type(None))},
        "best": {"val_loss": number},
        "steps": whole,
        "seconds": number,
    }
    texts = dict.fromkeys(("model_sha256", "device", "cpu", "precision_policy"), str)
    return read_map(path, "record of a training", types | texts)


def _read_config(path: Path) -> dict[str, Any]:
    return read_map(path, "description of a model", {"model_sha256": str})


def model_rows(models: Path) -> list[dict[str, Any]]:
    """Return how each model of a results/EXPERIMENT/models folder was trained, by lambda.

    `minutes` is the time of training, validations included, on `cpu` or `device`;
    `init_from` is the name of the model that training started from, if it is one of these.
    `model_sha256` is that of the model in the folder, which may have been adapted to other images
    since.

    Raises:
        InputError: there is no finished model, or one lacks its config.json.
    """
    records = {path.parent.name: read_run(path) for path in models.glob("*/run.json")}
    if not records:
        raise InputError(f"{models} holds no finished model (no */run.json)")
    names = {record["model_sha256"]: name for name, record in records.items()}
    rows = []
    for name, record in records.items():
        settings, fingerprint = record["settings"], record["fingerprint"]
        start = fingerprint["init_from"]
        row = {
            "model": name,
            "lambda_rd": settings["lambda_rd"],
            "filters": settings["num_filters"],
            "latents": settings["num_latents"] or settings["num_filters"],
            "seed": settings["seed"],
            "init_from": names.get(start, ""),
            "init_from_sha256": start or "",
            "steps": record["steps"],
            "minutes": round(record["seconds"] / 60, 1),
            "val_loss": record["best"]["val_loss"],
            "device": record["device"],
            "cpu": record["cpu"],
            "precision": record["precision_policy"],
            "threads": settings["threads"],
            "model_sha256": _read_config(models / name / "model" / "config.json")["model_sha256"],
        }
        row |= {key: fingerprint.get(key, "") for key in MODEL_COLUMNS if key not in row}
        rows.append(row)
    return sorted(rows, key=lambda row: (row["filters"], row["seed"], row["lambda_rd"]))


def check_family(rows: list[dict[str, Any]], out: Path) -> None:
    """Check that models can be published as `out`/LAMBDA, and will be all that is there.

    Args:
        rows: as `model_rows` returns them.
        out: the folder.

    Raises:
        InputError: two have one lambda, or `out` has a model of another.
    """
    names = [lambda_name(row["lambda_rd"]) for row in rows]
    if len(set(names)) < len(names):
        raise InputError("there are several models of one lambda; publish one family")
    others = sorted({path.parent.name for path in out.glob("*/config.json")} - set(names))
    if others:
        raise InputError(
            f"{out} has models that this run has not: {', '.join(others)}; delete them"
        )


def check_measured(rows: list[dict[str, Any]], results: Path) -> None:
    """Check that the tables of a run are about its models, and about no others.

    Args:
        rows: as `model_rows` returns them.
        results: results/EXPERIMENT.

    Raises:
        InputError: a model was not measured, or was trained again since; or one that was is gone.
    """
    rd = read_rd(results / "rd.csv")
    ours = rd[rd["codec"] == MODEL_CODEC]
    measured = {
        model_name(row["point"], int(row["filters"]), int(row["seed"])): str(row["encoder"])
        for _, row in ours.iterrows()
    }
    names = [row["model"] for row in rows]
    for name in names:
        folder = results / "models" / name
        config = _read_config(folder / "model" / "config.json")
        if name not in measured:
            raise InputError(
                f"{results / 'rd.csv'} does not have the model in {folder}; delete this folder, or "
                "run the workflow with its lambda"
            )
        if measured[name] != f"model {static_sha256(config)[:16]}":
            raise InputError(
                f"{results / 'rd.csv'} was measured before the model in {folder} was trained; run "
                "the workflow to its end first"
            )
    if gone := sorted(measured.keys() - set(names)):
        raise InputError(f"{results / 'models'} lacks {', '.join(gone)}, which rd.csv has")


def publish_models(models: Path, out: Path) -> list[dict[str, Any]]:
    """Copy each model to `out`/LAMBDA; return `model_rows`.

    Raises:
        InputError: no model there, or see `check_family`.
    """
    rows = model_rows(models)
    check_family(rows, out)
    for row in rows:
        name = lambda_name(row["lambda_rd"])
        for file in ("config.json", "model.safetensors"):
            copy_file(models / row["model"] / "model" / file, out / name / file)
    return rows


def reference_table(bd: pd.DataFrame, published: pd.DataFrame) -> str:
    """Return the results in a Markdown table: a row for each curve, the best first.

    Args:
        bd: bd_rate.csv.
        published: bd_rate_published.csv.
    """
    columns = {
        ("jpeg", "psnr_rgb"): "rate against JPEG, at equal PSNR",
        ("jpeg", "ms_ssim_rgb_db"): "rate against JPEG, at equal MS-SSIM",
        (
            "factorized_prior",
            "psnr_rgb",
        ): "rate against the published factorized prior, at equal PSNR",
    }
    both = pd.concat([bd, published])
    deltas = both.pivot_table("bd_rate_percent", "codec", ["anchor", "metric"])
    deltas = deltas.reindex(columns=list(columns))
    for anchor, metric in columns:
        if anchor in deltas.index:
            deltas.loc[anchor, (anchor, metric)] = 0.0
    deltas = deltas.sort_values(("jpeg", "psnr_rgb"))
    lines = ["| codec | " + " | ".join(columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    for name, row in deltas.iterrows():
        cells = ["" if pd.isna(value) else f"{value:+.1f} %" for value in row]
        lines.append(f"| {curve_label(name)} | {' | '.join(cells)} |")
    return "".join(f"{line}\n" for line in lines)


def publish_results(results: Path, out: Path) -> None:
    """Copy tables, figures and comparison sheets of results/EXPERIMENT, and write models.csv.

    Raises:
        InputError: the run is not finished, or its sheets are where those are written.
    """
    refuse_inputs_in([out / _SHEETS], [results / _SHEETS], "--out")
    kept = KEPT + [name for name in KEPT_PUBLISHED if (results / name).exists()]
    missing = [name for name in kept if not (results / name).exists()]
    if missing:
        raise InputError(f"{results} lacks {', '.join(missing)}; run the workflow to its end first")
    rows = model_rows(results / "models")
    check_measured(rows, results)
    copied = set()
    for name in kept:
        source = results / name
        files = sorted(source.glob("[!.]*")) if source.is_dir() else [source]
        for file in files:
            target = out / file.relative_to(results)
            copy_file(file, target)
            copied.add(target)
    write_table(out / "models.csv", MODEL_COLUMNS, rows)
    # Tables of an earlier run, on images with published curves.
    for name in (*KEPT_PUBLISHED, "table.md"):
        if name not in kept:
            (out / name).unlink(missing_ok=True)
    if (results / "bd_rate_published.csv").exists():
        tables = (read_bd(results / name) for name in ("bd_rate.csv", "bd_rate_published.csv"))
        write_bytes(out / "table.md", reference_table(*tables).encode())
    # Sheets of an earlier run, which may show other images.
    for sheet in set((out / _SHEETS).glob("*.png")) - copied:
        sheet.unlink()
