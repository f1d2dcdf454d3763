"""The objective: rate + lambda * distortion (paper, section 3).

rate        bits per pixel: -log2 p(latents), which `FactorizedPrior.bits` sums up
distortion  mean squared error of pixels on 0..255
loss        rate + lambda * distortion
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from balle2017.model.fused import Elementwise
from balle2017.model.pixels import PIXEL_RANGE, to_pixels


class RateDistortion(NamedTuple):
    """Scalars: float32 tensors inside of a graph, floats outside of it.

    Attributes:
        loss: bpp + lambda * mse.
        bpp: bits per pixel.
        mse: mean squared error on 0..255.
    """

    loss: tf.Tensor | float
    bpp: tf.Tensor | float
    mse: tf.Tensor | float


def compute_rate_distortion_loss(
    mse: tf.Tensor, bits: tf.Tensor, num_pixels: int | tf.Tensor, lambda_rd: float
) -> RateDistortion:
    """Return loss = bpp + lambda_rd * MSE, as means over the batch.

    Args:
        mse: mean squared error on 0..255, float32 scalar.
        bits: float32 [n], the rate of each image in bits.
        num_pixels: of one image.
        lambda_rd: weight of the distortion.
    """
    bpp = tf.reduce_mean(bits) / tf.cast(num_pixels, tf.float32)
    return RateDistortion(bpp + lambda_rd * mse, bpp, mse)


def mean_squared_error(original: tf.Tensor, centred: tf.Tensor, fused: bool) -> tf.Tensor:
    """Return the distortion, the mean squared error on 0..255, float32 scalar.

    mean((to_pixels(centred) - original) ** 2), with its gradient in one pass.

    Args:
        original: pixels on 0..255, any type and shape.
        centred: the reconstruction in the same shape, as `pixels.centre` gives it.
        fused: compile the elementwise passes.
    """

    @tf.custom_gradient
    def apply(centred: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def grad(dy: tf.Tensor) -> tf.Tensor:
            factor = dy * (2 * PIXEL_RANGE) / tf.size(centred, tf.float32)
            return _scaled_error.run(fused, original, centred, factor)

        return tf.reduce_mean(_squared_error.run(fused, original, centred)), grad

    return apply(centred)


def _error(original: tf.Tensor, centred: tf.Tensor) -> tf.Tensor:
    return to_pixels(centred) - tf.cast(original, tf.float32)


@Elementwise
def _squared_error(original: tf.Tensor, centred: tf.Tensor) -> tf.Tensor:
    return tf.square(_error(original, centred))


@Elementwise
def _scaled_error(original: tf.Tensor, centred: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return tf.cast(_error(original, centred) * factor, centred.dtype)
