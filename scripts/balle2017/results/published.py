"""Curves that others published, to compare with and to check our measurements."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.interpolate import PchipInterpolator

from balle2017.decibel import ms_ssim_db
from balle2017.errors import InputError
from balle2017.files import read_json
from balle2017.results.aggregation import BD_COLUMNS, BD_METRICS, bd_delta, bd_text
from balle2017.results.tables import check_numbers, curves, is_model, lacking, read_frame

#: The published curve of the same codec. The plain codecs have its settings too.
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

#: What a table of curves must have, beside one of `_QUALITIES`.
_COLUMNS = ["codec", "bpp"]
_QUALITIES = ["psnr_rgb", "ms_ssim_rgb"]
#: What CompressAI calls our measures.
_COMPRESSAI_QUALITIES = {"psnr_rgb": "psnr-rgb", "ms_ssim_rgb": "ms-ssim-rgb"}
_COMPRESSAI_TIMES = {"encode_s": "encoding_time", "decode_s": "decoding_time"}


def rate_over(curve: pd.DataFrame, bpp: float, psnr: float) -> float:
    """Return how much more rate a point needs than a curve at the same PSNR.

    Args:
        curve: one of `read_published`'s curves; between its points the logarithm of the rate is
            interpolated as for a BD-rate, by PCHIP over the PSNR.
        bpp: rate of the point.
        psnr: its `psnr_rgb` in dB.

    Returns:
        Percent of the curve's rate; NaN if the curve does not reach this PSNR.
    """
    points = curve.sort_values("psnr_rgb")
    log_rate = PchipInterpolator(points["psnr_rgb"], np.log(points["bpp"]), extrapolate=False)
    return float(100 * (bpp / np.exp(log_rate(psnr)) - 1))


def read_published(path: Path, source: str = "") -> pd.DataFrame:
    """Read published curves from a CSV, or from a JSON file of results as CompressAI writes them.

    Args:
        path: the file. A CSV has the columns codec, bpp, and psnr_rgb or ms_ssim_rgb (0 to 1) or
            both; label, source and drawn (0: not in the figure) are optional.
        source: who published them; it is added to the names of curves and labels. Without one
            the names are those in the file.

    Returns:
        curve, label, source, drawn, bpp, psnr_rgb, ms_ssim_rgb, ms_ssim_rgb_db.

    Raises:
        InputError: there is no such file, a number in it is invalid, or a point is there twice.
    """
    table = _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)
    if table.empty:
        raise InputError(f"{path} holds no point of a curve")
    table = table.reindex(columns=["codec", "label", "source", "drawn", "bpp", *_QUALITIES])
    check_numbers(path, table, ["bpp", *_QUALITIES], filled=["bpp"])
    for column in ("bpp", *_QUALITIES):
        table[column] = pd.to_numeric(table[column]).astype(float)
    names, drawn = table["codec"], pd.to_numeric(table["drawn"], errors="coerce")
    if (wrong := drawn.isna() & table["drawn"].notna()).any():
        raise InputError(
            f"{path}: {names[wrong.idxmax()]} has drawn {table['drawn'][wrong.idxmax()]}; it must "
            "be 0, for a curve that is not in the figure, or 1"
        )
    if (names.str.strip() == "").any():
        raise InputError(f"{path} has a curve without a name in the column codec")
    if names.str.startswith("#").any():
        # Where tables of curves are read again, such a line is a comment.
        raise InputError(f"{path} has a curve whose name begins with #; give it another name")
    if (again := table.duplicated(["codec", "bpp", *_QUALITIES])).any():
        twice = table.loc[again.idxmax()]
        raise InputError(
            f"{path}: the curve {twice['codec']} has the same point twice, at {twice['bpp']} bpp; "
            "remove one"
        )
    for column in ("label", "drawn"):
        counts = table.groupby("codec")[column].nunique(dropna=False)
        if (counts > 1).any():
            raise InputError(
                f"{path}: the curve {counts.idxmax()} has more than one {column}; give each of its "
                "points the same"
            )
    labels = table["label"].where(table["label"].fillna("") != "", names)
    return pd.DataFrame(
        {
            "curve": names + f" ({source})" if source else names,
            "label": labels + f", {source}" if source else labels,
            "source": source or table["source"].fillna(""),
            "drawn": drawn != 0,
            **{column: table[column] for column in ("bpp", *_QUALITIES)},
            "ms_ssim_rgb_db": table["ms_ssim_rgb"].map(ms_ssim_db).astype(float),
        }
    )


def _read_csv(path: Path) -> pd.DataFrame:
    table = read_frame(path, _COLUMNS, "table of published curves", comments=True)
    if not set(_QUALITIES) & set(table):
        raise InputError(f"{path} is not a table of published curves: it lacks {_QUALITIES[0]}")
    return table


def _read_json(path: Path) -> pd.DataFrame:
    """Read one curve. Its name is in the file; otherwise it is the name of the file."""
    try:
        content = read_json(path)
        results = content.get("results", content)
        columns = {
            ours: results[theirs]
            for ours, theirs in (("bpp", "bpp"), *_COMPRESSAI_QUALITIES.items())
            if theirs in results
        }
        if "bpp" not in columns or len(columns) < 2:
            raise ValueError("it lacks bpp, or psnr-rgb and ms-ssim-rgb")
        return pd.DataFrame({"codec": str(content.get("name") or path.stem), **columns})
    except FileNotFoundError:
        raise InputError(f"file {path} does not exist") from None
    except (AttributeError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} holds no results as CompressAI writes them: {error}") from None


def collect_published(files: Sequence[tuple[Path, str]]) -> pd.DataFrame:
    """Return published.csv: the curves of several files with their sources.

    Raises:
        InputError: see `read_published`; or two files have a curve of one name, or two curves
            have one label.
    """
    tables: list[pd.DataFrame] = []
    for path, source in files:
        table = read_published(path, source)
        before = {name for other in tables for name in other["curve"]}
        if twice := sorted(before & set(table["curve"])):
            raise InputError(
                f"{path} has the curve {twice[0]}, and so has a file before it; give them "
                "different sources"
            )
        tables.append(table)
    table = pd.concat(tables, ignore_index=True)
    for label, names in table.groupby("label", sort=False)["curve"]:
        if names.nunique() > 1:
            raise InputError(
                f"the curves {' and '.join(names.unique()[:2])} have the same label, {label}; "
                "change one of them"
            )
    table = table.rename(columns={"curve": "codec"})
    return table.assign(drawn=table["drawn"].astype(int)).drop(columns="ms_ssim_rgb_db")


def compressai_results(curve: pd.DataFrame, name: str, encoder: str) -> dict[str, Any]:
    """Return a curve of rd.csv in CompressAI's format: one list for each measure.

    Points without rate or PSNR are left out, and so is a measure that a remaining point lacks.
    """
    points = curve.dropna(subset=["bpp", "psnr_rgb"]).sort_values("bpp")
    measures = {"bpp": "bpp", **_COMPRESSAI_QUALITIES, **_COMPRESSAI_TIMES}
    results = {
        theirs: points[ours].astype(float).tolist()
        for ours, theirs in measures.items()
        if points[ours].notna().all()
    }
    return {"name": name, "description": encoder, "results": results}


def read_calibration(path: Path) -> pd.DataFrame:
    """Read calibration.csv.

    Raises:
        InputError: it does not exist, is another table, or has a row twice.
    """
    key = ["testset", "codec", "published", "metric"]
    return read_frame(path, CALIBRATION_COLUMNS, "table of calibrations", key)


def calibrate(rd: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Compare our measurements of `COUNTERPARTS` with the published ones at equal rate.

    Each of our points is compared with the published curve, which is dense enough for linear
    interpolation over log rate.

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
    """Return bd_rate_published.csv: each of our curves against each published one.

    Raises:
        InputError: a measured curve and a published one have the same name.
    """
    if both := sorted({name for _, name, _ in curves(rd)} & set(published["curve"])):
        raise InputError(f"{both[0]} is measured here and published; give one of them another name")
    rows = [
        {"testset": testset, "codec": name, "anchor": anchor_name, "metric": metric}
        | bd_delta(curve, anchor, metric)
        for testset, name, curve in curves(rd)
        for anchor_name, anchor in published.groupby("curve", sort=True)
        for metric in BD_METRICS
    ]
    return pd.DataFrame(rows, columns=BD_COLUMNS)


def published_text(calibration: pd.DataFrame, bd: pd.DataFrame, published: pd.DataFrame) -> str:
    """Return what a run prints of both tables, for the curves in the figure.

    Args:
        calibration: of `calibrate`.
        bd: of `bd_against_published`.
        published: of `read_published`.
    """
    shown = published[published["drawn"] & (published["source"] != "")]
    labels = dict(zip(shown["curve"], shown["label"], strict=True))
    # In the table for Kodak, the curve with which papers compare this method.
    labels["factorized_prior"] = "the published factorized prior"
    lines = []
    for _, row in bd[bd["metric"] == "psnr_rgb"].iterrows():
        if row["anchor"] in labels and is_model(row["codec"]):
            against = f"BD-rate of {row['codec']} against {labels[row['anchor']]}"
            lines.append(f"  {against}: {bd_text(row)}")
    for _, row in calibration[calibration["metric"] == "psnr_rgb"].iterrows():
        lines.append(
            f"  {row['codec']} minus the published {row['published']}, PSNR: "
            f"mean {row['mean_difference_db']:+.2f} dB, "
            f"largest {row['largest_difference_db']:+.2f} dB"
        )
    return "".join(f"{line}\n" for line in lines)
