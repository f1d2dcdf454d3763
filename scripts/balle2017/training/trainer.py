"""The state of one training run, and the steps that change it."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from balle2017.errors import DivergedError
from balle2017.model.files import assign_variables
from balle2017.model.initialization import kernel_shapes
from balle2017.model.loss import RateDistortion, compute_rate_distortion_loss
from balle2017.model.network import STRIDE, Balle2017FactorizedPrior
from balle2017.model.packing import rounded_weights
from balle2017.model.pixels import PIXEL_RANGE, to_uint8
from balle2017.model.tensors import save_tensors
from balle2017.training.callbacks import EarlyStopping
from balle2017.training.optimizer import Adam, LossScale
from balle2017.training.settings import TrainingSettings

# Steps between two updates of the running average of the weights.
_AVERAGE_EVERY = 10
# Steps between two looks at where the rounding grid lies; it moves slowly.
_OFFSET_EVERY = 100

# The high-rate optimum of loss = bpp + lambda * MSE for uniform quantization of an
# orthonormal transform: with distortion D = step**2 / 12 per coefficient, three to a
# pixel, dR/dD = -1 / (2 ln 2 D) = -lambda / 3, so step**2 = 18 / (ln 2 * lambda).
# The transforms see pixels divided by their range, so the latents' gain is that range / step.
_GAIN_PER_ROOT_LAMBDA = PIXEL_RANGE / math.sqrt(18 / math.log(2))


def initial_gain(settings: TrainingSettings) -> float:
    """Return the factor on the latents' scale at the start.

    A model that training starts from is rescaled to the one that suits lambda.
    """
    if settings.init_from is None:
        if settings.latent_gain is not None:
            return settings.latent_gain
        if settings.initialization == "random":
            return 1.0
    return _GAIN_PER_ROOT_LAMBDA * math.sqrt(settings.lambda_rd)


def learning_rate_at(settings: TrainingSettings, step: int) -> float:
    """Return the convolutions' learning rate for step number `step`, counted from 0."""
    rate = settings.learning_rate
    if settings.lr_schedule == "cosine":
        progress = step / settings.total_steps
        rate *= 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
    if step < settings.warmup_steps:
        rate *= (step + 1) / (settings.warmup_steps + 1)
    return rate


class Validation(NamedTuple):
    """What `Trainer.validate` finds.

    Attributes:
        result: means over the patches.
        gdn_shares: `GDN.signal_share` by layer.
        reconstructions: uint8 [keep, patch, patch, 3].
    """

    result: RateDistortion
    gdn_shares: dict[str, float]
    reconstructions: np.ndarray


