"""The fully factorized prior over the latents (paper, section 3)."""

import functools
import math

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.model.rate import PARAMETERS, nats

# Bits of the range coder's probabilities.
_RANGE_CODER_PRECISION = 16


class FactorizedPrior(tf.Module):
    """One density for each channel: `tfc.NoisyDeepFactorized`, float32.

    Attributes:
        distribution: the density of latents with uniform noise, or rounded.
    """

    def __init__(self, channels: int, fused: bool = False):
        """Start from tfc's broad density.

        Args:
            channels: of the latents.
            fused: compile elementwise passes, which pays where shapes do not change.
        """
        super().__init__(name="prior")
        self.channels = channels
        self._fused = fused
        self.distribution = tfc.NoisyDeepFactorized(batch_shape=(channels,))

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return the trained variables under tfc's names: matrix_0, bias_0, ..."""
        variables = self.distribution.base.variables
        return {variable.name.split("/")[-1].split(":")[0]: variable for variable in variables}

    def bits(self, latents: tf.Tensor) -> tf.Tensor:
        """Return the information content of each picture's latents.

        -log2 of what `distribution.prob` gives, in a form with one evaluation of
        the cumulative distribution on each side of a value, where tfc makes two.

        Args:
            latents: float32 [n, h, w, channels], with noise or rounded.

        Returns:
            Bits, float32 [n].
        """
        values = tf.transpose(tf.reshape(latents, (-1, self.channels)))
        positions = tf.reduce_sum(nats(values, self._parameters(), self._fused), 0)
        per_picture = tf.reshape(positions, (tf.shape(latents)[0], -1))
        return tf.reduce_sum(per_picture, 1) / math.log(2)

    def _parameters(self) -> list[tf.Tensor]:
        """Return what `nats` takes, from the unconstrained variables."""
        constraints = {"matrix": tf.nn.softplus, "bias": tf.identity, "factor": tf.math.tanh}
        variables = self.named_variables()
        return [constraints[name.split("_")[0]](variables[name]) for name in PARAMETERS]

    # As functions: ten times faster than eagerly, and traced once.

    @functools.cached_property
    def _tables(self) -> tf.types.experimental.GenericFunction:
        def build() -> dict[str, tf.Tensor]:
            model = tfc.ContinuousBatchedEntropyModel(
                self.distribution,
                coding_rank=3,
                compression=True,
                stateless=True,
                range_coder_precision=_RANGE_CODER_PRECISION,
                bottleneck_dtype=tf.float32,
            )
            return {
                "cdf": model.cdf,
                "cdf_offset": model.cdf_offset,
                "quantization_offset": model.quantization_offset,
            }

        return tf.function(build)

    @functools.cached_property
    def _offset(self) -> tf.types.experimental.GenericFunction:
        return tf.function(
            lambda: tf.broadcast_to(tfc.quantization_offset(self.distribution), [self.channels])
        )

    def coding_tables(self) -> dict[str, np.ndarray]:
        """Build the range coder's tables from the present densities.

        They must be stored with the weights and never rebuilt: small numerical
        differences between machines would ruin every stream.

        Returns:
            Arguments of `tfc.ContinuousBatchedEntropyModel`: cdf int32, cdf_offset
            int32, quantization_offset float32 [channels].
        """
        return {name: value.numpy() for name, value in self._tables().items()}

    def quantization_offset(self) -> np.ndarray:
        """Return where each channel's rounding grid lies, float32 [channels].

        The median of each density less the integer nearest to it, as tfc chooses it, in
        [-1/2, 1/2].
        """
        return self._offset().numpy()
