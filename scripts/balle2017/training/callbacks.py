"""What happens at the end of an epoch, beside the validation."""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from balle2017.errors import InputError
from balle2017.files import atomic_path, read_map, write_json


class KeepLastNCheckpoints:
    """Keep the newest `keep` checkpoints of a folder."""

    PATTERN = "checkpoint-*.safetensors"

    def __init__(self, folder: Path, keep: int = 5):
        """Watch `folder`; nothing is deleted before `on_checkpoint`."""
        self._folder = Path(folder)
        self._keep = keep
        self.failure_path = self._folder / "diverged.json"

    def path(self, step: int) -> Path:
        """Return the file of the checkpoint after `step` steps."""
        return self._folder / f"checkpoint-{step:09d}.safetensors"

    def newest_first(self) -> list[Path]:
        """Return the checkpoints that are there, the newest first."""
        return sorted(self._folder.glob(self.PATTERN), reverse=True)

    def on_checkpoint(self) -> None:
        """Delete all but the newest ones."""
        for path in self.newest_first()[self._keep :]:
            path.unlink()

    def clear(self) -> None:
        """Delete all of them, and the record of a failure."""
        for path in self.newest_first():
            path.unlink()
        self.failure_path.unlink(missing_ok=True)

    def record_failure(self, message: str, fingerprint: dict) -> None:
        """Record why a run with this fingerprint cannot continue."""
        write_json(self.failure_path, {"message": message, "fingerprint": fingerprint})

    def failure(self) -> dict | None:
        """Return what `record_failure` wrote, if anything; a damaged record counts as none."""
        try:
            return read_map(
                self.failure_path, "note of a failure", {"message": str, "fingerprint": dict}
            )
        except InputError:
            return None


class EarlyStopping:
    """Watch the validation loss and remember the best weights.

    Attributes:
        best_loss: lowest validation loss so far, infinity before the first.
        best_epoch: its epoch, counted from 1.
        best_weights: the weights of that epoch, by name.
    """

    def __init__(self, patience: int):
        """Stop after `patience` epochs without a lower loss."""
        self._patience = patience
        self.best_loss = math.inf
        self.best_epoch = 0
        self.best_weights: dict[str, np.ndarray] = {}

    def on_epoch_end(self, epoch: int, loss: float, weights: dict[str, np.ndarray]) -> None:
        """Take note of an epoch's validation loss and weights."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best_weights = loss, epoch, weights

    def should_stop(self, epoch: int) -> bool:
        """Tell whether the loss has not fallen for `patience` epochs."""
        return epoch - self.best_epoch >= self._patience


class ImageLoggingCallback:
    """Save images with the original on the left and its reconstruction on the right."""

    def __init__(self, folder: Path, every: int, count: int):
        """Save `count` images to `folder` after every `every`-th epoch; 0: never."""
        self._folder = Path(folder)
        self._every = every
        self._count = count

    def is_due(self, epoch: int) -> bool:
        """Tell whether this epoch's reconstructions are to be saved."""
        return self._count > 0 and self._every > 0 and epoch % self._every == 0

    def on_epoch_end(
        self, epoch: int, originals: np.ndarray, reconstructions: np.ndarray
    ) -> list[np.ndarray]:
        """Write the first images as pairs, and return them; uint8 [n, height, width, 3] each."""
        originals, reconstructions = originals[: self._count], reconstructions[: self._count]
        pairs = [
            np.concatenate(pair, axis=1) for pair in zip(originals, reconstructions, strict=True)
        ]
        for index, pair in enumerate(pairs):
            with atomic_path(self._folder / f"epoch-{epoch:04d}-{index}.png") as temporary:
                Image.fromarray(pair).save(temporary)
        return pairs