class Trainer:
    """The state of one training run, and the steps that change it.

    Attributes:
        settings: what decides the result.
        step: optimizer steps taken so far.
        history: rows of history.csv, one for each epoch.
        sums: loss, bpp and mse, summed over the steps of the epoch so far, float64 [3].
        seconds: that the training took up to the last checkpoint; `run` adds them up.
        stopping: the best epoch so far, with its weights.
        network: the model that is trained, in the types of the precision policy.
        variables: its trained variables by name.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        policy: str,
        check_numerics: bool = False,
        compiled: bool = False,
    ):
        """Build model and optimizer; the initial weights follow TensorFlow's seed.

        Args:
            settings: what decides the result.
            policy: Keras precision policy.
            check_numerics: stop at the first NaN or infinity and name the tensor.
            compiled: compile the whole step with XLA, which is faster on a GPU; ignored if
                numerics are checked, because XLA leaves out the checks.
        """
        self.settings = settings
        self.step = 0
        self.history: list[dict] = []
        self.sums = np.zeros(3)  # loss, bpp, mse of the epoch so far
        self.seconds = 0.0
        self.stopping = EarlyStopping(settings.early_stopping_patience)
        self.network = Balle2017FactorizedPrior(
            settings.num_filters,
            settings.num_latents,
            policy,
            settings.initialization,
            initial_gain(settings),
            fused=True,
        )
        self.variables = self.network.named_variables()
        # Validation and export use float32 layers.
        self._float32 = Balle2017FactorizedPrior(settings.num_filters, settings.num_latents)
        self._float32_variables = self._float32.named_variables()
        self._average: dict[str, tf.Variable] = {}
        if settings.average_decay is not None:
            self._average = {
                name: tf.Variable(variable, trainable=False)
                for name, variable in self.variables.items()
            }
        # The rounding grid of the synthesis transform's latents, if they are rounded.
        self._offset: tf.Variable | None = None
        if settings.quantization == "mixed":
            self._offset = tf.Variable(tf.zeros(self.network.num_latents), trainable=False)
        self._loss_scale = LossScale() if policy == "mixed_float16" else None
        self._optimizer = Adam(self.variables)
        self._check_numerics = check_numerics
        # Without autograph: no statement depends on a tensor, and the search for such statements
        # takes longer than tracing.
        jit = True if compiled and not check_numerics else None
        self._train_step = tf.function(self._step, autograph=False, jit_compile=jit)
        self._average_step = tf.function(self._update_average, autograph=False)
        self._validation_step = tf.function(
            self._validate_batch, autograph=False, reduce_retracing=True
        )

    def _rate_factor(self, name: str) -> float:
        """Return a variable's share of the learning rate."""
        if name.startswith("prior/"):
            return self.settings.prior_lr_factor
        if name.endswith(("/beta", "/gamma")):
            return self.settings.gdn_lr_factor
        if name.endswith("/kernel") and self.settings.relative_lr:
            shapes = kernel_shapes(
                self.network.num_filters, self.network.num_latents, initial_gain(self.settings)
            )
            return shapes[name.removesuffix("/kernel")].scale / shapes["analysis/conv_0"].scale
        return 1.0

    def _watch(self, name: str, value: tf.Tensor) -> tf.Tensor:
        """Return the value; where numerics are checked, fail if it is not finite."""
        return tf.debugging.check_numerics(value, name) if self._check_numerics else value

    def _step(self, step: tf.Tensor, patches: tf.Tensor, rate: tf.Tensor) -> RateDistortion:
        """Take one optimizer step, which depends on the arguments and the state alone."""
        settings = self.settings
        side = settings.patch_size // STRIDE
        noise = tf.random.stateless_uniform(
            (settings.batch_size, side, side, self.network.num_latents),
            seed=tf.stack([tf.constant(settings.seed, tf.int64), step]),
            minval=-0.5,
            maxval=0.5,
        )
        scale = 1.0 if self._loss_scale is None else self._loss_scale.value
        with tf.GradientTape() as tape:
            mse, bits = self.network(patches, noise, self._offset, self._watch)
            result = compute_rate_distortion_loss(
                mse, bits, settings.patch_size**2, settings.lambda_rd
            )
            scaled = result.loss * scale
        gradients = tape.gradient(scaled, self.variables)
        if self._loss_scale is None:
            self._apply(gradients, step, rate)
            return result
        # Too large a scale shows as an infinite gradient: that step is skipped.
        gradients = {name: value / scale for name, value in gradients.items()}
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(value)) for value in gradients.values()]
        )
        self._loss_scale.update(finite)
        tf.cond(finite, lambda: self._apply(gradients, step, rate), lambda: None)
        return result

    def _apply(self, gradients: dict[str, tf.Tensor], step: tf.Tensor, rate: tf.Tensor) -> None:
        """Clip the gradients and change the weights."""
        settings = self.settings
        gradients = {
            name: self._watch(f"the gradient of {name}", value) for name, value in gradients.items()
        }
        if settings.clip_norm is not None:
            clipped, _ = tf.clip_by_global_norm(list(gradients.values()), settings.clip_norm)
            gradients = dict(zip(gradients, clipped, strict=True))
        rates = {name: rate * self._rate_factor(name) for name in self.variables}
        self._optimizer.apply(gradients, rates, step)

    def _update_average(self, decay: tf.Tensor) -> None:
        for name, average in self._average.items():
            average.assign_sub((1 - decay) * (average - self.variables[name]))

    def train_step(self, step: tf.Tensor, patches: tf.Tensor) -> RateDistortion:
        """Take step number `step` (int64 scalar) on uint8 patches [n, p, p, 3].

        Raises:
            DivergedError: a number is not finite.
        """
        number = int(step)
        rate = tf.constant(learning_rate_at(self.settings, number), tf.float32)
        if self._offset is not None and number % _OFFSET_EVERY == 0:
            self._offset.assign(self.network.prior.quantization_offset())
        try:
            result = self._train_step(step, patches, rate)
        except tf.errors.InvalidArgumentError as error:
            found = re.search(r"(\S.*) : Tensor had (.*) values", error.message)
            if not found:
                raise
            raise DivergedError(f"{found[1]} became {found[2]} at step {number}") from None
        result = RateDistortion(*(float(value) for value in result))
        if not math.isfinite(result.loss):
            raise DivergedError(f"the loss became {result.loss} at step {number}")
        average_decay = self.settings.average_decay
        if average_decay is not None and number % _AVERAGE_EVERY == _AVERAGE_EVERY - 1:
            # Early on the average covers few steps, so that it forgets the start.
            updates = number // _AVERAGE_EVERY
            decay = min(average_decay**_AVERAGE_EVERY, updates / (updates + 10))
            self._average_step(tf.constant(decay, tf.float32))
        self.sums += result
        self.step = number + 1
        return result

    def _validate_batch(
        self, patches: tf.Tensor, offset: tf.Tensor
    ) -> tuple[RateDistortion, tf.Tensor, dict[str, tf.Tensor]]:
        gdns = self._float32.gdn_inputs()
        shares: dict[str, tf.Tensor] = {}

        def watch(name: str, value: tf.Tensor) -> tf.Tensor:
            if name in gdns:
                shares[gdns[name].name] = gdns[name].signal_share(value)
            return value

        pixels = tf.cast(patches, tf.float32)
        reconstruction, bits = self._float32.quantized(pixels, offset, watch)
        mse = tf.reduce_mean(tf.math.squared_difference(pixels, reconstruction))
        shape = tf.shape(patches)
        result = compute_rate_distortion_loss(
            mse, bits, shape[1] * shape[2], self.settings.lambda_rd
        )
        return result, reconstruction, shares

    def validate(self, patches: np.ndarray, keep: int = 0) -> Validation:
        """Measure hard-quantized loss in float32, and reconstruct the first `keep` patches.

        Args:
            patches: uint8 [n, patch, patch, 3].
            keep: how many reconstructions to return.
        """
        self._load_float32(self.weights())
        size = self.settings.batch_size
        batches = [patches[start : start + size] for start in range(0, len(patches), size)]
        return self._measure(batches, keep)

    def test(self, pictures: Iterable[np.ndarray]) -> RateDistortion:
        """Measure the best weights on images of any size, uint8 [height, width, 3].

        Returns means over the images.
        """
        self.best_network()
        return self._measure((picture[None] for picture in pictures), keep=0).result

    def _measure(self, batches: Iterable[np.ndarray], keep: int) -> Validation:
        offset = tf.constant(self._float32.prior.quantization_offset())
        sums, kept, count = np.zeros(3), [], 0
        shares: defaultdict[str, float] = defaultdict(float)
        for batch in batches:
            result, reconstruction, batch_shares = self._validation_step(tf.constant(batch), offset)
            sums += np.array([float(value) for value in result]) * len(batch)
            for name, share in batch_shares.items():
                shares[name] += float(share) * len(batch)
            if keep > count:
                kept.append(to_uint8(reconstruction[: keep - count]).numpy())
            count += len(batch)
        images = np.concatenate(kept) if kept else np.empty((0,), np.uint8)
        means = {name: total / count for name, total in shares.items()}
        return Validation(RateDistortion(*(sums / count)), means, images)

    def _load_float32(self, weights: dict[str, np.ndarray]) -> None:
        for name, variable in self._float32_variables.items():
            variable.assign(weights[name])

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights to validate and export: the average, if there is one."""
        averaged = self._average if self.step >= _AVERAGE_EVERY else {}
        return {name: value.numpy() for name, value in (averaged or self.variables).items()}

    def assign_weights(self, weights: dict[str, np.ndarray], source: Path) -> None:
        """Start from other weights, which `source` holds.

        Raises:
            InputError: see `assign_variables`.
        """
        assign_variables(self.variables, weights, source)
        if self._average:
            assign_variables(self._average, weights, source)

    def _state(self) -> dict[str, tf.Variable]:
        """Return every variable that a step changes, by name."""
        parts = {"weights": self.variables, "optimizer": self._optimizer.variables}
        parts["average"] = self._average
        parts["rounding"] = {} if self._offset is None else {"offset": self._offset}
        parts["scale"] = self._loss_scale.variables if self._loss_scale else {}
        return {
            f"{part}/{name}": variable
            for part, variables in parts.items()
            for name, variable in variables.items()
        }

    def save(self, path: Path, fingerprint: dict) -> None:
        """Write the whole state, so that a run continues from it as if it had not stopped."""
        arrays = {name: variable.numpy() for name, variable in self._state().items()}
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
        """Load the state that `save` wrote to `path`, as `load_tensors` returns it.

        Raises:
            InputError: see `assign_variables`.
        """
        assign_variables(self._state(), arrays, path)
        self.sums = arrays["sums"].copy()
        self.step = description["step"]
        self.seconds = description["seconds"]
        self.history = description["history"]
        best = description["best_loss"]
        self.stopping.best_loss = math.inf if best is None else best
        self.stopping.best_epoch = description["best_epoch"]
        self.stopping.best_weights = {
            name.removeprefix("best/"): value
            for name, value in arrays.items()
            if name.startswith("best/")
        }

    def current_network(self) -> Balle2017FactorizedPrior:
        """Return a float32 model with the current weights, valid until the next call.

        They are rounded to what a model's file holds, like those of `best_network`.
        """
        return self._exported(self.weights())

    def best_network(self) -> Balle2017FactorizedPrior:
        """Return a float32 model with the weights of the best epoch, valid until the next call."""
        return self._exported(self.stopping.best_weights)

    def _exported(self, weights: dict[str, np.ndarray]) -> Balle2017FactorizedPrior:
        self._load_float32(rounded_weights(weights, self.network.num_filters))
        return self._float32
