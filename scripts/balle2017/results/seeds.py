"""Several seeds of the same models: how much of a curve, or of a delta, is chance."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from balle2017.results.tables import curve_names, is_model, lacking

#: Columns that seeds.csv averages. Each gives three columns: mean, lowest, highest.
SEED_MEASURES = ("bpp", "psnr_rgb", "ms_ssim_rgb", "ms_ssim_rgb_db")
_STATISTICS = ("mean", "low", "high")
SEEDS_COLUMNS = [
    "testset",
    "curve",
    "point",
    "seeds",
    *(f"{measure}_{statistic}" for measure in SEED_MEASURES for statistic in _STATISTICS),
]
BD_SEEDS_COLUMNS = [
    "testset",
    "codec",
    "anchor",
    "metric",
    "seeds",
    *(f"bd_rate_percent_{statistic}" for statistic in _STATISTICS),
]

# Rates at which the edges of a band are drawn.
_BAND_POINTS = 100


def without_seed(name: str) -> str:
    """Return the name of a model's curve without its seed, and other names unchanged."""
    return name.rpartition("-s")[0] if is_model(name) else name


def _several(names: pd.Series, testsets: pd.Series) -> pd.Series:
    """Tell of each row whether its test set has the same curve from another seed too."""
    return names.groupby([testsets, names.map(without_seed)]).transform("nunique") > 1


def _statistics(frame: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, Any]:
    """Return mean, lowest and highest of some columns; None if a seed lacks the value."""
    found: dict[str, Any] = {}
    for column in columns:
        values = frame[column].astype(float)
        known = values.notna().all()
        for statistic, value in zip(
            _STATISTICS, (values.mean(), values.min(), values.max()), strict=True
        ):
            found[f"{column}_{statistic}"] = value if known else None
    return found


def seed_table(rd: pd.DataFrame) -> pd.DataFrame:
    """Return seeds.csv: mean and range over the seeds, of each point that has several.

    Args:
        rd: the table rd.csv.

    Returns:
        testset, curve (as in bd_rate.csv, without the seed), point, seeds (how many), and
        for each of `SEED_MEASURES` three columns: _mean, _low, _high.
    """
    rows = []
    named = rd.assign(curve=curve_names(rd)) if len(rd) else rd.assign(curve="")
    named = named[_several(named["curve"], named["testset"])] if len(named) else named
    named = named.assign(curve=named["curve"].map(without_seed))
    for (testset, curve, point), frame in named.groupby(["testset", "curve", "point"], sort=True):
        if len(frame) > 1:
            identity = {"testset": testset, "curve": curve, "point": point, "seeds": len(frame)}
            rows.append(identity | _statistics(frame, SEED_MEASURES))
    return pd.DataFrame(rows, columns=SEEDS_COLUMNS)


def bd_seeds(bd: pd.DataFrame) -> pd.DataFrame:
    """Return bd_rate_seeds.csv: mean and range of BD-rates over the seeds of the same models.

    Args:
        bd: bd_rate.csv or bd_rate_published.csv.

    Returns:
        testset, codec (without the seed), anchor, metric, seeds, bd_rate_percent_mean, _low
        and _high. Models are no anchors, because their own seed would add to the difference.
    """
    rows = []
    ours = bd[bd["codec"].map(is_model).astype(bool) & ~bd["anchor"].map(is_model).astype(bool)]
    ours = ours.assign(codec=ours["codec"].map(without_seed))
    names = ["testset", "codec", "anchor", "metric"]
    for key, frame in ours.groupby(names, sort=True):
        if len(frame) > 1:
            identity = dict(zip(names, key, strict=True)) | {"seeds": len(frame)}
            rows.append(identity | _statistics(frame, ("bd_rate_percent",)))
    return pd.DataFrame(rows, columns=BD_SEEDS_COLUMNS)


def bd_seeds_text(bd: pd.DataFrame, anchor: str, label: str) -> str:
    """Return a line with the BD-rate against one anchor for each model with several seeds.

    Args:
        bd: as for `bd_seeds`.
        anchor: as in the table.
        label: the anchor's name in the line.
    """
    table = bd_seeds(bd)
    table = table[(table["anchor"] == anchor) & (table["metric"] == "psnr_rgb")]
    return "".join(
        f"  BD-rate of {row.codec} against {label}: {row.bd_rate_percent_mean:+.1f} % on average "
        f"over {row.seeds} seeds, {row.bd_rate_percent_low:+.1f} to "
        f"{row.bd_rate_percent_high:+.1f} %\n"
        for row in table.dropna(subset=["bd_rate_percent_mean"]).itertuples()
    )


class Band(NamedTuple):
    """The range of a quality over seeds, at rates that all of their curves cover.

    Attributes:
        bpp: rising, in equal steps.
        low: lowest quality there.
        high: highest quality there.
    """

    bpp: np.ndarray
    low: np.ndarray
    high: np.ndarray


def band(seeds: list[pd.DataFrame], metric: str) -> Band | None:
    """Return the range of a quality over the curves of several seeds.

    Between points, each curve is interpolated linearly, as figures draw it.

    Args:
        seeds: rows of rd.csv, a frame for each seed.
        metric: the column.

    Returns:
        None if a curve has fewer than two points or two points of one rate, or if the curves have
        no common range of rates.
    """
    curves = [frame.dropna(subset=["bpp", metric]).sort_values("bpp") for frame in seeds]
    if any(len(curve) < 2 or curve["bpp"].duplicated().any() for curve in curves):
        return None
    low = max(curve["bpp"].iloc[0] for curve in curves)
    high = min(curve["bpp"].iloc[-1] for curve in curves)
    if low >= high:
        return None
    bpp = np.linspace(low, high, _BAND_POINTS)
    qualities = [np.interp(bpp, curve["bpp"], curve[metric].astype(float)) for curve in curves]
    return Band(bpp, np.min(qualities, axis=0), np.max(qualities, axis=0))


class Line(NamedTuple):
    """One curve of a figure.

    Attributes:
        name: of the curve, without the seed if it is a mean over several.
        points: bpp and the qualities, a row each, and `lacking`.
        seeds: rows of each seed; empty if there is only one.
    """

    name: str
    points: pd.DataFrame
    seeds: list[pd.DataFrame]


def lines(table: pd.DataFrame) -> Iterator[Line]:
    """Yield the curves of rd.csv, or of the rows of one image, as a figure shows them.

    Several seeds of the same models make one line through the means of the points that all of
    them have. Where they have none in common, each is a line of its own.
    """
    names = curve_names(table)
    several = _several(names, table["testset"])
    for name in names[~several].unique():
        yield Line(name, table[names == name], [])
    shared = names[several].map(without_seed)
    for name in shared.unique():
        rows = table.loc[shared[shared == name].index]
        seeds = [frame for _, frame in rows.groupby("seed", sort=True)]
        rows = rows.assign(lacking=lacking(rows))
        means = dict.fromkeys(SEED_MEASURES, lambda values: values.mean(skipna=False))
        shared_by_all = rows.groupby("point")["seed"].transform("nunique") == len(seeds)
        if not shared_by_all.any():
            for frame in seeds:
                yield Line(names[frame.index[0]], frame, [])
            continue
        points = rows[shared_by_all].groupby("point", as_index=False)
        yield Line(name, points.agg(means | {"lacking": "max"}), seeds)
