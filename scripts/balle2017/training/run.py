"""Train one model: exact to the bit, and resumable at any moment."""

import contextlib
import dataclasses
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.data.store import ImageStore, pixel_hash
from balle2017.decibel import psnr_db
from balle2017.errors import DivergedError, InputError, Interrupted, WorkError
from balle2017.files import read_json, read_table, write_json, write_table
from balle2017.model import runtime
from balle2017.model.adaptation import Adaptation
from balle2017.model.files import TrainedModel, load_model, save_adaptation, save_model
from balle2017.model.find import nearest_model
from balle2017.model.fitting import FEWEST_PICTURES, adapt_model, some_of
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.names import static_sha256
from balle2017.training import finished
from balle2017.training.callbacks import ImageLoggingCallback, KeepLastNCheckpoints
from balle2017.training.claims import claimed_gpu
from balle2017.training.input import create_train_val_datasets
from balle2017.training.interruption import Termination, resume
from balle2017.training.monitor import Monitor
from balle2017.training.provenance import (
    code_sha256,
    data_record,
    images_sha256,
    machine_record,
    versions,
)
from balle2017.training.settings import Pictures, RunOptions, TrainingSettings
from balle2017.training.start import starting_weights
from balle2017.training.trainer import Trainer, learning_rate_at

GDN_COLUMNS = ["gdn_0", "gdn_1", "igdn_0", "igdn_1"]
#: A GDN whose normalization follows the signal by less than this share is practically linear.
DEAD_SHARE = 0.01
#: Fewer patches than these, or those of one image, are a poor measure of the validation loss.
_FEW_PATCHES = 5

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
    *GDN_COLUMNS,
    "seconds",
]


def train(
    settings: TrainingSettings,
    train_list: Path,
    val_list: Path,
    options: RunOptions,
    log: Callable[[str], None] = print,
) -> dict:
    """Train a model and export it; return the content of run.json.

    The caller holds `options.checkpoint_dir` (`claims.claimed_folder`), so that no two
    processes train in one folder.

    Args:
        settings: what decides the result.
        train_list: training images, as `split_images` writes them.
        val_list: validation images.
        options: where files go, and what is looked at on the way.
        log: called with one line of text at a time.

    Raises:
        InputError: unusable settings or images.
        DivergedError: a number became NaN or infinite.
        Interrupted: SIGTERM or SIGINT; a checkpoint was written.
        WorkError: the model cannot be exported, see `save_model` and `adapt_model`.
    """
    monitor = Monitor(options.save_dir, log)
    with (
        claimed_gpu(settings.device, monitor.line),
        contextlib.closing(monitor),
        contextlib.closing(Termination()) as termination,
    ):
        device = runtime.configure(settings.threads, settings.device, settings.seed)
        policy = runtime.resolve_policy(settings.precision_policy, device)
        monitor.line(f"device: {device}, {settings.threads} thread(s), precision {policy}")
        start = _starting_model(settings)
        if start is not None and settings.num_latents is None:
            settings = dataclasses.replace(settings, num_latents=start.network.num_latents)
        for path in (train_list, val_list):
            if not Path(path).is_file():
                raise InputError(f"image list {path} does not exist")
        if options.test_pictures is not None:
            _check_test_pictures(options.test_pictures, train_list, val_list)
        fingerprint = _fingerprint(settings, policy, start, train_list, val_list, options)
        record = _finished_before(options, fingerprint)
        if record is not None:
            monitor.line(
                "trained before with these settings, code and images; the result is in "
                f"{options.save_dir / 'model'} (--no-resume trains again, and saves "
                "reconstructions)"
            )
            return record
        data = data_record(train_list, val_list)
        run = _Run(settings, options, device, policy, fingerprint, monitor, termination)
        run.begin(start)
        run.epochs(train_list, val_list)
        return run.export(train_list, data)


def _check_test_pictures(pictures: Pictures, *lists: Path) -> None:
    """Check before the training that all can be decoded and none is in one of the lists."""
    hashes = {pixel_hash(pixels) for pixels in pictures}
    for path in lists:
        for row in read_table(path):
            if row.get("pixel_hash") in hashes:
                raise InputError(
                    f"{row['name']} in {path} is also a test image in {pictures.folder}; give "
                    "split.py the test images (--test_images), which keeps them out of its lists"
                )


def _starting_model(settings: TrainingSettings) -> TrainedModel | None:
    """Return the model that training starts from, if there is one."""
    if settings.init_from is None:
        return None
    wanted = settings.lambda_rd, settings.num_filters, settings.num_latents
    return load_model(nearest_model(Path(settings.init_from), *wanted))


