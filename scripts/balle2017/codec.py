"""Compress pictures to bytes and back with a trained model, always in float32."""

from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.bitstream import MAX_SIDE, Bitstream
from balle2017.errors import BadImageError, DamagedFileError
from balle2017.images import MAX_PIXELS
from balle2017.model import latent_shape
from balle2017.model_io import load_model

_IMAGE = tf.TensorSpec((1, None, None, 3), tf.uint8)


class Codec:
    """A trained model, ready to code."""

    def __init__(self, model: Path):
        """Load the model in folder `model` (or in its subfolder model/).

        Raises:
            InputError: there is no sound model.
        """
        self.model = load_model(model)
        self._network = self.model.network
        self._channels = self._network.num_latents
        tables = self.model.tables
        self._offset = tf.constant(tables["quantization_offset"])
        self._coder = tfc.ContinuousBatchedEntropyModel(
            prior_shape=(self._channels,),
            coding_rank=3,
            compression=True,
            stateless=True,
            **tables,
            bottleneck_dtype=tf.float32,
        )
        self._analyze = tf.function(self._network.analyze, input_signature=[_IMAGE])
        latents = tf.TensorSpec((1, None, None, self._channels), tf.float32)
        side = tf.TensorSpec((), tf.int32)
        self._reconstruct = tf.function(self._to_pixels, input_signature=[latents, side, side])
        self._rate = tf.function(self._estimate_bits, input_signature=[latents])

    def _to_pixels(self, latents: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        pixels = self._network.synthesize(latents, height, width)
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)

    def _estimate_bits(self, latents: tf.Tensor) -> tf.Tensor:
        rounded = tf.round(latents - self._offset) + self._offset
        return self._network.prior.bits(rounded)

    def latents(self, pixels: np.ndarray) -> tf.Tensor:
        """Return the float32 latents [1, h, w, channels] of uint8 pixels [height, width, 3].

        Raises:
            BadImageError: a side is too long for the format.
            ValueError: the latents are not finite (the model is broken).
        """
        height, width, _ = pixels.shape
        if max(height, width) > MAX_SIDE:
            raise BadImageError(f"{width}x{height} is too large: at most {MAX_SIDE} pixels a side")
        latents = self._analyze(pixels[None])
        # The range coder never returns from a NaN or an infinity.
        if not bool(tf.reduce_all(tf.math.is_finite(latents))):
            raise ValueError("the model's latents are NaN or infinite")
        return latents

    def compress(self, pixels: np.ndarray) -> bytes:
        """Return the compressed file for uint8 pixels [height, width, 3]."""
        latents = self.latents(pixels)
        payload = self._coder.compress(latents).numpy()[0]
        height, width, _ = pixels.shape
        shape = tuple(int(side) for side in latents.shape[1:])
        return Bitstream(self.model.model_id, width, height, shape, payload).to_bytes()

    def decompress(self, data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return the picture of a compressed file, uint8 [height, width, 3].

        Raises:
            DamagedFileError: damaged, made by another model, or over the pixel limit.
        """
        stream = Bitstream.from_bytes(data)
        if stream.model_id != self.model.model_id:
            raise DamagedFileError(
                f"made by another model ({stream.model_id.hex()}, this is "
                f"{self.model.model_id.hex()})"
            )
        if stream.width * stream.height > max_pixels:
            raise DamagedFileError(
                f"over the pixel limit: {stream.width}x{stream.height} is more than {max_pixels}"
            )
        rows, columns = latent_shape(stream.height, stream.width)
        if stream.latent_shape != (rows, columns, self._channels):
            raise DamagedFileError(f"latent shape {stream.latent_shape} does not fit the picture")
        try:
            latents = self._coder.decompress(tf.constant([stream.payload]), (rows, columns))
        except tf.errors.OpError as error:
            raise DamagedFileError(f"the payload does not decode: {error.message}") from None
        return self._reconstruct(latents, stream.height, stream.width).numpy()[0]

    def estimated_bits(self, pixels: np.ndarray) -> float:
        """Return the rate in bits that the prior gives the rounded latents."""
        return float(self._rate(self.latents(pixels))[0])
