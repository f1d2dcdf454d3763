"""From evaluations to rate-distortion tables: means over a test set, and image by image."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bjontegaard
import numpy as np
import pandas as pd

from balle2017.decibel import ms_ssim_db
from balle2017.errors import InputError
from balle2017.files import read_json
from balle2017.results.metrics import METRICS
from balle2017.results.tables import (
    IDENTITY,
    TEXT,
    check_numbers,
    count_text,
    curve_names,
    curves,
    is_model,
    lacking,
    lacking_texts,
    limits,
    read_frame,
)

_MEASURES = [
    "bpp",
    "bpp_payload",
    "bpp_estimated",
    *METRICS,
    "ms_ssim_rgb_db",
    "encode_s",
    "decode_s",
]
RD_COLUMNS = [
    "testset",
    "codec",
    "point",
    "filters",
    "seed",
    *_MEASURES,
    "n_images",
    "lacking",
    "encoder",
    "note",
]

BD_COLUMNS = [
    "testset",
    "codec",
    "anchor",
    "metric",
    "bd_rate_percent",
    "bd_quality_db",
    "overlap_low",
    "overlap_high",
    "points",
    "anchor_points",
    "reason",
]

#: What every row of a summary.json has.
_NEEDED = {"testset", "codec", "point", "bpp", "psnr_rgb"}

#: Quality columns for which Bjøntegaard deltas are computed.
BD_METRICS = ("psnr_rgb", "ms_ssim_rgb_db")

#: PCHIP needs this many points to be more than a straight line.
_MIN_POINTS = 3


def find_summaries(folders: list[Path]) -> list[Path]:
    """Return all summary.json in or below some folders; single files are taken as they are.

    Raises:
        InputError: a folder holds no evaluation.
    """
    summaries: list[Path] = []
    for folder in folders:
        found = [folder] if folder.is_file() else sorted(folder.rglob("summary.json"))
        if not found:
            raise InputError(f"{folder} holds no evaluation (no summary.json in or below it)")
        summaries += found
    return summaries


def _wrong_columns(row: dict[str, Any]) -> Iterator[str]:
    """Yield the columns of a row of a summary that have invalid values."""
    for name in RD_COLUMNS:
        value = row.get(name)
        if value is None:
            # A model has filters and seed, other codecs neither. Every row needs the other three.
            if name in ("testset", "codec", "point") or (
                name in ("filters", "seed")
                and (row.get("filters"), row.get("seed")) != (None, None)
            ):
                yield name
        elif name in TEXT:
            if not isinstance(value, str):
                yield name
        elif name in ("filters", "seed", "n_images"):
            if type(value) is not int or not 0 <= value < 2**53:
                yield name
        else:
            low, high, _ = limits(name)
            if type(value) not in (int, float) or not low <= value <= high:
                yield name


def _read_summary(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a summary.json.

    Raises:
        InputError: it is another kind of file.
    """
    try:
        rows = read_json(path)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("it must hold a list of maps")
        missing = sorted({name for row in rows for name in _NEEDED - set(row)})
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        wrong = next((name for row in rows for name in _wrong_columns(row)), None)
        if wrong is not None:
            raise ValueError(f"{wrong} has an invalid value")
    except (IsADirectoryError, ValueError) as error:
        raise InputError(f"{path} is not a summary of an evaluation: {error}") from None
    return rows


def collect(folders: list[Path]) -> pd.DataFrame:
    """Return the rate-distortion table of all evaluations below some folders.

    Args:
        folders: folders, or single summary.json files.

    Raises:
        InputError: a folder holds no evaluation, or a summary.json is not one.
    """
    rows: list[dict[str, Any]] = []
    for path in find_summaries(folders):
        rows += _read_summary(path)
    if not rows:
        raise InputError(f"the evaluations in {', '.join(map(str, folders))} have no point")
    frame = pd.DataFrame(rows).reindex(columns=RD_COLUMNS)
    for column in ("filters", "seed", "n_images"):
        frame[column] = frame[column].astype("Int64")
    # A column without any value would have no dtype of its own.
    frame = frame.astype(dict.fromkeys(_MEASURES, float))
    frame["lacking"] = lacking(frame)
    twice = frame[frame.duplicated(IDENTITY)]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"two evaluations have {row['codec']} at {row['point']:g} on {row['testset']}, of the "
            "same width and seed; give one of them"
        )
    order = ["testset", "curve", "bpp"]
    frame = frame.assign(curve=curve_names(frame)).sort_values(order, ignore_index=True)
    return frame.drop(columns="curve")


