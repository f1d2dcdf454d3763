"""What happens to one photograph inside the codec: the figures of docs/tour.md."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.lib.stride_tricks import sliding_window_view

from balle2017.results.metrics import psnr
from balle2017.results.style import drawing, save_figure

_ROWS, _COLUMNS = 3, 5
# Quantiles that the greys of a channel span, so that a few large values do not hide the rest.
_SPAN = (0.01, 0.99)
# Places on each side of the part that is shown enlarged.
_WINDOW = 9
#: Channels whose histograms are shown: ranks by what they cost.
_RANKS = (0, 9, 49)


@dataclass(frozen=True)
class Inside:
    """A photograph inside the codec.

    Attributes:
        lambda_rd: of the model.
        pixels: uint8 [height, width, 3].
        decoded: the same, from the file.
        stride: side of a position of the latents, in pixels.
        latents: integers, int16 [h, w, channels].
        static_size: bytes of the file with the static prior.
        adaptive_size: bytes of the file with the adaptive coder.
        static_bits: what each position costs with the static prior, float64 [h, w].
        adaptive_bits: the same with the adaptive coder.
        channel_bits: what each channel costs with the static prior, float64 [channels].
        value_bits: channel and integers -> what each costs with the static prior, in bits.
    """

    lambda_rd: float
    pixels: np.ndarray
    decoded: np.ndarray
    stride: int
    latents: np.ndarray
    static_size: int
    adaptive_size: int
    static_bits: np.ndarray
    adaptive_bits: np.ndarray
    channel_bits: np.ndarray
    value_bits: Callable[[int, np.ndarray], np.ndarray]

    @property
    def ranked(self) -> np.ndarray:
        """Channels by what they cost, the most expensive first."""
        return np.argsort(-self.channel_bits, kind="stable")

    @property
    def point(self) -> str:
        """Rate and distortion of the smaller file."""
        bpp = 8 * self.adaptive_size / self.pixels[:, :, 0].size
        return f"{bpp:.3f} bpp, {psnr(self.pixels, self.decoded):.2f} dB"


def _picture(axis: Axes, pixels: np.ndarray, title: str) -> None:
    axis.imshow(pixels, interpolation="nearest")
    axis.set_title(title, fontsize=9)
    axis.axis("off")


@drawing
def draw_latents(inside: Inside) -> Figure:
    """Draw the photograph and the channels of its latents that cost most."""
    ranks = np.arange(_ROWS * _COLUMNS).reshape(_ROWS, _COLUMNS).tolist()
    mosaic: list[list[Any]] = [["photograph"] * _ROWS + row for row in ranks]
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplot_mosaic(mosaic)
    _picture(axes["photograph"], inside.pixels, "the photograph")
    for rank in range(_ROWS * _COLUMNS):
        axis = axes[rank]
        axis.axis("off")
        if rank >= len(inside.ranked):
            continue  # a model with few latents
        channel = inside.ranked[rank]
        values = inside.latents[:, :, channel]
        low, high = np.quantile(values, _SPAN)
        axis.imshow(values, cmap="gray", vmin=low, vmax=max(high, low + 1))
        share = inside.channel_bits[channel] / inside.channel_bits.sum()
        axis.set_title(f"{values.min()} to {values.max()}, {share:.1%} of the bits", fontsize=7)
    return figure


@drawing
def draw_prior(inside: Inside) -> Figure:
    """Draw how often each integer occurs in some channels, and its probability by the prior."""
    figure = Figure(figsize=(11, 3), layout="constrained")
    ranks = [rank for rank in _RANKS if rank < len(inside.ranked)]
    axes = figure.subplots(1, len(ranks), squeeze=False)[0]
    for axis, rank in zip(axes, ranks, strict=True):
        channel = inside.ranked[rank]
        values = inside.latents[:, :, channel].ravel()
        numbers = np.arange(values.min(), values.max() + 1)
        counts = np.bincount(values - values.min()) / len(values)
        axis.bar(numbers, counts, width=1, color="#56B4E9", label="in this photograph")
        prior = 2.0 ** -inside.value_bits(int(channel), numbers)
        axis.step(
            numbers, prior, where="mid", color="#D55E00", label="expected by the static prior"
        )
        bits = inside.channel_bits[channel] / len(values)
        axis.set_title(f"channel of rank {rank + 1} by cost: {bits:.2f} bits per value", fontsize=9)
        axis.set_xlabel("latent (integer)")
    axes[0].set_ylabel("relative frequency")
    axes[0].legend(fontsize=8, frameon=False)
    return figure


@drawing
def draw_bits(inside: Inside) -> Figure:
    """Draw where in the photograph the bits go, with the static prior and the adaptive coder."""
    maps = {
        f"static prior: {inside.static_size:,} bytes": inside.static_bits / inside.stride**2,
        f"adaptive coder: {inside.adaptive_size:,} bytes": inside.adaptive_bits / inside.stride**2,
    }
    highest = max(bits.max() for bits in maps.values())
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    axes = figure.subplots(1, 3)
    _picture(axes[0], inside.pixels, "the photograph")
    for axis, (title, bits) in zip(axes[1:], maps.items(), strict=True):
        image = axis.imshow(bits, cmap="viridis", vmin=0, vmax=highest)
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    figure.colorbar(image, ax=axes[1:], label="bits per pixel", shrink=0.85)
    return figure


def _dearest(inside: Inside) -> tuple[slice, slice]:
    """Return the part of the photograph, a window of `_WINDOW` positions, that costs most bits."""
    bits, stride = inside.adaptive_bits, inside.stride
    rows, columns = (min(_WINDOW, side) for side in bits.shape)
    sums = sliding_window_view(bits, (rows, columns)).sum((2, 3))
    top, left = (int(place) for place in np.unravel_index(sums.argmax(), sums.shape))
    return (
        slice(stride * top, stride * (top + rows)),
        slice(stride * left, stride * (left + columns)),
    )


@drawing
def draw_lambdas(insides: list[Inside]) -> Figure:
    """Draw a part of the photograph, decoded with models of several lambdas."""
    pixels = insides[0].pixels
    crop = _dearest(insides[-1])
    figure = Figure(figsize=(11, 3.3), layout="constrained")
    axes = figure.subplots(1, 1 + len(insides))
    _picture(axes[0], pixels[crop], "original")
    for axis, inside in zip(axes[1:], insides, strict=True):
        _picture(axis, inside.decoded[crop], f"lambda {inside.lambda_rd:g}\n{inside.point}")
    return figure


def summary(insides: list[Inside], shown: Inside) -> str:
    """Return the numbers of docs/tour.md, a line each."""
    height, width, _ = shown.pixels.shape
    rows, columns, channels = shown.latents.shape
    half = np.cumsum(shown.channel_bits[shown.ranked]) < shown.channel_bits.sum() / 2
    lines = [
        f"{width}x{height} pixels become {columns}x{rows} positions of {channels} integers",
        f"{(shown.latents == 0).mean():.1%} of the integers are 0",
        f"{half.sum() + 1} of {channels} channels take half of the bits",
        f"static prior {shown.static_size:,} bytes, adaptive coder {shown.adaptive_size:,} bytes",
    ]
    lines += [f"lambda {inside.lambda_rd:g}: {inside.point}" for inside in insides]
    return "".join(f"{line}\n" for line in lines)


@drawing
def draw_tour(insides: list[Inside], shown: Inside, out: Path) -> list[Path]:
    """Draw all figures of docs/tour.md; return their PNG files.

    Args:
        insides: the photograph in models of several lambdas.
        shown: the one of them to look into.
        out: folder for the figures.
    """
    figures = {
        "latents": draw_latents(shown),
        "prior": draw_prior(shown),
        "bits": draw_bits(shown),
        "lambdas": draw_lambdas(insides),
    }
    for name, figure in figures.items():
        save_figure(figure, out / name, (".png",))
    return [out / f"{name}.png" for name in figures]
