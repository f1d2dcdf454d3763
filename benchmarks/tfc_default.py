"""The same model from tensorflow-compression's layers with their default options.

What the pipeline is measured against: `tfc.SignalConv2D` with its own padding and
kernel parameters, `tfc.GDN`, and Adam at one learning rate, in float32.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc


def _down(filters: int, support: int, stride: int, **options: object) -> tfc.SignalConv2D:
    return tfc.SignalConv2D(
        filters, (support, support), corr=True, strides_down=stride, padding="same_zeros", **options
    )


def _up(filters: int, support: int, stride: int, **options: object) -> tfc.SignalConv2D:
    return tfc.SignalConv2D(
        filters, (support, support), corr=False, strides_up=stride, padding="same_zeros", **options
    )


class TfcDefault(tf.keras.Model):
    """Analysis transform, prior and synthesis transform."""

    def __init__(self, num_filters: int):
        """Build all variables."""
        super().__init__()
        n = num_filters
        self.analysis = tf.keras.Sequential(
            [
                _down(n, 9, 4, use_bias=True, activation=tfc.GDN()),
                _down(n, 5, 2, use_bias=True, activation=tfc.GDN()),
                _down(n, 5, 2, use_bias=False),
            ]
        )
        self.synthesis = tf.keras.Sequential(
            [
                _up(n, 5, 2, use_bias=True, activation=tfc.GDN(inverse=True)),
                _up(n, 5, 2, use_bias=True, activation=tfc.GDN(inverse=True)),
                _up(3, 9, 4, use_bias=True),
            ]
        )
        self.prior = tfc.NoisyDeepFactorized(batch_shape=(n,))
        self.analysis.build((None, None, None, 3))
        self.synthesis.build((None, None, None, n))

    def loss(self, pixels: tf.Tensor, lambda_rd: float) -> tf.Tensor:
        """Return bpp + lambda_rd * MSE of uint8 pixels [n, h, w, 3], with noise for rounding."""
        scaled = tf.cast(pixels, tf.float32) / 255
        entropy = tfc.ContinuousBatchedEntropyModel(self.prior, coding_rank=3, compression=False)
        noisy, bits = entropy(self.analysis(scaled), training=True)
        mse = tf.reduce_mean(tf.math.squared_difference(self.synthesis(noisy), scaled)) * 255**2
        count = tf.cast(tf.size(pixels) // 3, tf.float32)
        return tf.reduce_sum(bits) / count + lambda_rd * mse

    def codec(self) -> Callable[[np.ndarray], tuple[int, np.ndarray]]:
        """Return a function from uint8 pixels [1, h, w, 3] to bits and reconstruction.

        The bits are those of the coded latents, without any header. Sides must be
        multiples of 16.
        """
        entropy = tfc.ContinuousBatchedEntropyModel(self.prior, coding_rank=3, compression=True)

        def code(pixels: np.ndarray) -> tuple[int, np.ndarray]:
            latents = self.analysis(tf.cast(pixels, tf.float32) / 255)
            strings = entropy.compress(latents)
            decoded = self.synthesis(entropy.decompress(strings, tf.shape(latents)[1:-1]))
            values = tf.round(tf.clip_by_value(decoded * 255, 0, 255))
            return 8 * len(strings.numpy()[0]), tf.cast(values, tf.uint8).numpy()

        return code


class TfcTrainer:
    """Adam on `TfcDefault`."""

    def __init__(self, num_filters: int, lambda_rd: float, learning_rate: float = 1e-4):
        """Build model and optimizer."""
        self.network = TfcDefault(num_filters)
        self._optimizer = tf.keras.optimizers.Adam(learning_rate)
        self._variables = self.network.trainable_variables
        self._optimizer.build(self._variables)
        self._lambda_rd = lambda_rd
        self.train_step = tf.function(self._step)

    def _step(self, pixels: tf.Tensor) -> tf.Tensor:
        """Take one step on uint8 patches and return the loss."""
        with tf.GradientTape() as tape:
            loss = self.network.loss(pixels, self._lambda_rd)
        gradients = tape.gradient(loss, self._variables)
        self._optimizer.apply_gradients(zip(gradients, self._variables, strict=True))
        return loss
