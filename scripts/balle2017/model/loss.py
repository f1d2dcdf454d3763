"""The rate-distortion loss (paper, section 3, with bits per pixel as the rate)."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from balle2017.model.fused import plain_and_compiled

# The transforms see pixels 0..255 as (pixel - 128) / 256: centred, so that training
# does not begin with learning the mean, and exact in bfloat16 too.
_PIXEL_CENTRE, PIXEL_RANGE = 128.0, 256.0


class RateDistortion(NamedTuple):
    """Scalars, float32: loss, bits per pixel, mean squared error on 0..255."""

    loss: tf.Tensor
    bpp: tf.Tensor
    mse: tf.Tensor


def centre(pixels: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Map pixels on 0..255 to [-1/2, 1/2)."""
    return (tf.cast(pixels, dtype) - _PIXEL_CENTRE) / PIXEL_RANGE


def to_pixels(centred: tf.Tensor) -> tf.Tensor:
    """Invert `centre`, to float32, neither rounded nor clipped."""
    return tf.cast(centred, tf.float32) * PIXEL_RANGE + _PIXEL_CENTRE


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Return pixels on 0..255 rounded to 8 bits, clipped."""
    return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)


def _error(original: tf.Tensor, centred: tf.Tensor) -> tf.Tensor:
    return to_pixels(centred) - tf.cast(original, tf.float32)


_PASSES = plain_and_compiled(
    {
        "squared": lambda original, centred: tf.square(_error(original, centred)),
        "gradient": lambda original, centred, factor: tf.cast(
            _error(original, centred) * factor, centred.dtype
        ),
    }
)


def mean_squared_error(original: tf.Tensor, centred: tf.Tensor, fused: bool) -> tf.Tensor:
    """Return the mean squared error on 0..255, float32 scalar.

    Args:
        original: pixels on 0..255, any type and shape.
        centred: the reconstruction in the same shape, as `centre` gives it.
        fused: compile the elementwise passes.
    """
    passes = _PASSES[fused]

    @tf.custom_gradient
    def apply(centred: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def grad(dy: tf.Tensor) -> tf.Tensor:
            factor = dy * (2 * PIXEL_RANGE) / tf.size(centred, tf.float32)
            return passes["gradient"](original, centred, factor)

        return tf.reduce_mean(passes["squared"](original, centred)), grad

    return apply(centred)


def compute_rate_distortion_loss(
    mse: tf.Tensor, bits: tf.Tensor, num_pixels: int | tf.Tensor, lambda_rd: float
) -> RateDistortion:
    """Return loss = bpp + lambda_rd * MSE, as means over the batch.

    Args:
        mse: mean squared error on 0..255, float32 scalar.
        bits: float32 [n], the rate of each picture in bits.
        num_pixels: of one picture.
        lambda_rd: weight of the distortion.
    """
    bpp = tf.reduce_mean(bits) / tf.cast(num_pixels, tf.float32)
    return RateDistortion(bpp + lambda_rd * mse, bpp, mse)