def _fingerprint(
    settings: TrainingSettings,
    policy: str,
    start: TrainedModel | None,
    train_list: Path,
    val_list: Path,
    options: RunOptions,
) -> dict:
    """Return everything that decides the result: a checkpoint of another run is never used."""
    fingerprint = dataclasses.asdict(settings) | {
        "precision_policy": policy,
        "code_sha256": code_sha256(Path(__file__)),
        "versions": versions(),
        # The checks keep TensorFlow from merging operations: other rounding.
        "check_numerics": options.check_numerics,
        "train_images_sha256": images_sha256(train_list),
        "val_images_sha256": images_sha256(val_list),
    }
    if start is not None:
        # What counts is the model, not where it lies.
        fingerprint["init_from"] = start.config["model_sha256"]
    return fingerprint


def _kept(options: RunOptions) -> Path:
    return options.checkpoint_dir / "finished"


def _finished_before(options: RunOptions, fingerprint: dict) -> dict | None:
    """Restore the result of an equal training, and return its record; see `finished`."""
    # The fingerprint does not cover the test images.
    if not options.resume or options.test_pictures is not None:
        return None
    record = finished.restore(_kept(options), options.save_dir, fingerprint)
    if record is None:
        return None
    # Another training may have left snapshots since. Those that are no longer asked for may stay.
    kept = record.get("snapshots", {})
    wanted = _snapshots(options)
    if wanted != {epoch: kept.get(epoch, "") for epoch in wanted}:
        return None
    if KeepLastNCheckpoints(options.checkpoint_dir).newest_first():
        # A training that is kept leaves no checkpoints, so these are of another one since, and so
        # are its pictures.
        _remove_pictures(options.save_dir)
    return record


def _remove_pictures(folder: Path) -> None:
    """Delete the reconstructions and the history for TensorBoard of a run."""
    for pattern in ("images/epoch-*-*.png", "tensorboard/events.out.tfevents.*"):
        for path in folder.glob(pattern):
            path.unlink()


def _snapshots(options: RunOptions) -> dict[str, str | None]:
    """Return the hash of the model of each epoch that is exported; None where none is there.

    It leaves out the adaptation, which `adapt.py` may have given to a snapshot since.
    """
    found: dict[str, str | None] = {}
    for epoch in options.export_epochs:
        path = options.save_dir / _snapshot(epoch) / "config.json"
        found[str(epoch)] = static_sha256(read_json(path)) if path.is_file() else None
    return found


def _snapshot(epoch: int) -> Path:
    return Path("snapshots", f"epoch-{epoch:06d}")


