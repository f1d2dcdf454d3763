"""Shared by all figures: colours, names of codecs, and settings for reproducible files."""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from balle2017.files import atomic_path
from balle2017.results.tables import is_model, refined_and_adaptive, widths_and_seed

P = ParamSpec("P")
T = TypeVar("T")

#: Colours that colour-blind readers can tell apart (Okabe & Ito, 2008, then Tol), and markers.
STYLES = [
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#56B4E9", "P"),
    ("#000000", "X"),
    ("#882255", "*"),
    ("#8B5A2B", "<"),
    ("#332288", ">"),
    ("#44AA99", "p"),
    ("#999999", "h"),
]

AXES = {"psnr_rgb": "PSNR, RGB (dB)", "ms_ssim_rgb_db": "MS-SSIM, RGB (dB)"}

_LABELS = {
    "jpeg": "JPEG 4:2:0",
    "jpeg_plain": "JPEG 4:2:0, not optimized",
    "jpeg444": "JPEG 4:4:4",
    "jpeg2000": "JPEG 2000",
    "jpeg2000_plain": "JPEG 2000, reversible",
    "webp": "WebP",
    "avif": "AVIF",
    "jpegxl": "JPEG XL",
}

# The same input gives the same bytes: no date, no random ids. Publishers want fonts of type 42
# in a PDF, because their text can be searched and edited.
_SETTINGS: dict[Any, Any] = {
    # Figures show names of files and test sets; a dollar sign in one does not begin a formula.
    "text.parse_math": False,
    **{"svg.hashsalt": "balle2017", "svg.fonttype": "none", "pdf.fonttype": 42},
}
_WITHOUT_DATE = {
    **{".png": {"Software": None}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
}


_LEGEND_COLUMNS = 4


def drawing(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function that makes or writes a figure use our settings of matplotlib.

    They hold only inside the function. Importing this module sets neither them nor a backend.
    """

    @functools.wraps(function)
    def draw(*args: P.args, **kwargs: P.kwargs) -> T:
        with mpl.rc_context(_SETTINGS):
            return function(*args, **kwargs)

    return draw


def line_style(index: int) -> tuple[str, str]:
    """Return colour and marker of the line with this number. The first 144 all differ."""
    colour, _ = STYLES[index % len(STYLES)]
    _, marker = STYLES[(index + index // len(STYLES)) % len(STYLES)]
    return colour, marker


def curve_label(name: str, seeds: int = 1) -> str:
    """Return the label of a curve of rd.csv, or of the mean over several seeds, in a legend."""
    if not is_model(name):
        return _LABELS.get(name, name)
    widths, seed = widths_and_seed(name)
    label = f"Ballé 2017, {' and '.join(map(str, widths))} filters"
    refined, adaptive = refined_and_adaptive(name)
    label += ", refined" * refined + ", adaptive coder" * adaptive
    if seeds > 1:
        return f"{label}, {seeds} seeds"
    return label if seed in (None, 1) else f"{label}, seed {seed}"


def curve_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return colour and marker of each curve, those of models first."""
    order = sorted(set(names), key=lambda name: (not is_model(name), name))
    return {name: line_style(index) for index, name in enumerate(order)}


def add_legend(figure: Figure, lines: Iterable[Line2D], above: bool = False) -> None:
    """Put a legend of some lines below or above all panels, in as many columns as fit.

    The panels keep their height, and the figure grows by the height of the legend.
    """
    handles = list(lines)
    # Given, because matplotlib by itself leaves out what begins with an underscore.
    labels = [str(line.get_label()) for line in handles]
    width, height = figure.get_size_inches()
    for columns in range(min(_LEGEND_COLUMNS, len(labels)), 0, -1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside upper center" if above else "outside lower center",
            ncols=columns,
            frameon=False,
        )
        size = legend.get_window_extent()
        if size.width <= width * figure.dpi or columns == 1:
            break
        legend.remove()
    figure.set_size_inches(width, height + size.height / figure.dpi)


@drawing
def save_figure(figure: Figure, path: Path, kinds: Iterable[str] = (".png", ".svg")) -> None:
    """Write `path`.png and the other kinds, atomically."""
    for suffix in kinds:
        with atomic_path(path.with_name(path.name + suffix)) as temporary:
            figure.savefig(temporary, dpi=160, metadata=_WITHOUT_DATE[suffix])