def read_rd(path: Path) -> pd.DataFrame:
    """Read rd.csv; that of version 0.1.0 has no column `lacking`, and lacks no image.

    Raises:
        InputError: it does not exist, is another table, has no row, a row twice, or a number that
            cannot be measured.
    """
    columns = [column for column in RD_COLUMNS if column != "lacking"]
    table = read_frame(path, columns, "table of results", IDENTITY)
    if table.empty:
        raise InputError(f"{path} has no point of a curve")
    # An empty measurement is infinite, or was not made.
    check_numbers(path, table, ["point", *_MEASURES], filled=["point"])
    if (wrong := table["filters"].notna() & table["seed"].isna()).any():
        raise InputError(f"{path}: {table['codec'][wrong.idxmax()]} has filters, and no seed")
    return table.assign(lacking=lacking(table))


def read_bd(path: Path, per_image: bool = False) -> pd.DataFrame:
    """Read one of the tables of Bjøntegaard deltas; `per_image`: one with a row for each image.

    Raises:
        InputError: it does not exist, is another table, has a row twice, or a number that cannot
            be a delta.
    """
    columns = [*BD_COLUMNS, "image"] if per_image else BD_COLUMNS
    what = "table of Bjøntegaard deltas" + (" for each image" if per_image else "")
    key = ["testset", "codec", "anchor", "metric", *(["image"] if per_image else [])]
    table = read_frame(path, columns, what, key)
    check_numbers(path, table, ["bd_rate_percent", "bd_quality_db", "overlap_low", "overlap_high"])
    return table


def bd_delta(curve: pd.DataFrame, anchor: pd.DataFrame, metric: str) -> dict[str, Any]:
    """Return the Bjøntegaard deltas of a curve against an anchor.

    They use piecewise cubic interpolation (PCHIP) over the range of quality, and of log rate,
    that both curves cover. Means over different images cannot be compared, so there are no deltas
    if points lack images, unless all points lack the same ones.

    Returns:
        Columns of bd_rate.csv from bd_rate_percent on. Deltas that cannot be computed are None,
        and `reason` says why.
    """
    curve, anchor = (frame.dropna(subset=["bpp", metric]) for frame in (curve, anchor))
    result: dict[str, Any] = {
        "bd_rate_percent": None,
        "bd_quality_db": None,
        "overlap_low": None,
        "overlap_high": None,
        "points": len(curve),
        "anchor_points": len(anchor),
        "reason": "",
    }
    if min(len(curve), len(anchor)) < _MIN_POINTS:
        return result | {"reason": f"fewer than {_MIN_POINTS} points"}
    if pd.concat([lacking(curve), lacking(anchor)]).nunique() > 1:
        return result | {"reason": "means over other images"}
    sorted_pair = [frame.sort_values("bpp") for frame in (anchor, curve)]
    rates = [frame["bpp"].to_numpy() for frame in sorted_pair]
    qualities = [frame[metric].to_numpy(float) for frame in sorted_pair]
    if not all((np.diff(rate) > 0).all() for rate in rates):
        return result | {"reason": "two points of one rate"}
    if not all((np.diff(quality) > 0).all() for quality in qualities):
        return result | {"reason": "quality does not rise with rate"}
    low = max(quality[0] for quality in qualities)
    high = min(quality[-1] for quality in qualities)
    if low >= high:
        return result | {"reason": "no overlap in quality"}
    result |= {"overlap_low": low, "overlap_high": high}
    arguments = (rates[0], qualities[0], rates[1], qualities[1])
    options = {"method": "pchip", "require_matching_points": False, "min_overlap": 0}
    result["bd_rate_percent"] = float(bjontegaard.bd_rate(*arguments, **options))
    if max(rate[0] for rate in rates) < min(rate[-1] for rate in rates):
        result["bd_quality_db"] = float(bjontegaard.bd_psnr(*arguments, **options))
    else:
        result["reason"] = "no overlap in rate"
    return result


def bd_table(rd: pd.DataFrame) -> pd.DataFrame:
    """Return bd_rate.csv: every curve against every other of the same test set."""
    rows = [
        {"testset": testset, "codec": name, "anchor": anchor_name, "metric": metric}
        | bd_delta(curve, anchor, metric)
        for (testset, name, curve), (other, anchor_name, anchor) in itertools.permutations(
            curves(rd), 2
        )
        if testset == other
        for metric in BD_METRICS
    ]
    return pd.DataFrame(rows, columns=BD_COLUMNS)


def bd_text(row: pd.Series) -> str:
    """Return the BD-rate of a row of bd_rate.csv as text, or why there is none."""
    value = row["bd_rate_percent"]
    return f"not defined ({row['reason']})" if pd.isna(value) else f"{value:+.1f} %"


