"""Refine the latents of an image: fewer bits at equal quality, for the same decoder.

Rounding is not the best choice of integers for one image. The encoder can search for integers q
with a lower

    J(q) = bits(q) + lambda / 3 * sum((pixels - clip(synthesis(q + offset), 0, 255)) ** 2)

which is what training minimizes, rate + lambda * MSE, times the number of pixels (three values
each), for the pixels that the decoder makes. Between two integers J has no gradient. So each
latent y is relaxed,

    q = floor(y) + s    with  s = sigmoid((y - floor(y) - 1/2) / T),

the bits are those of floor(y) and floor(y) + 1 in the ratio of 1 - s to s, and T falls from step
to step, so that q comes close to integers. The steps are those of RMSprop.

Campos et al., "Content Adaptive Optimization for Neural Image Compression", 2019, refine the
latents of an image by gradient descent, and Yang, Bamler & Mandt, "Improving Inference for Neural
Image Compression", 2020, by a random relaxation that falls back to integers. Here the relaxation
is not random, so ten steps are enough, and files are the same each time.
"""

import math

import numpy as np
import tensorflow as tf

from balle2017.coding.code_length import CodeLengths
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.model.pixels import to_uint8

# Chosen on ImageNet images of half their size; see docs/refinement.md.
_STEPS = 10
_FIRST_RATE = 0.3
_FIRST_TEMPERATURE, _LAST_TEMPERATURE = 0.2, 0.03
_DECAY = 0.9
_EPSILON = 1e-8


class Refinement:
    """Improves the integer latents of images for one model."""

    def __init__(
        self,
        network: Balle2017FactorizedPrior,
        offset: np.ndarray,
        code_lengths: CodeLengths,
        cdf_offset: np.ndarray,
        lambda_rd: float,
    ):
        """Take the parts of a model.

        Args:
            network: the model.
            offset: float32 [channels], what the decoder adds to the integers.
            code_lengths: of the static prior, whose rate is minimized.
            cdf_offset: int32 [channels], the value of each table's first entry.
            lambda_rd: weight of the mean squared error on 0..255 against bits per pixel.
        """
        self._network, self._offset = network, tf.constant(offset)
        self._code_lengths = code_lengths
        self._weight = lambda_rd / 3
        # What an integer's successor costs more: for each channel from the value before its
        # table to the last value in it, one after the other. Values beyond take the nearest of
        # these, which leads them towards the table.
        first = cdf_offset.astype(np.int64) - 1
        rises = [
            np.diff(code_lengths(channel, first[channel] + np.arange(len(table) + 1)))
            for channel, table in enumerate(code_lengths.tables)
        ]
        sizes = np.array([len(part) for part in rises], np.int32)
        self._rises = tf.constant(np.concatenate(rises), tf.float32)
        self._first, self._last = tf.constant(first, tf.int32), tf.constant(sizes - 1)
        self._starts = tf.constant(np.cumsum(sizes, dtype=np.int32) - sizes)
        image = tf.TensorSpec((1, None, None, 3), tf.float32)
        latents = tf.TensorSpec((1, None, None, network.num_latents), tf.float32)
        number = tf.TensorSpec((), tf.float32)
        self._step = tf.function(
            self._one_step, (latents, latents, image, number, number, number), autograph=False
        )
        self._decode = tf.function(self._decoded, (latents, image), autograph=False)

    def _synthesized(self, integers: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        """Return what integers decode to, in the shape of the pixels, not rounded nor clipped."""
        shape = tf.shape(pixels)
        return self._network.synthesize(integers + self._offset, shape[1], shape[2])

    def _decoded(self, integers: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
        """Return the uint8 pixels that integers decode to."""
        return to_uint8(self._synthesized(integers, pixels))

    def _one_step(
        self,
        relaxed: tf.Tensor,
        mean_square: tf.Tensor,
        pixels: tf.Tensor,
        temperature: tf.Tensor,
        rate: tf.Tensor,
        share: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the latents y after a step, and the running mean of squared gradients.

        `share` is the sum of the weights in that mean, which starts at 0.
        """
        below = tf.floor(relaxed)
        soft = tf.sigmoid((relaxed - below - 0.5) / temperature)
        between = below + soft
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(between)
            # As the decoder clips: what lies beyond 0..255 is no error.
            decoded = tf.clip_by_value(self._synthesized(between, pixels), 0, 255)
            error = decoded - pixels
            distortion = self._weight * tf.reduce_sum(tf.square(error))
        place = tf.clip_by_value(tf.cast(below, tf.int32) - self._first, 0, self._last)
        rise = tf.gather(self._rises, self._starts + place)
        slope = soft * (1 - soft) / temperature
        gradient = (tape.gradient(distortion, between) + rise) * slope
        mean_square = _DECAY * mean_square + (1 - _DECAY) * tf.square(gradient)
        scale = tf.sqrt(mean_square / share) + _EPSILON
        return relaxed - rate * gradient / scale, mean_square

    def __call__(self, pixels: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Return integers with an objective J that is at most that of rounding.

        Args:
            pixels: uint8 [height, width, 3].
            latents: float32 [h, w, channels], what analysis makes of the pixels, less the offset.

        Returns:
            Float32 integers, as latents. None is further than 1 from its rounded latent.
            For a tile, J is that of the pixels that the tile is computed from.
        """
        image = tf.constant(pixels[None].astype(np.float32))
        relaxed = tf.constant(latents[None])
        mean_square = tf.zeros_like(relaxed)
        for step in range(_STEPS):
            progress = step / (_STEPS - 1)
            temperature = _FIRST_TEMPERATURE + progress * (_LAST_TEMPERATURE - _FIRST_TEMPERATURE)
            rate = _FIRST_RATE * 0.5 * (1 + math.cos(math.pi * step / _STEPS))
            share = 1 - _DECAY ** (step + 1)
            numbers = map(tf.constant, (temperature, rate, share))
            relaxed, mean_square = self._step(relaxed, mean_square, image, *numbers)
        rounded = np.rint(latents)
        # Some four in 100,000 moved further.
        refined = np.clip(np.rint(relaxed.numpy()[0]), rounded - 1, rounded + 1)
        return min((rounded, refined), key=lambda integers: self.objective(image, integers))

    def objective(self, image: tf.Tensor, integers: np.ndarray) -> float:
        """Return J of the decoded 8-bit pixels, in bits.

        Args:
            image: float32 [1, height, width, 3] on 0..255.
            integers: float32 [h, w, channels].
        """
        channels = np.arange(integers.shape[-1])
        bits = self._code_lengths(channels, integers.astype(np.int64)).sum()
        decoded = self._decode(tf.constant(integers[None]), image).numpy()
        return float(bits + self._weight * np.sum((decoded - image.numpy()) ** 2, dtype=np.float64))
