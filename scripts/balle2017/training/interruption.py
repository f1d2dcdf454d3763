"""Stopping in the middle, and going on from there."""

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np

from balle2017.errors import DamagedFileError, DivergedError, InputError
from balle2017.model.tensors import load_tensors
from balle2017.training.callbacks import KeepLastNCheckpoints
from balle2017.training.trainer import Trainer


def resume(
    trainer: Trainer,
    checkpoints: KeepLastNCheckpoints,
    fingerprint: dict,
    restart_stale: bool,
    log: Callable[[str], None],
) -> None:
    """Load the newest sound checkpoint, if there is one.

    If there is none, or if `restart_stale` discards those of other settings, all checkpoints are
    deleted. Otherwise old ones with more steps would later pass for the newest.

    Raises:
        OSError: a checkpoint cannot be read; none is deleted.
        InputError: it belongs to other settings and `restart_stale` is not set, or only `auto`
            means another precision on this machine.
        DivergedError: the same run has failed so before.
    """
    failure = checkpoints.failure()
    if failure and failure["fingerprint"] == fingerprint:
        raise DivergedError(
            f"{failure['message']} (known from the last attempt, see {checkpoints.failure_path})"
        )
    for path in checkpoints.newest_first():
        try:
            arrays, description = _read(path)
            other = description["fingerprint"]
            keys = sorted(
                key
                for key in fingerprint.keys() | other.keys()
                if fingerprint.get(key) != other.get(key)
            )
            if not keys:
                # Those of a model of another width are of other settings, and not damaged.
                _check_arrays(path, arrays, description, trainer)
                trainer.restore(path, arrays, description)
                log(f"resumed from step {trainer.step} ({path})")
                return
        except DamagedFileError as error:
            log(f"warning: {error}; using the checkpoint before it")
            continue
        if keys == ["precision_policy"] and trainer.settings.precision_policy == "auto":
            # Hours of work may hang on which machine a cluster gave to the job.
            before, now = (found["precision_policy"] for found in (other, fingerprint))
            raise InputError(
                f"{path} was trained in {before}, but precision_policy auto means {now} on this "
                f"machine; continue on one where it means {before}, or name the policy"
            )
        differences = ", ".join(f"{key} {other.get(key)} -> {fingerprint.get(key)}" for key in keys)
        if not restart_stale:
            raise InputError(
                f"{path} belongs to a run with other settings ({differences}); "
                "give another --save_dir to keep that model, or --restart_stale to start over"
            )
        log(f"discarding checkpoints of other settings ({differences})")
        break
    checkpoints.clear()


# The entries of the description that `Trainer.save` writes, and their types.
_ENTRIES: dict[str, tuple[type, ...]] = {
    "fingerprint": (dict,),
    "step": (int,),
    "seconds": (int, float),
    "history": (list,),
    "best_loss": (int, float, type(None)),
    "best_epoch": (int,),
}


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Return a checkpoint's arrays and description.

    Raises:
        DamagedFileError: it is damaged, or not what `Trainer.save` writes.
    """
    arrays, description, _ = load_tensors(path)
    entries = description if isinstance(description, dict) else {}
    wrong = [
        name
        for name, types in _ENTRIES.items()
        if name not in entries or not isinstance(entries[name], types)
    ]
    if not wrong and not _is_history(entries):
        wrong.append("history")
    _refuse(path, wrong)
    return arrays, description


def _check_arrays(
    path: Path, arrays: dict[str, np.ndarray], description: dict, trainer: Trainer
) -> None:
    """Check what `Trainer.restore` does not.

    Raises:
        DamagedFileError: the sums or the best weights are not those of this training.
    """
    wrong = []
    if "sums" not in arrays or arrays["sums"].shape != trainer.sums.shape:
        wrong.append("sums")
    shapes = {f"best/{name}": tuple(v.shape) for name, v in trainer.variables.items()}
    best = {name: array.shape for name, array in arrays.items() if name.startswith("best/")}
    if best != (shapes if description["best_epoch"] else {}):
        wrong.append("best")
    _refuse(path, wrong)


def _refuse(path: Path, wrong: list[str]) -> None:
    if wrong:
        raise DamagedFileError(f"{path} is not a training checkpoint: {wrong[0]} is not right")


def _is_history(entries: dict) -> bool:
    """Tell whether there is a row for each epoch, the best one among them."""
    rows = entries["history"]
    numbers = [row.get("epoch") if isinstance(row, dict) else None for row in rows]
    return numbers == list(range(1, len(rows) + 1)) and 0 <= entries["best_epoch"] <= len(rows)


class Termination:
    """Remember SIGTERM, which a cluster sends before the end of the time limit, and Ctrl-C.

    Attributes:
        requested: the signal's name, empty before it comes.
    """

    def __init__(self) -> None:
        """Listen from now on; a second Ctrl-C ends the process as usual."""
        self.requested = ""
        self._before = {
            number: signal.signal(number, self._request)
            for number in (signal.SIGTERM, signal.SIGINT)
        }

    def _request(self, number: int, _: object) -> None:
        name = signal.Signals(number).name
        if name == self.requested == "SIGINT":
            raise KeyboardInterrupt
        self.requested = name

    def close(self) -> None:
        """Restore the signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
