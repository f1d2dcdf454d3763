"""The fully factorized prior over the latents (paper, section 3.1)."""

import functools
import math

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc


class FactorizedPrior(tf.Module):
    """One density for each channel: `tfc.NoisyDeepFactorized`, float32.

    Attributes:
        distribution: the density of latents with uniform noise, or rounded.
    """

    def __init__(self, channels: int):
        """Start from tfc's broad density."""
        super().__init__(name="prior")
        self.channels = channels
        self.distribution = tfc.NoisyDeepFactorized(batch_shape=(channels,))

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return the trained variables under tfc's names: matrix_0, bias_0, ..."""
        variables = self.distribution.base.variables
        return {variable.name.split("/")[-1].split(":")[0]: variable for variable in variables}

    def _logits(self, values: tf.Tensor) -> tf.Tensor:
        """Return the logit of each channel's cumulative distribution, [channels, 1, n]."""
        variables = self.named_variables()
        layers = sum(name.startswith("matrix_") for name in variables)
        logits = values
        for layer in range(layers):
            matrix = tf.nn.softplus(variables[f"matrix_{layer}"])
            logits = tf.linalg.matmul(matrix, logits) + variables[f"bias_{layer}"]
            if layer < layers - 1:
                logits += tf.math.tanh(variables[f"factor_{layer}"]) * tf.math.tanh(logits)
        return logits

    def bits(self, latents: tf.Tensor) -> tf.Tensor:
        """Return the information content of each picture's latents.

        -log2 of what `distribution.prob` gives, in a form with one evaluation of
        the cumulative distribution on each side of a value, where tfc makes two.

        Args:
            latents: float32 [n, h, w, channels], with noise or rounded.

        Returns:
            Bits, float32 [n].
        """
        shape = tf.shape(latents)
        values = tf.transpose(tf.reshape(latents, (1, -1, self.channels)), (2, 0, 1))
        both = self._logits(tf.concat([values + 0.5, values - 0.5], -1))
        upper, lower = tf.split(both, 2, -1)
        # With s the logistic function, s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)): no
        # difference of nearly equal numbers in either tail.
        nats = tf.nn.softplus(-upper) + tf.nn.softplus(lower)
        nats -= tf.math.log(-tf.math.expm1(lower - upper))
        nats = tf.reshape(tf.reduce_sum(nats, (0, 1)), (shape[0], -1))
        return tf.reduce_sum(nats, 1) / math.log(2)

    def coding_tables(self, range_coder_precision: int = 16) -> dict[str, np.ndarray]:
        """Build the range coder's tables from the present densities.

        They must be stored with the weights and never rebuilt: small numerical
        differences between machines would ruin every stream.

        Returns:
            Arguments of `tfc.ContinuousBatchedEntropyModel`: cdf int32, cdf_offset
            int32, quantization_offset float32 [channels].
        """

        @tf.function  # ten times faster than building them eagerly
        def build() -> dict[str, tf.Tensor]:
            model = tfc.ContinuousBatchedEntropyModel(
                self.distribution,
                coding_rank=3,
                compression=True,
                stateless=True,
                range_coder_precision=range_coder_precision,
                bottleneck_dtype=tf.float32,
            )
            return {
                "cdf": model.cdf,
                "cdf_offset": model.cdf_offset,
                "quantization_offset": model.quantization_offset,
            }

        return {name: value.numpy() for name, value in build().items()}

    @functools.cached_property
    def _offset(self) -> tf.types.experimental.GenericFunction:
        return tf.function(
            lambda: tf.broadcast_to(tfc.quantization_offset(self.distribution), [self.channels])
        )

    def quantization_offset(self) -> np.ndarray:
        """Return where each channel's rounding grid lies, float32 [channels].

        The median of each density, as tfc chooses it.
        """
        return self._offset().numpy()
