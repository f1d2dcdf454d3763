"""The same results image by image, and where a model does best and worst."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from balle2017.decibel import ms_ssim_db
from balle2017.errors import InputError
from balle2017.files import read_json
from balle2017.results.aggregation import BD_COLUMNS, BD_METRICS, bd_delta, find_summaries
from balle2017.results.curves import IDENTITY, curves, is_model
from balle2017.results.frames import read_frame

_COLUMNS = ["point", "image", "bpp", "psnr_rgb", "ms_ssim_rgb"]
#: What the delta of each image refers to, where the test set was coded with it.
ANCHOR = "jpeg"


def collect_images(folders: list[Path]) -> pd.DataFrame:
    """Return one row for each image and point of all evaluations below some folders.

    Columns: testset, codec, filters, seed, those of per_image.csv, and ms_ssim_rgb_db.

    Raises:
        InputError: see `find_summaries`; or a per_image.csv is missing or no such table.
    """
    parts = []
    for path in find_summaries(folders):
        table = path.with_name("per_image.csv")
        rows = read_frame(table, _COLUMNS, "table of images")
        try:
            points = pd.DataFrame(read_json(path)).reindex(columns=IDENTITY)
            part = points.merge(rows, on="point", validate="one_to_many")
        except ValueError as error:
            raise InputError(
                f"{table} does not belong to the {path.name} beside it: {error}"
            ) from None
        if len(part) < len(rows):
            raise InputError(f"{table} has points that the {path.name} beside it lacks")
        parts.append(part)
    images = pd.concat(parts, ignore_index=True)
    for column in ("filters", "seed"):
        images[column] = images[column].astype("Int64")
    images["ms_ssim_rgb_db"] = images["ms_ssim_rgb"].map(ms_ssim_db).astype(float)
    # An infinite PSNR is no point of a curve.
    images["psnr_rgb"] = images["psnr_rgb"].mask(np.isinf(images["psnr_rgb"]))
    return images.sort_values([*IDENTITY, "image"], ignore_index=True)


def read_images(path: Path) -> pd.DataFrame:
    """Read the per_image.csv of an experiment.

    Raises:
        InputError: it does not exist, or is another table.
    """
    return read_frame(path, [*IDENTITY, *_COLUMNS], "table of images")


def bd_per_image(images: pd.DataFrame) -> pd.DataFrame:
    """Return bd_rate_per_image.csv: every curve against `ANCHOR`, for each image."""
    rows: list[dict[str, Any]] = []
    for (testset, image), frame in images.groupby(["testset", "image"], sort=True):
        by_name = {name: curve for _, name, curve in curves(frame)}
        anchor = by_name.pop(ANCHOR, None)
        if anchor is None:
            continue
        for name, curve in by_name.items():
            for metric in BD_METRICS:
                identity = {"testset": testset, "image": image, "codec": name}
                identity |= {"anchor": ANCHOR, "metric": metric}
                rows.append(identity | bd_delta(curve, anchor, metric))
    return pd.DataFrame(rows, columns=["testset", "image", *BD_COLUMNS[1:]])


def extremes_text(bd: pd.DataFrame) -> str:
    """Return a line for each model that names its best and its worst image."""
    lines = []
    ours = bd[(bd["metric"] == "psnr_rgb") & bd["codec"].map(is_model)]
    for (_, name), frame in ours.dropna(subset=["bd_rate_percent"]).groupby(["testset", "codec"]):
        best, worst = (
            frame.loc[index]
            for index in (frame["bd_rate_percent"].idxmin(), frame["bd_rate_percent"].idxmax())
        )
        lines.append(
            f"  best and worst image of {name} against {ANCHOR}: "
            f"{best['image']} {best['bd_rate_percent']:+.1f} %, "
            f"{worst['image']} {worst['bd_rate_percent']:+.1f} %\n"
        )
    return "".join(lines)
