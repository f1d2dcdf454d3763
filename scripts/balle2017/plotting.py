"""The rate-distortion figure."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd

from balle2017.aggregation import curve_name
from balle2017.errors import InputError
from balle2017.files import atomic_path
from balle2017.published import LABELS as PUBLISHED_LABELS

mpl.use("agg")

import matplotlib.pyplot as plt

#: Colours that differ for colour-blind readers too (Okabe & Ito, 2008), and markers.
_STYLES = [
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#999999", "*"),
]

_LABELS = {
    "jpeg": "JPEG 4:2:0",
    "jpeg_plain": "JPEG 4:2:0, not optimized",
    "jpeg444": "JPEG 4:4:4",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_plain": "JPEG 2000, reversible",
    "webp": "WebP",
    "avif": "AVIF",
}

#: Published curves to draw, with their dashes: those of codecs that are not measured here.
_PUBLISHED = {"factorized_prior": "--", "hyperprior": ":", "bpg444": "-."}

_AXES = {"psnr_rgb": "PSNR, RGB (dB)", "ms_ssim_rgb_db": "MS-SSIM, RGB (dB)"}

# The same input gives the same bytes: no date, no random ids.
_DETERMINISTIC = {"svg.hashsalt": "balle2017", "svg.fonttype": "none"}


def _label(name: str) -> str:
    if not name.startswith("balle2017-"):
        return _LABELS.get(name, name)
    filters, seed = name.removeprefix("balle2017-f").split("-s")
    return f"Ballé 2017, {filters} filters" + ("" if seed == "1" else f", seed {seed}")


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
        max_bpp: right end of the rate axis; by default 1.15 times the largest
            rate of the model's own points.
        published: curves of others on the same test set, as `read_published` returns them.

    Raises:
        InputError: no row for that test set, or several test sets and none chosen.
    """
    available = sorted(rd["testset"].unique())
    if testset is None and len(available) == 1:
        testset = available[0]
    if testset not in available:
        raise InputError(
            f"choose a test set with --testset: {', '.join(available) or 'none there'}"
        )
    rd = rd[rd["testset"] == testset]
    names = rd.apply(curve_name, axis=1)
    order = sorted(names.unique(), key=lambda name: (not name.startswith("balle2017"), name))
    if max_bpp is None:
        ours = rd[rd["codec"] == "balle2017"]
        max_bpp = 1.15 * (ours if len(ours) else rd)["bpp"].max()
    if not (rd["bpp"] <= max_bpp).any():
        raise InputError(f"no point has a rate of {max_bpp} bits per pixel or less; raise max_bpp")
    metrics = [metric for metric in _AXES if rd[rd["bpp"] <= max_bpp][metric].notna().any()]
    with plt.rc_context(_DETERMINISTIC):
        figure, axes = plt.subplots(
            1, len(metrics), figsize=(5.2 * len(metrics), 4.4), squeeze=False, layout="constrained"
        )
        for axis, metric in zip(axes[0], metrics, strict=True):
            visible = rd[(rd["bpp"] <= max_bpp) & rd[metric].notna()]
            for name, (colour, marker) in zip(order, _STYLES * len(order), strict=False):
                curve = rd[(names == name) & rd[metric].notna()].sort_values("bpp")
                ours = name.startswith("balle2017")
                axis.plot(
                    curve["bpp"],
                    curve[metric],
                    color=colour,
                    marker=marker,
                    markersize=6 if ours else 4,
                    linewidth=2.2 if ours else 1.2,
                    zorder=3 if ours else 2,
                    label=_label(name),
                )
            if published is not None:
                for name, dashes in _PUBLISHED.items():
                    curve = published[published["curve"] == name].sort_values("bpp")
                    axis.plot(
                        curve["bpp"],
                        curve[metric],
                        color="#555555",
                        linestyle=dashes,
                        linewidth=1.2,
                        zorder=1,
                        label=PUBLISHED_LABELS[name],
                    )
            low, high = visible[metric].min(), visible[metric].max()
            margin = 0.06 * (high - low) or 1
            axis.set_xlim(0, max_bpp)
            axis.set_ylim(low - margin, high + margin)
            axis.set_xlabel("Rate (bits per pixel, from file sizes)")
            axis.set_ylabel(_AXES[metric])
            axis.grid(alpha=0.3)
        axes[0][0].legend(loc="lower right", frameon=True, framealpha=0.9)
        count = int(rd["n_images"].max())
        figure.suptitle(f"{testset}: mean of {count} images")
        for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
            with atomic_path(out / f"rd_curve{suffix}") as temporary:
                figure.savefig(temporary, dpi=160, metadata=metadata)
        plt.close(figure)
