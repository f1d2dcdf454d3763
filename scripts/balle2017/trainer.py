"""The state of one training run, and the steps that change it."""

import math
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.callbacks import EarlyStopping
from balle2017.errors import WorkError
from balle2017.losses import RateDistortion, compute_rate_distortion_loss
from balle2017.model import STRIDE, Balle2017FactorizedPrior
from balle2017.model_io import assign_variables
from balle2017.optimizer import Adam
from balle2017.settings import TrainingSettings
from balle2017.tensors import save_tensors

#: Gradients of float16 layers are computed from a loss this many times larger,
#: so that small ones do not vanish.
FLOAT16_LOSS_SCALE = 1024.0


def learning_rate_at(settings: TrainingSettings, step: int) -> float:
    """Return the convolutions' learning rate for step number `step`, counted from 0."""
    rate = settings.learning_rate
    if settings.lr_schedule == "cosine":
        progress = step / settings.total_steps
        rate *= 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
    if step < settings.warmup_steps:
        rate *= (step + 1) / (settings.warmup_steps + 1)
    return rate


class Trainer:
    """The state of one training run, and the steps that change it."""

    def __init__(self, settings: TrainingSettings, policy: str):
        """Build model and optimizers; the initial weights follow TensorFlow's seed."""
        self.settings = settings
        self.step = 0
        self.history: list[dict] = []
        self.sums = np.zeros(3)  # loss, bpp, mse of the epoch so far
        self.seconds = 0.0
        self.stopping = EarlyStopping(settings.early_stopping_patience)
        self.network = Balle2017FactorizedPrior(
            settings.num_filters, policy, settings.latent_gain, fused=True
        )
        self.variables = self.network.named_variables()
        # Validation and export use float32 layers with the same weights.
        self._float32 = self.network
        if policy != "float32":
            self._float32 = Balle2017FactorizedPrior(settings.num_filters)
        self._loss_scale = FLOAT16_LOSS_SCALE if policy == "mixed_float16" else 1.0
        self._optimizer = Adam(self.variables)
        self._train_step = tf.function(self._step)
        self._validation_step = tf.function(self._validate_batch, reduce_retracing=True)

    def _rate_factor(self, name: str) -> float:
        """Return a variable's learning rate relative to that of the kernels.

        GDN stores the square roots of its parameters: what is pushed to zero
        stays there, so it learns more slowly than the rest.
        """
        if name.startswith("prior/"):
            return self.settings.prior_lr_factor
        return self.settings.gdn_lr_factor if name.endswith(("/beta", "/gamma")) else 1.0

    def _step(self, step: tf.Tensor, patches: tf.Tensor, rate: tf.Tensor) -> RateDistortion:
        """Take one optimizer step; every argument decides the result, nothing else does."""
        settings = self.settings
        side = settings.patch_size // STRIDE
        noise = tf.random.stateless_uniform(
            (settings.batch_size, side, side, settings.num_filters),
            seed=tf.stack([tf.constant(settings.seed, tf.int64), step]),
            minval=-0.5,
            maxval=0.5,
        )
        pixels = tf.cast(patches, tf.float32)
        with tf.GradientTape() as tape:
            reconstruction, bits = self.network(pixels, noise)
            result = compute_rate_distortion_loss(pixels, reconstruction, bits, settings.lambda_rd)
            scaled = result.loss * self._loss_scale
        gradients = tape.gradient(scaled, self.variables)
        gradients = {name: value / self._loss_scale for name, value in gradients.items()}
        if settings.clip_norm is not None:
            clipped, _ = tf.clip_by_global_norm(list(gradients.values()), settings.clip_norm)
            gradients = dict(zip(gradients, clipped, strict=True))
        rates = {name: rate * self._rate_factor(name) for name in self.variables}
        self._optimizer.apply(gradients, rates, step)
        return result

    def train_step(self, step: tf.Tensor, patches: tf.Tensor) -> RateDistortion:
        """Take step number `step` (int64 scalar) on uint8 patches [n, p, p, 3]."""
        rate = tf.constant(learning_rate_at(self.settings, int(step)), tf.float32)
        result = RateDistortion(*(float(value) for value in self._train_step(step, patches, rate)))
        if not math.isfinite(result.loss):
            raise WorkError(
                f"the loss became {result.loss} at step {int(step)}; the last good checkpoint is "
                "kept; lower learning_rate or set clip_norm"
            )
        self.sums += result
        self.step = int(step) + 1
        return result

    def _validate_batch(self, patches: tf.Tensor, offset: tf.Tensor):
        pixels = tf.cast(patches, tf.float32)
        reconstruction, bits = self._float32.quantized(pixels, offset)
        return compute_rate_distortion_loss(
            pixels, reconstruction, bits, self.settings.lambda_rd
        ), reconstruction

    def _update_float32(self) -> None:
        if self._float32 is not self.network:
            for name, variable in self._float32.named_variables().items():
                variable.assign(self.variables[name])

    def validate(self, patches: np.ndarray, keep: int = 0) -> tuple[RateDistortion, np.ndarray]:
        """Measure hard-quantized loss in float32, and reconstruct the first `keep` patches.

        Args:
            patches: uint8 [n, patch, patch, 3].
            keep: how many reconstructions to return.

        Returns:
            Means over the patches, and uint8 [keep, patch, patch, 3].
        """
        self._update_float32()
        offset = tf.constant(self.network.prior.quantization_offset())
        sums, kept = np.zeros(3), []
        for start in range(0, len(patches), self.settings.batch_size):
            batch = patches[start : start + self.settings.batch_size]
            result, reconstruction = self._validation_step(tf.constant(batch), offset)
            sums += np.array([float(value) for value in result]) * len(batch)
            wanted = max(0, keep - start)
            if wanted:
                pixels = tf.round(tf.clip_by_value(reconstruction[:wanted], 0, 255))
                kept.append(tf.cast(pixels, tf.uint8).numpy())
        images = np.concatenate(kept) if kept else np.empty((0,), np.uint8)
        return RateDistortion(*(sums / len(patches))), images

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the trained variables."""
        return {name: variable.numpy() for name, variable in self.variables.items()}

    def save(self, path: Path, fingerprint: dict) -> None:
        """Write the whole state, so that a run loaded from it cannot be told apart."""
        arrays = {f"weights/{name}": value for name, value in self.weights().items()}
        arrays |= {
            f"optimizer/{name}": value.numpy() for name, value in self._optimizer.variables.items()
        }
        arrays |= {f"best/{name}": value for name, value in self.stopping.best_weights.items()}
        arrays["sums"] = self.sums
        best = self.stopping.best_loss
        description = {
            "fingerprint": fingerprint,
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "best_loss": best if math.isfinite(best) else None,
            "best_epoch": self.stopping.best_epoch,
        }
        save_tensors(path, arrays, description)

    def restore(self, path: Path, arrays: dict[str, np.ndarray], description: dict) -> None:
        """Take over the state that `save` wrote."""

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(prefix): value
                for name, value in arrays.items()
                if name.startswith(prefix)
            }

        assign_variables(self.variables, part("weights/"), path)
        assign_variables(self._optimizer.variables, part("optimizer/"), path)
        self.sums = arrays["sums"].copy()
        self.step = description["step"]
        self.seconds = description["seconds"]
        self.history = description["history"]
        best = description["best_loss"]
        self.stopping.best_loss = math.inf if best is None else best
        self.stopping.best_epoch = description["best_epoch"]
        self.stopping.best_weights = part("best/")

    def best_network(self) -> Balle2017FactorizedPrior:
        """Return a float32 model with the weights of the best epoch."""
        network = Balle2017FactorizedPrior(self.settings.num_filters)
        for name, variable in network.named_variables().items():
            variable.assign(self.stopping.best_weights[name])
        return network