class _Run:
    """The loop over epochs, and the files it leaves: `begin`, `epochs`, `export`."""

    def __init__(
        self,
        settings: TrainingSettings,
        options: RunOptions,
        device: str,
        policy: str,
        fingerprint: dict,
        monitor: Monitor,
        termination: Termination,
    ):
        self.settings, self.options = settings, options
        self.device, self.policy, self.fingerprint = device, policy, fingerprint
        self.monitor, self.termination = monitor, termination
        self.trainer = Trainer(settings, policy, options.check_numerics, device != "CPU")
        self.checkpoints = KeepLastNCheckpoints(options.checkpoint_dir)
        self.images = ImageLoggingCallback(
            options.save_dir / "images", options.log_images_every, options.num_images_to_log
        )
        self.val_patches, self.val_count = np.empty(0), 0
        self.adaptation: Adaptation | None = None
        self.clock = time.monotonic()

    def begin(self, start: TrainedModel | None) -> None:
        """Continue from the newest checkpoint, or start from a model's or random weights."""
        if start is not None:
            self._start_from(start)
        if self.options.resume:
            resume(
                self.trainer,
                self.checkpoints,
                self.fingerprint,
                self.options.restart_stale,
                self.monitor.line,
            )
        else:
            # The newest is the one with the highest step: old ones would pass for it.
            self.checkpoints.clear()
        if self.trainer.step == 0:
            self._remove_leftovers()

    def _start_from(self, model: TrainedModel) -> None:
        """Take over the weights of a trained model."""
        network, lambda_rd = self.trainer.network, self.settings.lambda_rd
        try:
            weights = starting_weights(model, lambda_rd, network.num_filters, network.num_latents)
            self.trainer.assign_weights(weights, model.folder)
            # The model may be a stranger's: better fail now than after the training.
            network.prior.check_quantiles()
        except (InputError, WorkError) as error:
            raise InputError(f"init_from is {model.folder}: {error}") from None
        if (model.config["lambda_rd"], model.network.num_latents) == (
            lambda_rd,
            network.num_latents,
        ):
            # It does not suit other scales or other channels.
            self.adaptation = model.adaptation
        self.monitor.line(
            f"starting from {model.folder}, trained for lambda {model.config['lambda_rd']:g}"
        )

    def _remove_leftovers(self) -> None:
        """Delete what an earlier run left in the folder and this one may not overwrite."""
        folder = self.options.save_dir
        for snapshot in folder.glob("snapshots/epoch-*/model.safetensors"):
            shutil.rmtree(snapshot.parent)
        _remove_pictures(folder)

    def epochs(self, train_list: Path, val_list: Path) -> None:
        """Train to the last epoch, or until validation no longer improves."""
        trainer, settings = self.trainer, self.settings
        dataset, self.val_patches = create_train_val_datasets(
            train_list, val_list, settings, trainer.step
        )
        self.val_count = len(ImageStore(val_list))
        if self.device != "CPU":
            dataset = dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))
        if trainer.history and trainer.stopping.should_stop(len(trainer.history)):
            return
        there = _snapshots(self.options)
        if passed := [e for e in there if int(e) <= len(trainer.history) and there[e] is None]:
            self.monitor.line(
                f"warning: no model of epoch {', '.join(passed)} is exported (export_epochs), "
                "because training has passed it already; --no-resume trains again"
            )
        if beyond := [e for e in self.options.export_epochs if e > settings.epochs]:
            self.monitor.line(
                f"warning: export_epochs names epoch {', '.join(map(str, beyond))}, and training "
                f"has {settings.epochs}"
            )
        if settings.warmup_steps >= settings.total_steps:
            self.monitor.line(
                f"warning: the learning rate rises over {settings.warmup_steps} steps "
                f"(warmup_steps), but the training has only {settings.total_steps}"
            )
        self.monitor.start(trainer.step, settings.total_steps)
        if trainer.step == 0:
            self._log_start()
        for step, patches in dataset:
            self._step(step, patches)
            epoch, rest = divmod(trainer.step, settings.steps_per_epoch)
            if rest == 0 and self._end_epoch(epoch):
                return
            if self.termination.requested:
                self._checkpoint()
                raise Interrupted(
                    f"{self.termination.requested}; wrote a checkpoint at step {trainer.step} of "
                    f"{settings.total_steps}; run the same command again to continue"
                )

    def _log_start(self) -> None:
        """Warn if there is little to validate on; log how good the starting model is."""
        patches, images = len(self.val_patches), self.val_count
        if patches < _FEW_PATCHES or images == 1:
            self.monitor.line(
                f"warning: validation has only {patches} patch(es) of {images} image(s), and "
                "decides which epoch's weights are kept"
            )
        if self.settings.init_from is not None:
            val = self.trainer.validate(self.val_patches).result
            self.monitor.line(
                f"start  val_loss {val.loss:.4f}  val_bpp {val.bpp:.4f}  "
                f"val_psnr {psnr_db(val.mse):.2f}"
            )

    def _step(self, step: tf.Tensor, patches: tf.Tensor) -> None:
        try:
            self.monitor.on_step(self.trainer.train_step(step, patches))
        except WorkError as error:
            # This includes a prior whose median can no longer be found.
            raise self._diverged(str(error)) from None

    def _diverged(self, what: str) -> DivergedError:
        """Record the failure, so that the next attempt does not repeat it."""
        kept = "the last good checkpoint is kept; " if self.checkpoints.newest_first() else ""
        message = f"{what}; {kept}lower learning_rate or set clip_norm"
        self.checkpoints.record_failure(message, self.fingerprint)
        return DivergedError(message)

    def _checkpoint(self) -> None:
        now = time.monotonic()
        self.trainer.seconds += now - self.clock
        self.clock = now
        self.trainer.save(self.checkpoints.path(self.trainer.step), self.fingerprint)
        self.checkpoints.on_checkpoint()

    def _end_epoch(self, epoch: int) -> bool:
        """Validate, record the results, write a checkpoint; return whether to stop early."""
        trainer, settings = self.trainer, self.settings
        keep = self.options.num_images_to_log if self.images.is_due(epoch) else 0
        try:
            validation = trainer.validate(self.val_patches, keep)
        except WorkError as error:
            raise self._diverged(f"{error} at step {trainer.step}") from None
        loss, bpp, mse = trainer.sums / settings.steps_per_epoch
        val = validation.result
        if not math.isfinite(val.loss):
            raise self._diverged(f"the validation loss became {val.loss} at step {trainer.step}")
        row = {
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
            **validation.gdn_shares,
            "seconds": round(trainer.seconds + time.monotonic() - self.clock, 1),
        }
        trainer.history.append(row)
        trainer.sums = np.zeros(3)
        trainer.stopping.on_epoch_end(epoch, float(val.loss), trainer.weights())
        if epoch in self.options.export_epochs:
            # Before the checkpoint, so that a run that is killed here exports it again.
            self._save_model(_snapshot(epoch), trainer.current_network())
        self._checkpoint()
        write_table(self.options.save_dir / "history.csv", HISTORY_COLUMNS, trainer.history)
        pairs = []
        if keep:
            pairs = self.images.on_epoch_end(
                epoch, self.val_patches[:keep], validation.reconstructions
            )
        self.monitor.on_epoch_end(row, pairs)
        self._log_epoch(row)
        stop = trainer.stopping.should_stop(epoch)
        if stop:
            best = trainer.stopping.best_epoch
            self.monitor.line(f"stopping early: no lower validation loss since epoch {best}")
        return stop

    def _log_epoch(self, row: dict) -> None:
        settings = self.settings
        rate = row["step"] / max(row["seconds"], 1e-9)
        left = (settings.total_steps - row["step"]) / rate
        self.monitor.line(
            f"epoch {row['epoch']}/{settings.epochs}  loss {row['loss']:.4f}  "
            f"bpp {row['bpp']:.4f}  psnr {row['psnr']:.2f}  val_loss {row['val_loss']:.4f}  "
            f"val_bpp {row['val_bpp']:.4f}  val_psnr {row['val_psnr']:.2f}  "
            f"{rate:.1f} steps/s  {left / 60:.1f} min left"
        )
        dead = [name for name in GDN_COLUMNS if row[name] < DEAD_SHARE]
        if dead:
            self.monitor.line(
                f"warning: almost no normalization is left in {', '.join(dead)}; "
                "lower gdn_lr_factor"
            )

    def _test(self) -> dict:
        """Return the result of the best weights on the test images, or on the validation."""
        tested = self.options.test_pictures
        source = "validation" if tested is None else str(tested.folder)
        result = self.trainer.test(self.val_patches if tested is None else tested)
        return {
            "images": source,
            "count": self.val_count if tested is None else len(tested),
            "loss": float(result.loss),
            "bpp": float(result.bpp),
            "mse": float(result.mse),
            "psnr": psnr_db(result.mse),
        }

    def _save_model(self, folder: Path, network: Balle2017FactorizedPrior) -> str:
        settings = self.settings
        return save_model(
            self.options.save_dir / folder, network, settings.lambda_rd, settings.seed
        )

    def _adapt(self, store: ImageStore) -> str:
        """Give the exported model its adaptive entropy coder; return the model's SHA-256."""
        folder = self.options.save_dir / "model"
        if self.adaptation is not None and len(store) < FEWEST_PICTURES:
            self.monitor.line(
                f"{len(store)} images are too few to fit the entropy coder; that of the starting "
                "model is kept"
            )
            return save_adaptation(folder, self.adaptation)
        return adapt_model(
            folder, (store[index] for index in some_of(len(store), self.settings.seed))
        )

    def export(self, train_list: Path, data: dict[str, str]) -> dict:
        """Write the best model and its provenance; clear the checkpoints if asked to.

        Args:
            train_list: of the images that the entropy coder is fitted to.
            data: hashes of what the training read.
        """
        trainer, options = self.trainer, self.options
        best = trainer.history[trainer.stopping.best_epoch - 1]
        test = self._test()
        self._save_model(Path("model"), trainer.best_network())
        digest = self._adapt(ImageStore(train_list))
        write_table(options.save_dir / "history.csv", HISTORY_COLUMNS, trainer.history)
        record = {
            "settings": dataclasses.asdict(self.settings),
            "precision_policy": self.policy,
            "fingerprint": self.fingerprint,
            "data": data,
            "model_sha256": digest,
            "snapshots": _snapshots(options),
            "steps": trainer.step,
            "best": best,
            "final": trainer.history[-1],
            "test": test,
            "seconds": round(trainer.seconds, 1),
            **machine_record(self.device),
        }
        write_json(options.save_dir / "run.json", record)
        images = test["images"] if options.test_pictures else "the validation set"
        self.monitor.line(
            f"model of epoch {best['epoch']}: loss {test['loss']:.4f}, {test['bpp']:.4f} bpp, "
            f"{test['psnr']:.2f} dB on {test['count']} image(s) of {images}; "
            f"{options.save_dir / 'model'}"
        )
        if not options.keep_checkpoints:
            finished.keep(options.save_dir, _kept(options))
            self.checkpoints.clear()
        return record
