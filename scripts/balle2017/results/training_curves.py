"""The training curves: loss, rate and PSNR against training steps, for every model."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from balle2017.errors import InputError
from balle2017.results.style import add_legend, drawing, line_style, save_figure
from balle2017.results.tables import check_numbers, read_frame

_COLUMNS = ["step", "loss", "bpp", "val_loss", "val_bpp", "val_psnr"]
_PANELS = {
    "loss": "Loss / last validation loss",
    "bpp": "Rate (bits per pixel)",
    "psnr": "PSNR (dB)",
}


def read_histories(paths: list[Path]) -> dict[str, pd.DataFrame]:
    """Return every model's history.csv under the name of its folder.

    Where two folders have one name, the folders that they lie in are added, as far as needed.

    Raises:
        InputError: a file is not a history of a training, or its validation loss is no number
            above 0.
    """
    places = [path.resolve().parent.parts[1:] for path in paths]
    length = 1
    while len({place[-length:] for place in places}) < len(set(places)):
        length += 1
    histories = {}
    for path, place in zip(paths, places, strict=True):
        history = read_frame(path, _COLUMNS, "history of a training")
        if history.empty:
            raise InputError(f"{path} has no epoch")
        check_numbers(path, history, ["val_loss"])
        # The unit of all losses of the model.
        check_numbers(path, history.tail(1), ["val_loss"], filled=["val_loss"])
        histories["/".join(place[-length:])] = history
    return histories


def _largest(histories: dict[str, pd.DataFrame]) -> float:
    """Return the largest validation loss relative to the last of its model."""
    return max(
        (history["val_loss"] / history["val_loss"].iloc[-1]).max() for history in histories.values()
    )


@drawing
def plot_training(histories: dict[str, pd.DataFrame], out: Path) -> None:
    """Draw validation (thick) and training (thin); write training_curves.png and .svg.

    Args:
        histories: the content of history.csv by model.
        out: folder for the figure.
    """
    figure = Figure(figsize=(13, 4), layout="constrained")
    axes = figure.subplots(1, len(_PANELS))
    named: list[Line2D] = []
    for axis, (quantity, label) in zip(axes, _PANELS.items(), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            colour, marker = line_style(index)
            # Losses of different lambdas differ too much for one axis.
            unit = history["val_loss"].iloc[-1] if quantity == "loss" else 1
            named += axis.plot(
                history["step"],
                history[f"val_{quantity}"] / unit,
                color=colour,
                marker=marker,
                markersize=4,
                label=name,
            )
            if quantity != "psnr":
                axis.plot(
                    history["step"],
                    history[quantity] / unit,
                    color=colour,
                    linewidth=0.8,
                    alpha=0.6,
                )
        if quantity == "loss":
            # The first steps of training would flatten all that follows.
            axis.set_ylim(top=1.05 * _largest(histories))
        axis.set_xlabel("Training step")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    # The panels have the same ones.
    add_legend(figure, named[: len(histories)])
    figure.suptitle(
        "Thick: validation, rounded latents. Thin: training patches, quantized for training."
    )
    save_figure(figure, out / "training_curves")
