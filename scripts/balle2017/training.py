"""Train one model: exact to the bit, and resumable at any moment."""

import dataclasses
import hashlib
import importlib.metadata
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import tensorflow as tf

from balle2017 import runtime
from balle2017.callbacks import ImageLoggingCallback, KeepLastNCheckpoints
from balle2017.data import create_train_val_datasets
from balle2017.decibel import psnr_db
from balle2017.errors import DamagedFileError, InputError, Interrupted
from balle2017.files import sha256_file, write_json, write_table
from balle2017.imports import import_closure
from balle2017.model_io import save_model
from balle2017.settings import TrainingSettings
from balle2017.tensors import load_tensors
from balle2017.trainer import Trainer, learning_rate_at

HISTORY_COLUMNS = [
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "bpp",
    "mse",
    "psnr",
    "val_loss",
    "val_bpp",
    "val_mse",
    "val_psnr",
    "seconds",
]


@dataclass(frozen=True)
class RunOptions:
    """What does not change the result of a run.

    Attributes:
        save_dir: receives model/, history.csv, run.json and images/.
        checkpoint_dir: receives checkpoints while the run lasts.
        resume: go on from the newest sound checkpoint.
        restart_stale: discard checkpoints of other settings instead of refusing them.
        keep_checkpoints: leave the checkpoints in place after the export.
        check_numerics: stop at the first NaN or infinity and name the operation.
        log_images_every: epochs between saved reconstructions, 0: never.
        num_images_to_log: how many pictures each time.
    """

    save_dir: Path
    checkpoint_dir: Path
    resume: bool = True
    restart_stale: bool = False
    keep_checkpoints: bool = True
    check_numerics: bool = False
    log_images_every: int = 5
    num_images_to_log: int = 4


def code_sha256() -> str:
    """Return the hash of the package files that decide a training's result."""
    digest = hashlib.sha256()
    for path in import_closure(Path(__file__)):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _resume(
    trainer: Trainer,
    checkpoints: KeepLastNCheckpoints,
    fingerprint: dict,
    restart_stale: bool,
    log: Callable[[str], None],
) -> None:
    """Load the newest sound checkpoint, if there is one.

    Raises:
        InputError: it belongs to other settings and `restart_stale` is not set.
    """
    for path in checkpoints.newest_first():
        try:
            arrays, description, _ = load_tensors(path)
        except DamagedFileError as error:
            log(f"warning: {error}; using the checkpoint before it")
            continue
        other = description["fingerprint"]
        keys = sorted(
            key
            for key in fingerprint.keys() | other.keys()
            if fingerprint.get(key) != other.get(key)
        )
        if not keys:
            trainer.restore(path, arrays, description)
            log(f"resumed from step {trainer.step} ({path})")
            return
        differences = ", ".join(f"{key} {other.get(key)} -> {fingerprint.get(key)}" for key in keys)
        if not restart_stale:
            raise InputError(
                f"{path} belongs to a run with other settings ({differences}); "
                "delete it, or give another --checkpoint_dir"
            )
        log(f"discarding checkpoints of other settings ({differences})")
        break
    checkpoints.clear()


class _Termination:
    """Remember SIGTERM, which a cluster sends before the end of the time limit."""

    def __init__(self) -> None:
        self.requested = False
        signal.signal(signal.SIGTERM, self._request)

    def _request(self, *_: object) -> None:
        self.requested = True


