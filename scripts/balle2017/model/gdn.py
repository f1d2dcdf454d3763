"""Generalized divisive normalization (paper, section 2), with a gradient in few passes.

In the simplified form, whose exponents are 1 (the paper has 2 and 1/2): with x the input
and |x| its magnitudes over the channels at one position, GDN is x / (beta + gamma |x|),
IGDN x * (beta + gamma |x|). tfc.GDN computes the same; left to automatic differentiation
its elementwise passes over memory cost as much as all convolutions of the model.
"""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.model.fused import plain_and_compiled

_GAMMA_BESIDE_DIAGONAL = 0.002


def _in_float32(function: Callable) -> Callable:
    """Compute in float32, and return the first argument's type."""

    def wrapped(*values: tf.Tensor) -> tf.Tensor:
        return tf.cast(function(*(tf.cast(v, tf.float32) for v in values)), values[0].dtype)

    return wrapped


# The elementwise passes: x input, b bias, n norm; dy and da are gradients, of the
# output and of the magnitude |x + b|.
_DIVIDE = plain_and_compiled(
    {
        "magnitude": _in_float32(lambda x, b: tf.abs(x + b)),
        "output": _in_float32(lambda x, b, n: (x + b) / n),
        "norm_gradient": _in_float32(lambda dy, x, b, n: -dy * (x + b) / (n * n)),
        "input_gradient": _in_float32(lambda dy, x, b, n, da: dy / n + tf.sign(x + b) * da),
    }
)
_MULTIPLY = plain_and_compiled(
    {
        "magnitude": _in_float32(lambda x, b: tf.abs(x + b)),
        "output": _in_float32(lambda x, b, n: (x + b) * n),
        "norm_gradient": _in_float32(lambda dy, x, b, n: dy * (x + b)),
        "input_gradient": _in_float32(lambda dy, x, b, n, da: dy * n + tf.sign(x + b) * da),
    }
)


class GDN(tf.Module):
    """GDN, or its approximate inverse, over the last dimension, after adding a bias.

    The bias is that of the convolution before: here it costs no pass of its own.

    Attributes:
        bias: variable, float32 [channels].
        beta: `tfc.GDNParameter`, float32 [channels].
        gamma: `tfc.GDNParameter`, float32 [channels, channels]; column j holds the
            weights of output channel j.
    """

    def __init__(
        self, name: str, channels: int, dtype: tf.DType, inverse: bool = False, fused: bool = False
    ):
        """Start as tfc.GDN does, with beta 1 and gamma 0.1 on the diagonal, but not at 0 beside it.

        The parameters are stored as square roots: at 0 they have no gradient.

        Args:
            name: of the module.
            channels: of input and output.
            dtype: type of computation.
            inverse: multiply instead of divide.
            fused: compile the elementwise passes; pays where shapes do not change.
        """
        super().__init__(name=name)
        self.bias = tf.Variable(tf.zeros(channels), name="bias")
        self.beta = tfc.GDNParameter(tf.ones(channels), minimum=1e-6, name="beta")
        gamma = 0.1 * tf.eye(channels) + _GAMMA_BESIDE_DIAGONAL
        self.gamma = tfc.GDNParameter(gamma, name="gamma")
        self.dtype = tf.as_dtype(dtype)
        self._passes = (_MULTIPLY if inverse else _DIVIDE)[fused]
        self._apply = tf.custom_gradient(self._with_gradient)

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Normalize [n, h, w, channels]."""
        x, bias = tf.cast(x, self.dtype), tf.cast(self.bias, self.dtype)
        return self._apply(x, bias, self.beta(self.dtype), self.gamma(self.dtype))

    def signal_share(self, x: tf.Tensor) -> tf.Tensor:
        """Return which part of the normalization follows the signal, float32 scalar.

        The mean of 1 - beta / (beta + gamma |x|): 0 where the layer is linear,
        that is, dead.
        """
        magnitude = tf.abs(tf.cast(x, tf.float32) + self.bias)
        normalization = self.beta() + tf.linalg.matmul(magnitude, self.gamma())
        return tf.reduce_mean(1 - self.beta() / normalization)

    def _with_gradient(
        self, x: tf.Tensor, bias: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        channels = gamma.shape[0]
        magnitude = self._passes["magnitude"](x, bias)
        product = tf.nn.conv2d(magnitude, gamma[None, None], 1, "VALID")
        norm = tf.nn.bias_add(product, beta)

        def row_sum(rows: tf.Tensor) -> tf.Tensor:
            # A product with ones is twice as fast as a sum.
            return tf.linalg.matmul(tf.ones((1, tf.shape(rows)[0]), rows.dtype), rows)[0]

        def grad(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dnorm = tf.reshape(self._passes["norm_gradient"](dy, x, bias, norm), (-1, channels))
            dmagnitude = tf.reshape(tf.linalg.matmul(dnorm, gamma, transpose_b=True), tf.shape(x))
            rows = tf.reshape(magnitude, (-1, channels))
            dgamma = tf.linalg.matmul(rows, dnorm, transpose_a=True)
            dx = self._passes["input_gradient"](dy, x, bias, norm, dmagnitude)
            dbias = row_sum(tf.reshape(dx, (-1, channels)))
            return dx, dbias, row_sum(dnorm), dgamma

        return self._passes["output"](x, bias, norm), grad
