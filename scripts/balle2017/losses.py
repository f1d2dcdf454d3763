"""The rate-distortion loss (paper, equation 9, with bits per pixel as the rate)."""

from typing import NamedTuple

import tensorflow as tf


class RateDistortion(NamedTuple):
    """Scalars, float32: loss, bits per pixel, mean squared error on 0..255."""

    loss: tf.Tensor
    bpp: tf.Tensor
    mse: tf.Tensor


def compute_rate_distortion_loss(
    original: tf.Tensor, reconstruction: tf.Tensor, bits: tf.Tensor, lambda_rd: float
) -> RateDistortion:
    """Return loss = bpp + lambda_rd * MSE, as means over the batch.

    Args:
        original: float32 [n, height, width, 3] on 0..255.
        reconstruction: the same shape and scale.
        bits: float32 [n], the rate of each picture in bits.
        lambda_rd: weight of the distortion.
    """
    shape = tf.shape(original)
    pixels = tf.cast(shape[1] * shape[2], tf.float32)
    bpp = tf.reduce_mean(bits) / pixels
    mse = tf.reduce_mean(tf.math.squared_difference(original, reconstruction))
    return RateDistortion(bpp + lambda_rd * mse, bpp, mse)
