"""Comparison sheets: the images of a model beside those of other codecs at the same size."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.ndimage import uniform_filter

from balle2017.data.images import list_images, read_image
from balle2017.data.store import pixel_hash
from balle2017.errors import CodecLimitError, InputError
from balle2017.files import atomic_path
from balle2017.results.aggregation import collect
from balle2017.results.conventional import CODECS, ImageCodec
from balle2017.results.metrics import luma, psnr
from balle2017.results.style import curve_label, drawing
from balle2017.results.tables import IDENTITY, curve_names, read_frame

#: Codecs beside the model, at the quality whose file is nearest in size.
OTHERS = ("jpeg", "webp")

_CROP = 192
_GRID = 16


@dataclass(frozen=True)
class Panel:
    """One image of a sheet.

    Attributes:
        title: the codec's name.
        pixels: uint8 [height, width, 3].
        size: bytes of the file; none for the original.
        problem: why the codec cannot code this image, which is white then.
    """

    title: str
    pixels: np.ndarray
    size: int | None = None
    problem: str = ""

    def caption(self, original: np.ndarray) -> str:
        """Return name, size, rate and PSNR, or why the image is missing."""
        if self.problem:
            return f"{self.title}\n{self.problem}"
        if self.size is None:
            return self.title
        rate = 8 * self.size / original[:, :, 0].size
        quality = psnr(original, self.pixels)
        return f"{self.title}\n{self.size:,} bytes, {rate:.3f} bpp, {quality:.2f} dB"


def code_at_size(codec: ImageCodec, pixels: np.ndarray, size: int) -> bytes:
    """Return the file at the whole quality whose size is nearest to `size` bytes.

    Sizes are taken to rise with quality.

    Raises:
        CodecLimitError: the codec cannot hold the image.
    """
    low, high = (round(bound) for bound in codec.bounds)
    while high - low > 1:
        middle = (low + high) // 2
        if len(codec.encode(pixels, middle)) < size:
            low = middle
        else:
            high = middle
    files = [codec.encode(pixels, quality) for quality in (low, high)]
    return min(files, key=lambda data: abs(len(data) - size))


def choose_crop(pixels: np.ndarray) -> tuple[slice, slice]:
    """Return the 192x192 window with the greatest variance of luma, on a grid of 16 pixels.

    Only the original decides, so that no codec is favoured. Smaller images are taken whole.
    """
    height, width, _ = pixels.shape
    rows, columns = min(_CROP, height), min(_CROP, width)
    grey = luma(pixels)
    mean = uniform_filter(grey, (rows, columns), mode="constant")
    variance = uniform_filter(grey * grey, (rows, columns), mode="constant") - mean**2
    # The filter's value at a window's centre belongs to the window that starts half before.
    tops = np.arange(0, height - rows + 1, _GRID)
    lefts = np.arange(0, width - columns + 1, _GRID)
    values = variance[np.ix_(tops + rows // 2, lefts + columns // 2)]
    top, left = np.unravel_index(values.argmax(), values.shape)
    return (
        slice(int(tops[top]), int(tops[top]) + rows),
        slice(int(lefts[left]), int(lefts[left]) + columns),
    )


def _panel(name: str, original: np.ndarray, size: int) -> Panel:
    """Return the image, coded by one of `CODECS` in about `size` bytes."""
    codec, title = CODECS[name], curve_label(name)
    try:
        data = code_at_size(codec, original, size)
        return Panel(title, codec.decode(data), len(data))
    except CodecLimitError as error:
        return Panel(title, np.full_like(original, 255), problem=f"not coded, {error}")


def choose_images(bd: pd.DataFrame, curve: str, available: list[str]) -> list[str]:
    """Return the images on which a model saves most, a median amount and least against JPEG.

    Args:
        bd: bd_rate_per_image.csv.
        curve: the model's name there.
        available: names of images, at least one. If the table ranks none of them, the first
            three are taken.
    """
    ours = bd[(bd["codec"] == curve) & (bd["metric"] == "psnr_rgb") & bd["image"].isin(available)]
    ranked = ours.dropna(subset=["bd_rate_percent"]).sort_values("bd_rate_percent")["image"]
    names = list(ranked) or sorted(available)[:3]
    return list(dict.fromkeys([names[0], names[len(names) // 2], names[-1]]))


class Comparison(NamedTuple):
    """One image, coded by different codecs at about the same size.

    Attributes:
        image: file name.
        original: uint8 [height, width, 3].
        panels: the model's, then those of `OTHERS`.
    """

    image: str
    original: np.ndarray
    panels: list[Panel]


def _find_curve(rd: pd.DataFrame, evaluation: Path) -> str:
    """Return the name of the curve in rd.csv that has an evaluation's point."""
    point = collect([evaluation / "summary.json"]).iloc[0]
    if pd.isna(point["filters"]):
        raise InputError(f"{evaluation} is not the evaluation of a model")
    found = curve_names(rd)[(rd[IDENTITY] == point[IDENTITY]).all(axis=1)]
    if found.empty:
        raise InputError(f"the results have no row for the evaluation {evaluation}")
    return found.iloc[0]