def train(
    settings: TrainingSettings,
    train_list: Path,
    val_list: Path,
    options: RunOptions,
    log: Callable[[str], None] = print,
) -> dict:
    """Train a model and export it; return the content of run.json.

    Args:
        settings: what decides the result.
        train_list: training images, as `split_images` writes them.
        val_list: validation images.
        options: where files go, and other things that change no weight.
        log: called with one line of text at a time.

    Raises:
        InputError: unusable settings or images, or the folder is in use.
        WorkError: the loss became NaN or infinite.
        Interrupted: SIGTERM; a checkpoint was written.
    """
    device = runtime.configure(settings.threads, settings.device, settings.seed)
    policy = runtime.resolve_policy(settings.precision_policy, device)
    log(f"device: {device}, {settings.threads} thread(s), precision {policy}")
    options.checkpoint_dir.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(options.checkpoint_dir / "lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(f"another process is training in {options.checkpoint_dir}") from None
    with lock:
        run = _Run(settings, train_list, val_list, options, device, policy, log)
        return run.finish()


class _Run:
    """One call of `train`: the loop over epochs, and the files it leaves."""

    def __init__(
        self,
        settings: TrainingSettings,
        train_list: Path,
        val_list: Path,
        options: RunOptions,
        device: str,
        policy: str,
        log: Callable[[str], None],
    ):
        self.settings, self.options, self.log = settings, options, log
        self.device, self.policy = device, policy
        for path in (train_list, val_list):
            if not Path(path).is_file():
                raise InputError(f"image list {path} does not exist")
        self.fingerprint = dataclasses.asdict(settings) | {
            "precision_policy": policy,
            "train_list_sha256": sha256_file(train_list),
            "val_list_sha256": sha256_file(val_list),
            "code_sha256": code_sha256(),
        }
        self.termination = _Termination()
        if options.check_numerics:
            tf.debugging.enable_check_numerics()
        self.trainer = Trainer(settings, policy)
        self.checkpoints = KeepLastNCheckpoints(options.checkpoint_dir)
        self.images = ImageLoggingCallback(
            options.save_dir / "images", options.log_images_every, options.num_images_to_log
        )
        if options.resume:
            _resume(self.trainer, self.checkpoints, self.fingerprint, options.restart_stale, log)
        else:
            # The newest is the one with the highest step: old ones would win.
            self.checkpoints.clear()
        self.dataset, self.val_patches = create_train_val_datasets(
            train_list, val_list, settings, self.trainer.step
        )

    def finish(self) -> dict:
        """Train to the end and export."""
        trainer, settings = self.trainer, self.settings
        epoch = trainer.step // settings.steps_per_epoch
        start = time.monotonic()
        if not (trainer.history and trainer.stopping.should_stop(epoch)):
            for step, patches in self.dataset:
                trainer.train_step(step, patches)
                if trainer.step % settings.steps_per_epoch == 0:
                    trainer.seconds += time.monotonic() - start
                    start = time.monotonic()
                    if self._end_epoch(trainer.step // settings.steps_per_epoch):
                        break
                if self.termination.requested:
                    trainer.seconds += time.monotonic() - start
                    self._checkpoint()
                    raise Interrupted(
                        f"SIGTERM; checkpoint at step {trainer.step} of {settings.total_steps}"
                    )
        return self._export()

    def _checkpoint(self) -> None:
        self.trainer.save(self.checkpoints.path(self.trainer.step), self.fingerprint)
        self.checkpoints.on_checkpoint()

    def _end_epoch(self, epoch: int) -> bool:
        """Validate, note the results, checkpoint; return whether to stop early."""
        trainer, settings = self.trainer, self.settings
        keep = self.options.num_images_to_log if self.images.is_due(epoch) else 0
        val, reconstructions = trainer.validate(self.val_patches, keep)
        loss, bpp, mse = trainer.sums / settings.steps_per_epoch
        trainer.history.append(
            {
                "epoch": epoch,
                "step": trainer.step,
                "learning_rate": learning_rate_at(settings, trainer.step - 1),
                "loss": float(loss),
                "bpp": float(bpp),
                "mse": float(mse),
                "psnr": psnr_db(mse),
                "val_loss": float(val.loss),
                "val_bpp": float(val.bpp),
                "val_mse": float(val.mse),
                "val_psnr": psnr_db(val.mse),
                "seconds": round(trainer.seconds, 1),
            }
        )
        trainer.sums = np.zeros(3)
        trainer.stopping.on_epoch_end(epoch, float(val.loss), trainer.weights())
        self._checkpoint()
        write_table(self.options.save_dir / "history.csv", HISTORY_COLUMNS, trainer.history)
        if keep:
            self.images.on_epoch_end(
                epoch, self.val_patches[: len(reconstructions)], reconstructions
            )
        self._log_epoch(epoch)
        stop = trainer.stopping.should_stop(epoch)
        if stop:
            best = trainer.stopping.best_epoch
            self.log(f"stopping early: no lower validation loss since epoch {best}")
        return stop

    def _log_epoch(self, epoch: int) -> None:
        row, settings = self.trainer.history[-1], self.settings
        rate = self.trainer.step / max(self.trainer.seconds, 1e-9)
        left = (settings.total_steps - self.trainer.step) / rate
        self.log(
            f"epoch {epoch}/{settings.epochs}  loss {row['loss']:.4f}  bpp {row['bpp']:.4f}  "
            f"psnr {row['psnr']:.2f}  val_loss {row['val_loss']:.4f}  "
            f"val_bpp {row['val_bpp']:.4f}  val_psnr {row['val_psnr']:.2f}  "
            f"{rate:.1f} steps/s  {left / 60:.1f} min left"
        )

    def _export(self) -> dict:
        """Write the best model and what made it; clear the checkpoints if asked to."""
        trainer, options = self.trainer, self.options
        best = trainer.history[trainer.stopping.best_epoch - 1]
        config = {"lambda_rd": self.settings.lambda_rd, "seed": self.settings.seed}
        digest = save_model(options.save_dir / "model", trainer.best_network(), config)
        write_table(options.save_dir / "history.csv", HISTORY_COLUMNS, trainer.history)
        record = {
            "settings": dataclasses.asdict(self.settings),
            "precision_policy": self.policy,
            "fingerprint": self.fingerprint,
            "model_sha256": digest,
            "steps": trainer.step,
            "best": best,
            "seconds": round(trainer.seconds, 1),
            "device": self.device,
            "cpu": runtime.cpu_model()[0],
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("tensorflow", "tensorflow-compression", "numpy")
            },
        }
        write_json(options.save_dir / "run.json", record)
        self.log(
            f"model of epoch {best['epoch']}: validation loss {best['val_loss']:.4f}, "
            f"{best['val_bpp']:.4f} bpp, {best['val_psnr']:.2f} dB; {options.save_dir / 'model'}"
        )
        if not options.keep_checkpoints:
            self.checkpoints.clear()
        return record
