"""Generalized divisive normalization (paper, section 2), with a gradient in few passes.

In the simplified form, whose exponents are 1 (the paper has 2 and 1/2): with x the input
and |x| its magnitudes over the channels at one position, GDN is x / (beta + gamma |x|),
IGDN x * (beta + gamma |x|). tfc.GDN computes the same; left to automatic differentiation
its elementwise passes over memory cost as much as all convolutions of the model.
"""

from collections.abc import Callable
from typing import NamedTuple, ParamSpec, cast

import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.model.fused import Elementwise

P = ParamSpec("P")

_GAMMA_BESIDE_DIAGONAL = 0.002


def gdn(x: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    """Return x / (beta + gamma |x|): the formula, to which tests hold `GDN`.

    Args:
        x: [..., channels].
        beta: [channels], positive.
        gamma: [channels, channels], not negative; column j belongs to output channel j.
    """
    return x / (beta + tf.linalg.matmul(tf.abs(x), gamma))


def inverse_gdn(x: tf.Tensor, beta: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    """Return x * (beta + gamma |x|), which undoes `gdn` approximately; see there."""
    return x * (beta + tf.linalg.matmul(tf.abs(x), gamma))


def _in_float32(function: Callable[P, tf.Tensor]) -> Callable[P, tf.Tensor]:
    """Compute in float32, and return the first argument's type."""

    def wrapped(*values: tf.Tensor) -> tf.Tensor:
        in_float32 = (tf.cast(value, tf.float32) for value in values)
        return tf.cast(cast(Callable, function)(*in_float32), values[0].dtype)

    return cast(Callable[P, tf.Tensor], wrapped)


# The elementwise passes of the formulas above, with x + b in place of x: x input, b bias,
# n = beta + gamma |x + b|; dy, dn and da are the gradients of output, n and |x + b|.


@Elementwise
@_in_float32
def _magnitude(x: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.abs(x + b)


@Elementwise
@_in_float32
def _divide(x: tf.Tensor, b: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
    return (x + b) / n


@Elementwise
@_in_float32
def _divide_dn(dy: tf.Tensor, x: tf.Tensor, b: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
    return -dy * (x + b) / (n * n)


@Elementwise
@_in_float32
def _divide_dx(dy: tf.Tensor, x: tf.Tensor, b: tf.Tensor, n: tf.Tensor, da: tf.Tensor) -> tf.Tensor:
    return dy / n + tf.sign(x + b) * da


@Elementwise
@_in_float32
def _multiply(x: tf.Tensor, b: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
    return (x + b) * n


@Elementwise
@_in_float32
def _multiply_dn(dy: tf.Tensor, x: tf.Tensor, b: tf.Tensor, n: tf.Tensor) -> tf.Tensor:
    return dy * (x + b)


@Elementwise
@_in_float32
def _multiply_dx(
    dy: tf.Tensor, x: tf.Tensor, b: tf.Tensor, n: tf.Tensor, da: tf.Tensor
) -> tf.Tensor:
    return dy * n + tf.sign(x + b) * da


class _Passes(NamedTuple):
    """The passes that differ between GDN and its inverse: output, dn, and dx."""

    output: Elementwise
    dn: Elementwise
    dx: Elementwise


_GDN = _Passes(_divide, _divide_dn, _divide_dx)
_INVERSE_GDN = _Passes(_multiply, _multiply_dn, _multiply_dx)


class GDN(tf.Module):
    """GDN, or its approximate inverse, over the last dimension, after adding a bias.

    The bias belongs to the convolution before it. Added here, it costs no pass of its own.

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
        self._passes = _INVERSE_GDN if inverse else _GDN
        self._fused = fused
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
        passes, fused = self._passes, self._fused
        magnitude = _magnitude.run(fused, x, bias)
        product = tf.nn.conv2d(magnitude, gamma[None, None], 1, "VALID")
        norm = tf.nn.bias_add(product, beta)

        def row_sum(rows: tf.Tensor) -> tf.Tensor:
            # A product with ones is twice as fast as a sum.
            return tf.linalg.matmul(tf.ones((1, tf.shape(rows)[0]), rows.dtype), rows)[0]

        def grad(dy: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dnorm = tf.reshape(passes.dn.run(fused, dy, x, bias, norm), (-1, channels))
            dmagnitude = tf.reshape(tf.linalg.matmul(dnorm, gamma, transpose_b=True), tf.shape(x))
            rows = tf.reshape(magnitude, (-1, channels))
            dgamma = tf.linalg.matmul(rows, dnorm, transpose_a=True)
            dx = passes.dx.run(fused, dy, x, bias, norm, dmagnitude)
            dbias = row_sum(tf.reshape(dx, (-1, channels)))
            return dx, dbias, row_sum(dnorm), dgamma

        return passes.output.run(fused, x, bias, norm), grad