def compare(
    images: Path, evaluation: Path, rd: pd.DataFrame, bd: pd.DataFrame
) -> Iterator[Comparison]:
    """Yield the images to show of one model, or none if it could code none.

    Args:
        images: folder of the original images.
        evaluation: folder of the model's evaluation, with reconstructions/.
        rd: rd.csv.
        bd: bd_rate_per_image.csv.

    Raises:
        InputError: rd.csv lacks the evaluation, it is not one of a model, or an image of it is
            missing or has other pixels now.
    """
    curve = _find_curve(rd, evaluation)
    table = read_frame(evaluation / "per_image.csv", ["image", "bytes"], "table of images")
    originals = {path.name: path for path in list_images(images)}
    sizes = dict(zip(table["image"], table["bytes"], strict=True))
    # Tables of version 0.1.0 have no hashes of the originals.
    hashes = (
        dict(zip(table["image"], table["pixel_hash"], strict=True)) if "pixel_hash" in table else {}
    )
    if missing := sorted(set(sizes) - set(originals)):
        raise InputError(f"{images} lacks {', '.join(missing)}")
    sizes = {name: int(size) for name, size in sizes.items() if not pd.isna(size)}
    for name in choose_images(bd, curve, list(sizes)) if sizes else []:
        original = read_image(originals[name])
        size = sizes[name]
        stem = Path(name).stem
        decoded = read_image(evaluation / "reconstructions" / f"{stem}.png")
        digest = pixel_hash(original)
        if original.shape != decoded.shape or hashes.get(name, digest) != digest:
            raise InputError(
                f"{originals[name]} is not the image that was evaluated in {evaluation}: its size "
                "or pixels differ; evaluate again"
            )
        panels = [Panel(curve_label(curve), decoded, size)]
        panels += [_panel(other, original, size) for other in OTHERS]
        yield Comparison(name, original, panels)


@drawing
def draw_sheet(comparison: Comparison, path: Path) -> None:
    """Write a sheet: whole images above, the crop of `choose_crop` below."""
    original = comparison.original
    panels = [Panel("original", original), *comparison.panels]
    crop = choose_crop(original)
    figure = Figure(figsize=(4.2 * len(panels), 7.6), layout="constrained")
    axes = figure.subplots(2, len(panels))
    for column, panel in enumerate(panels):
        for axis, part in zip(axes[:, column], (panel.pixels, panel.pixels[crop]), strict=True):
            axis.imshow(part, interpolation="nearest")
            axis.axis("off")
        axes[0][column].set_title(panel.caption(original), fontsize=10)
    rows, columns = crop
    corner = (columns.start - 0.5, rows.start - 0.5)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    axes[0][0].add_patch(Rectangle(corner, *size, fill=False, edgecolor="white"))
    figure.suptitle(comparison.image)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, metadata={"Software": None})
