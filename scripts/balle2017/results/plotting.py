"""The rate-distortion figures: means, and image by image."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from balle2017.errors import InputError
from balle2017.names import MODEL_CODECS
from balle2017.results.seeds import band, lines
from balle2017.results.style import (
    AXES,
    add_legend,
    curve_label,
    curve_styles,
    drawing,
    save_figure,
)
from balle2017.results.tables import choose_testset, count_text, is_model, lacking

#: Dashes and greys of published curves.
_DASHES = ["--", ":", "-.", (0, (8, 2)), (0, (4, 1, 1, 1, 1, 1))]
_GREYS = ["#555555", "#999999", "#222222"]
_MARKERS = ["o", "s", "^", "D", "v"]
_MARKED_POINTS = 16

_COLUMNS = 4


def _check_limit(max_bpp: float | None) -> None:
    """Raise InputError where the right end of a rate axis cannot be one."""
    if max_bpp is not None and not 0 < max_bpp < math.inf:
        raise InputError(f"max_bpp is {max_bpp:g}; it must be more than 0 and finite")


def rate_limit(table: pd.DataFrame) -> float:
    """Return the default right end of the rate axis: 1.15 times the largest rate of the models.

    Without models the other codecs decide. Without any rate it is 1.
    """
    table = table.dropna(subset=["bpp"])
    ours = table[table["codec"].isin(MODEL_CODECS)]
    return 1.15 * (ours if len(ours) else table)["bpp"].max() if len(table) else 1.0


@dataclass(frozen=True)
class Look:
    """The size and style of the figure, with lengths in inches.

    Attributes:
        width: of the figure.
        panel_height: of each panel.
        stacked: one panel above the other.
        font: size of the text in points; lines and markers scale with it.
        title: name the test set above the panels.
    """

    width: float
    panel_height: float
    stacked: bool
    font: float
    title: bool


SCREEN = Look(width=10.4, panel_height=3.9, stacked=False, font=10, title=True)

#: One and two columns of a paper (IEEE and many others).
PAPER_WIDTHS = {"one": 3.5, "two": 7.16}
_LOWEST_WIDTH, _HIGHEST_WIDTH = 2.0, 20.0
_STACKED_BELOW = 5.0


def paper_look(width: str) -> Look:
    """Return the look of the figure in a paper, where a caption replaces the title.

    Args:
        width: a name of `PAPER_WIDTHS`, or inches from 2 to 20.

    Raises:
        InputError: it is neither.
    """
    try:
        inches = PAPER_WIDTHS[width] if width in PAPER_WIDTHS else float(width)
    except ValueError:
        inches = 0.0
    if not _LOWEST_WIDTH <= inches < _HIGHEST_WIDTH:
        raise InputError(
            f"the width of the figure is {width}; it must be one, two or a number of inches from "
            f"{_LOWEST_WIDTH:g} to {_HIGHEST_WIDTH:g}"
        )
    stacked = inches < _STACKED_BELOW
    return Look(inches, 0.72 * inches * (1 if stacked else 0.5), stacked, font=8, title=False)


@drawing
def plot_rd(
    rd: pd.DataFrame,
    out: Path,
    testset: str | None = None,
    max_bpp: float | None = None,
    published: pd.DataFrame | None = None,
    width: str = "two",
) -> None:
    """Draw PSNR and MS-SSIM over bits per pixel; write rd_curve.png, rd_curve.svg and rd_curve.pdf.

    Args:
        rd: the table rd.csv.
        out: folder for the figure.
        testset: the test set to draw; needed where the table has several.
        max_bpp: right end of the rate axis; None: see `rate_limit`.
        published: published curves on the same test set, as `read_published` returns them.
        width: of the PDF, see `paper_look`.

    Raises:
        InputError: see `choose_testset` and `paper_look`; or no point has a rate up to `max_bpp`,
            or that is not a finite number above 0.
    """
    _check_limit(max_bpp)
    paper = paper_look(width)
    rd = choose_testset(rd, testset)
    if rd["bpp"].isna().all():
        raise InputError("no codec could code any test image; per_image.csv says why")
    max_bpp = max_bpp or rate_limit(rd)
    if not (rd["bpp"] <= max_bpp).any():
        raise InputError(f"no point has a rate of {max_bpp} bits per pixel or less; raise max_bpp")
    save_figure(_draw_rd(rd, max_bpp, published, SCREEN), out / "rd_curve")
    save_figure(_draw_rd(rd, max_bpp, published, paper), out / "rd_curve", [".pdf"])


@drawing
def _draw_rd(
    rd: pd.DataFrame, max_bpp: float, published: pd.DataFrame | None, look: Look
) -> Figure:
    """Return the figure of one test set."""
    metrics = [metric for metric in AXES if rd[rd["bpp"] <= max_bpp][metric].notna().any()]
    # If no image has an error, no PSNR is finite; an empty panel shows that.
    metrics = metrics or ["psnr_rgb"]
    shape = (len(metrics), 1) if look.stacked else (1, len(metrics))
    height = look.panel_height * shape[0]
    text: dict[Any, Any] = {
        "font.size": look.font,
        "legend.fontsize": 0.95 * look.font,
        "legend.columnspacing": 1.2,
        "legend.handletextpad": 0.5,
    }
    with mpl.rc_context(text):
        figure = Figure(figsize=(look.width, height), layout="constrained")
        axes = figure.subplots(*shape, squeeze=False)
        for axis, metric in zip(axes.flat, metrics, strict=True):
            _draw_curves(axis, rd, metric, look.font / SCREEN.font)
            if published is not None:
                _draw_published(axis, published, metric, look.font / SCREEN.font)
            visible = rd.loc[rd["bpp"] <= max_bpp, metric].dropna()
            axis.set_xlim(0, max_bpp)
            if len(visible):
                margin = 0.06 * (visible.max() - visible.min()) or 1
                axis.set_ylim(visible.min() - margin, visible.max() + margin)
            axis.set_xlabel("Rate (bits per pixel, from file sizes)")
            axis.set_ylabel(AXES[metric])
            axis.grid(alpha=0.3)
        add_legend(figure, axes.flat[0].get_lines())
        if look.title:
            figure.suptitle(f"{rd['testset'].iloc[0]}: mean of {count_text(rd)}")
    return figure


def _draw_curves(axis: Axes, table: pd.DataFrame, metric: str, scale: float = 1) -> None:
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
            markersize=scale * (6 if ours else 4),
            linewidth=scale * (2.2 if ours else 1.2),
            zorder=3 if ours else 2,
            label=curve_label(line.name, len(line.seeds)) + (" (lacks images)" if fewer else ""),
        )
        edges = band(line.seeds, metric) if line.seeds else None
        if edges is not None:
            axis.fill_between(*edges, color=colour, alpha=0.25, linewidth=0, zorder=2)


def _draw_published(axis: Axes, published: pd.DataFrame, metric: str, scale: float) -> None:
    drawn = published[published["drawn"]]
    for index, (label, curve) in enumerate(drawn.groupby("label", sort=False)):
        curve = curve.dropna(subset=[metric]).sort_values("bpp")
        # Markers of many points would look like a thick line.
        few = len(curve) <= _MARKED_POINTS
        axis.plot(
            curve["bpp"],
            curve[metric],
            color=_GREYS[index // len(_DASHES) % len(_GREYS)],
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=1.2 * scale,
            marker=_MARKERS[index % len(_MARKERS)] if few else None,
            markersize=4 * scale,
            markerfacecolor="white",
            zorder=1,
            label=label,
        )


@drawing
def plot_images(
    images: pd.DataFrame, out: Path, testset: str | None = None, max_bpp: float | None = None
) -> None:
    """Draw PSNR over rate for each image; write rd_per_image.png and rd_per_image.svg.

    Args:
        images: the table per_image.csv of an experiment.
        out: folder for the figure.
        testset: the test set to draw; needed where the table has several.
        max_bpp: right end of the rate axes; None: see `rate_limit`, for each image.

    Raises:
        InputError: see `choose_testset`; or `max_bpp` is not a finite number above 0.
    """
    _check_limit(max_bpp)
    images = choose_testset(images, testset)
    titles = sorted(images["image"].unique())
    columns = min(_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
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
    add_legend(figure, axes.flat[0].get_lines(), above=True)
    save_figure(figure, out / "rd_per_image")
