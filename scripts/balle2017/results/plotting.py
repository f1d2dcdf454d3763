"""The rate-distortion figures: means, and image by image."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from balle2017.errors import InputError
from balle2017.names import MODEL_CODEC
from balle2017.results.seeds import band, lines
from balle2017.results.style import AXES, curve_label, curve_styles, save_figure
from balle2017.results.tables import count_text, is_model, lacking

#: Dashes and greys of the curves of others.
_DASHES = ["--", ":", "-.", (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1))]
_GREYS = ["#555555", "#999999", "#222222"]

_COLUMNS = 4
# Labels longer than this leave room for three columns of the legend.
_LONG_LABEL = 40


def choose_testset(table: pd.DataFrame, testset: str | None) -> pd.DataFrame:
    """Return the rows of one test set.

    Raises:
        InputError: no row for that test set, or several test sets and none chosen.
    """
    available = sorted(table["testset"].unique())
    if testset is None and len(available) == 1:
        testset = available[0]
    if testset not in available:
        raise InputError(
            f"choose a test set with --testset: {', '.join(available) or 'none there'}"
        )
    return table[table["testset"] == testset]


def rate_limit(table: pd.DataFrame) -> float:
    """Return the default right end of the rate axis: 1.15 times the model's largest rate.

    Where the model has none it is that of the other codecs, and 1 where they have none either.
    """
    table = table.dropna(subset=["bpp"])
    ours = table[table["codec"] == MODEL_CODEC]
    return 1.15 * (ours if len(ours) else table)["bpp"].max() if len(table) else 1.0


def plot_rd(
    rd: pd.DataFrame,
    out: Path,
    testset: str | None = None,
    max_bpp: float | None = None,
    published: pd.DataFrame | None = None,
) -> None:
    """Draw PSNR and MS-SSIM over bits per pixel; write rd_curve.png and rd_curve.svg.

    Args:
        rd: the table rd.csv.
        out: folder for the figure.
        testset: the test set to draw; needed where the table has several.
        max_bpp: right end of the rate axis; none: see `rate_limit`.
        published: curves of others on the same test set, as `read_published` returns them.

    Raises:
        InputError: see `choose_testset`; or no point has so small a rate, or any.
    """
    rd = choose_testset(rd, testset)
    if rd["bpp"].isna().all():
        raise InputError("no codec could code any test image; per_image.csv says why")
    max_bpp = max_bpp or rate_limit(rd)
    if not (rd["bpp"] <= max_bpp).any():
        raise InputError(f"no point has a rate of {max_bpp} bits per pixel or less; raise max_bpp")
    metrics = [metric for metric in AXES if rd[rd["bpp"] <= max_bpp][metric].notna().any()]
    # Without any error no PSNR is finite, and a panel without points shows that.
    metrics = metrics or ["psnr_rgb"]
    figure, axes = plt.subplots(
        1, len(metrics), figsize=(5.2 * len(metrics), 4.8), squeeze=False, layout="constrained"
    )
    for axis, metric in zip(axes[0], metrics, strict=True):
        _draw_curves(axis, rd, metric)
        if published is not None:
            _draw_published(axis, published, metric)
        visible = rd.loc[rd["bpp"] <= max_bpp, metric].dropna()
        axis.set_xlim(0, max_bpp)
        if len(visible):
            margin = 0.06 * (visible.max() - visible.min()) or 1
            axis.set_ylim(visible.min() - margin, visible.max() + margin)
        axis.set_xlabel("Rate (bits per pixel, from file sizes)")
        axis.set_ylabel(AXES[metric])
        axis.grid(alpha=0.3)
    handles, labels = axes[0][0].get_legend_handles_labels()
    columns = min(3 if max(map(len, labels)) > _LONG_LABEL else 4, len(labels))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    figure.suptitle(f"{rd['testset'].iloc[0]}: mean of {count_text(rd)} images")
    save_figure(figure, out / "rd_curve")


def _draw_curves(axis: plt.Axes, table: pd.DataFrame, metric: str) -> None:
    drawn = list(lines(table))
    styles = curve_styles(line.name for line in drawn)
    for line in sorted(drawn, key=lambda line: list(styles).index(line.name)):
        colour, marker = styles[line.name]
        curve = line.points[line.points[metric].notna()].sort_values("bpp")
        ours = is_model(line.name)
        fewer = (lacking(curve) != "").any()
        axis.plot(
            curve["bpp"],
            curve[metric],
            color=colour,
            marker=marker,
            markersize=6 if ours else 4,
            linewidth=2.2 if ours else 1.2,
            zorder=3 if ours else 2,
            label=curve_label(line.name, len(line.seeds)) + (" (lacks images)" if fewer else ""),
        )
        edges = band(line.seeds, metric) if line.seeds else None
        if edges is not None:
            axis.fill_between(*edges, color=colour, alpha=0.25, linewidth=0, zorder=2)


def _draw_published(axis: plt.Axes, published: pd.DataFrame, metric: str) -> None:
    drawn = published[published["drawn"]]
    for index, (label, curve) in enumerate(drawn.groupby("label", sort=False)):
        curve = curve.dropna(subset=[metric]).sort_values("bpp")
        axis.plot(
            curve["bpp"],
            curve[metric],
            color=_GREYS[index // len(_DASHES) % len(_GREYS)],
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=1.2,
            zorder=1,
            label=label,
        )


def plot_images(
    images: pd.DataFrame, out: Path, testset: str | None = None, max_bpp: float | None = None
) -> None:
    """Draw PSNR over rate for each image; write rd_per_image.png and rd_per_image.svg.

    Args:
        images: the table per_image.csv of an experiment.
        out: folder for the figure.
        testset: the test set to draw; needed where the table has several.
        max_bpp: right end of the rate axes; none: see `rate_limit`, for each image.

    Raises:
        InputError: see `choose_testset`.
    """
    images = choose_testset(images, testset)
    titles = sorted(images["image"].unique())
    columns = min(_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.5 * rows), squeeze=False, layout="constrained"
    )
    for axis in axes.flat[len(titles) :]:
        axis.axis("off")
    for axis, title in zip(axes.flat, titles, strict=False):
        table = images[images["image"] == title]
        _draw_curves(axis, table, "psnr_rgb")
        limit = max_bpp or rate_limit(table)
        visible = table.loc[table["bpp"] <= limit, "psnr_rgb"].dropna()
        axis.set_xlim(0, limit)
        if len(visible):
            axis.set_ylim(visible.min() - 1, visible.max() + 1)
        axis.set_title(title, fontsize=9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    figure.supxlabel("Rate (bits per pixel, from file sizes)", fontsize=10)
    figure.supylabel(AXES["psnr_rgb"], fontsize=10)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)))
    save_figure(figure, out / "rd_per_image")
