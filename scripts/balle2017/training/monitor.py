"""What a person sees of a run: a bar in a terminal, a line for each epoch, TensorBoard."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from balle2017.decibel import psnr_db
from balle2017.model.loss import RateDistortion
from balle2017.progress import LOG_INTERVAL

_LONGEST_INTERVAL = 600.0  # seconds
_SCALARS = ("loss", "bpp", "mse", "psnr")


class Monitor:
    """Show the progress of one run and keep it in `train.log` and `tensorboard/`."""

    def __init__(self, folder: Path, log: Callable[[str], None]):
        """Write to `folder`; lines of text also go to `log`."""
        folder.mkdir(parents=True, exist_ok=True)
        self._log, self._folder = log, folder
        self._writer: tf.summary.SummaryWriter | None = None
        self._bar: tqdm | None = None
        self._step = self._steps = self._done = 0
        self._started = self._last = time.monotonic()
        self._interval = LOG_INTERVAL

    def line(self, text: str) -> None:
        """Show and keep a line of text."""
        self._last = time.monotonic()
        with open(self._folder / "train.log", "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
        if self._bar is None:
            self._log(text)
        else:
            with self._bar.external_write_mode():
                self._log(text)

    def start(self, step: int, steps: int) -> None:
        """Open TensorBoard's file, and count from `step` on: a bar if there is a terminal."""
        self._step, self._steps, self._started = step, steps, time.monotonic()
        # Not before: it starts TensorFlow, whose threads must be set first.
        self._writer = tf.summary.create_file_writer(str(self._folder / "tensorboard"))
        if sys.stderr.isatty():
            self._bar = tqdm(total=steps, initial=step, unit="step", leave=False, smoothing=0.05)

    def on_step(self, result: RateDistortion) -> None:
        """Show a step's result, with steps per second and the time that is left.

        Without a terminal, only after some time without a line, and at growing intervals.
        """
        self._step, self._done = self._step + 1, self._done + 1
        now = time.monotonic()
        if self._bar is None and now - self._last < self._interval:
            return
        text = f"loss {result.loss:.3f}, {result.bpp:.3f} bpp, {psnr_db(result.mse):.2f} dB"
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()
            return
        rate = self._done / (now - self._started)
        left = (self._steps - self._step) / rate
        self.line(
            f"step {self._step}/{self._steps}  {text}  {rate:.1f} steps/s  {left / 60:.1f} min left"
        )
        self._interval = min(2 * self._interval, _LONGEST_INTERVAL)

    def on_epoch_end(self, row: dict, pairs: list[np.ndarray]) -> None:
        """Keep an epoch's results for TensorBoard.

        Args:
            row: of the history.
            pairs: originals beside reconstructions, uint8 [height, width, 3].
        """
        assert self._writer is not None, "not started"
        with self._writer.as_default(row["step"]):
            for name in _SCALARS:
                tf.summary.scalar(f"train/{name}", row[name])
                tf.summary.scalar(f"validation/{name}", row[f"val_{name}"])
            for name, value in row.items():
                if name == "learning_rate" or "gdn_" in name:
                    tf.summary.scalar(name, value)
            for index, pair in enumerate(pairs):
                tf.summary.image(f"reconstruction/{index}", pair[None])
        self._writer.flush()

    def close(self) -> None:
        """Close the file for TensorBoard, and remove the bar."""
        if self._writer is not None:
            self._writer.close()
        if self._bar is not None:
            self._bar.close()
