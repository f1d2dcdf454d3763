"""Curves that others published: something to compare with, and to check ourselves by."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from balle2017.decibel import ms_ssim_db
from balle2017.results.aggregation import BD_COLUMNS, BD_METRICS, bd_delta, bd_text
from balle2017.results.tables import curves, is_model, lacking, read_frame

#: What the figure calls them.
LABELS = {
    "factorized_prior": "factorized prior, published",
    "hyperprior": "hyperprior, published",
    "bpg444": "BPG 4:4:4, published",
    "bpg420": "BPG 4:2:0, published",
    "webp_published": "WebP, published",
    "jpeg420": "JPEG 4:2:0, published",
    "jpeg2000_openjpeg": "JPEG 2000 (OpenJPEG), published",
    "jpeg2000_kakadu": "JPEG 2000 (Kakadu), published",
}

#: The published curve of the same codec. Those called plain have its settings too.
COUNTERPARTS = {
    "jpeg_plain": "jpeg420",
    "jpeg2000": "jpeg2000_openjpeg",
    "jpeg2000_plain": "jpeg2000_openjpeg",
}

CALIBRATION_COLUMNS = [
    "testset",
    "codec",
    "published",
    "metric",
    "points",
    "bpp_low",
    "bpp_high",
    "mean_difference_db",
    "largest_difference_db",
]


def read_published(path: Path) -> pd.DataFrame:
    """Return the table: curve, bpp, psnr_rgb, ms_ssim_rgb, ms_ssim_rgb_db.

    Raises:
        InputError: there is no such table.
    """
    columns = ["curve", "bpp", "psnr_rgb", "ms_ssim_rgb"]
    table = read_frame(path, columns, "table of published curves", comment="#")[columns]
    return table.assign(ms_ssim_rgb_db=table["ms_ssim_rgb"].map(ms_ssim_db))


def read_calibration(path: Path) -> pd.DataFrame:
    """Read calibration.csv.

    Raises:
        InputError: it does not exist, or is another table.
    """
    return read_frame(path, CALIBRATION_COLUMNS, "table of calibrations")


def calibrate(rd: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare our measurements of `COUNTERPARTS` with the published ones at equal rate.

    Each of our points is held to the published curve, which is dense enough to be
    interpolated linearly over log rate.

    Returns:
        calibration.csv: differences (ours minus published) in dB over the points
        that lie in the published range.
    """
    rows: list[dict[str, Any]] = []
    for (testset, codec), measured in rd.groupby(["testset", "codec"], sort=True):
        if codec not in COUNTERPARTS:
            continue
        reference = published[published["curve"] == COUNTERPARTS[codec]].sort_values("bpp")
        for metric in BD_METRICS:
            points = measured[lacking(measured) == ""].dropna(subset=[metric])
            points = points[points["bpp"].between(reference["bpp"].min(), reference["bpp"].max())]
            if points.empty:
                continue
            expected = np.interp(np.log(points["bpp"]), np.log(reference["bpp"]), reference[metric])
            difference = points[metric].to_numpy(float) - expected
            names = (testset, codec, COUNTERPARTS[codec], metric)
            rates = (len(points), points["bpp"].min(), points["bpp"].max())
            largest = difference[np.argmax(np.abs(difference))]
            values = (*names, *rates, difference.mean(), largest)
            rows.append(dict(zip(CALIBRATION_COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=CALIBRATION_COLUMNS)


def bd_against_published(rd: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Return bd_rate_published.csv: each of our curves against each published one."""
    rows = [
        {"testset": testset, "codec": name, "anchor": anchor_name, "metric": metric}
        | bd_delta(curve, anchor, metric)
        for testset, name, curve in curves(rd)
        for anchor_name, anchor in published.groupby("curve", sort=True)
        for metric in BD_METRICS
    ]
    return pd.DataFrame(rows, columns=BD_COLUMNS)


def published_text(calibration: pd.DataFrame, bd: pd.DataFrame) -> str:
    """Return what the terminal shows of both tables."""
    lines = []
    for _, row in bd[bd["metric"] == "psnr_rgb"].iterrows():
        if row["anchor"] == "factorized_prior" and is_model(row["codec"]):
            against = f"BD-rate of {row['codec']} against the published factorized prior"
            lines.append(f"  {against}: {bd_text(row)}")
    for _, row in calibration[calibration["metric"] == "psnr_rgb"].iterrows():
        lines.append(
            f"  {row['codec']} and the published {row['published']}: "
            f"{row['mean_difference_db']:+.2f} dB on average, "
            f"{row['largest_difference_db']:+.2f} dB at most"
        )
    return "".join(f"{line}\n" for line in lines)