def summary_text(rd: pd.DataFrame, bd: pd.DataFrame) -> str:
    """Return the results on one screen: the points of all curves, and BD-rates against JPEG.

    Filters and seed have a column if there are several.
    """
    lines = []
    varied = [column for column in ("filters", "seed") if rd[column].nunique() > 1]
    for testset, frame in rd.groupby("testset", sort=True):
        lines.append(f"{testset}, means over {count_text(frame)}, rate from file sizes")
        heads = "".join(f"{column:>9}" for column in varied)
        width = max(15, *(len(name) + 1 for name in frame["codec"]))
        head = f"  {'codec':<{width}}{'point':>8}{heads}"
        lines.append(f"{head}{'bpp':>9}{'PSNR dB':>9}{'MS-SSIM':>9}")
        for _, row in frame.iterrows():
            rate, quality, similarity = (
                "" if pd.isna(row[column]) else f"{row[column]:.{digits}f}"
                for column, digits in (("bpp", 4), ("psnr_rgb", 2), ("ms_ssim_rgb", 4))
            )
            cells = ("" if pd.isna(row[column]) else row[column] for column in varied)
            identity = "".join(f"{cell:>9}" for cell in cells)
            lines.append(
                f"  {row['codec']:<{width}}{row['point']:>8g}{identity}"
                f"{rate:>9}{quality:>9}{similarity:>9}"
            )
        lines += [f"  {name} {text}" for _, name, text in lacking_texts(frame)]
        for _, row in bd[(bd["testset"] == testset) & (bd["metric"] == "psnr_rgb")].iterrows():
            if row["anchor"] == "jpeg" and is_model(row["codec"]):
                lines.append(f"  BD-rate of {row['codec']} against jpeg, PSNR: {bd_text(row)}")
    return "\n".join(lines) + "\n"


_COLUMNS = ["point", "image", "bpp", "psnr_rgb", "ms_ssim_rgb"]
#: The anchor of the deltas of each image, if the test set was coded with it.
ANCHOR = "jpeg"


def collect_images(folders: list[Path]) -> pd.DataFrame:
    """Return one row for each image and point of all evaluations below some folders.

    Columns: testset, codec, filters, seed, those of per_image.csv, and ms_ssim_rgb_db.

    Raises:
        InputError: see `find_summaries`; or a per_image.csv is missing or no such table; or the
            evaluations of a test set are of different images.
    """
    parts = []
    for path in find_summaries(folders):
        table = path.with_name("per_image.csv")
        rows = _read_images(table, ["point"])
        try:
            points = pd.DataFrame(_read_summary(path)).reindex(columns=IDENTITY)
            part = points.merge(rows, on="point", validate="one_to_many")
        except ValueError as error:
            raise InputError(
                f"{table} does not belong to the {path.name} beside it: {error}"
            ) from None
        if len(part) < len(rows):
            raise InputError(f"{table} has points that the {path.name} beside it lacks")
        parts.append(part)
    images = pd.concat(parts, ignore_index=True)
    _check_same_images(images)
    for column in ("filters", "seed"):
        images[column] = images[column].astype("Int64")
    images["ms_ssim_rgb_db"] = images["ms_ssim_rgb"].map(ms_ssim_db).astype(float)
    # An infinite PSNR is no point of a curve.
    images["psnr_rgb"] = images["psnr_rgb"].mask(np.isinf(images["psnr_rgb"]))
    return images.sort_values([*IDENTITY, "image"], ignore_index=True)


def _check_same_images(images: pd.DataFrame) -> None:
    """Check that all points of a test set have rows for the same images, measured or refused.

    Images are told apart by name, size and pixels; tables of version 0.1.0 have no hash of those.

    Raises:
        InputError: they have not. Their means could not be compared.
    """
    for testset, frame in images.groupby("testset", sort=True):
        every = set(frame["image"])
        for (_, codec, *_, point), rows in frame.groupby(IDENTITY, dropna=False):
            if absent := sorted(every - set(rows["image"])):
                raise InputError(
                    f"on {testset}, {codec} at {point:g} has no row for {absent[0]}, and others "
                    "have; evaluate all of them on the same images, or give each set of images a "
                    "name of its own (--testset)"
                )
        known = frame.reindex(columns=["width", "height", "pixel_hash"])
        kinds = known.groupby(frame["image"]).nunique()
        if (several := kinds[(kinds > 1).any(axis=1)]).size:
            raise InputError(
                f"on {testset}, {several.index[0]} is another image in some evaluations; evaluate "
                "all of them on the same images, or give each set of images a name of its own "
                "(--testset)"
            )


def read_images(path: Path) -> pd.DataFrame:
    """Read the per_image.csv of an experiment.

    Raises:
        InputError: it does not exist, is another table, has a row twice, or a number that cannot be
            measured.
    """
    return _read_images(path, IDENTITY)


def _read_images(path: Path, identity: list[str]) -> pd.DataFrame:
    """Read a per_image.csv in which some columns name the point of a curve."""
    table = read_frame(path, [*identity, *_COLUMNS], "table of images", [*identity, "image"])
    # An image that was decoded without any error has an infinite PSNR.
    finite = table.assign(psnr_rgb=table["psnr_rgb"].replace(np.inf, np.nan))
    check_numbers(path, finite, ["point", "bpp", "psnr_rgb", "ms_ssim_rgb"], filled=["point"])
    return table


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
    """Return a line for each model with the images where it gains most and least."""
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
