"""The static prior's entropy coder: one table for each channel, at all positions.

Streams are the same as those of `tfc.ContinuousBatchedEntropyModel`. That class takes and
returns float latents and holds several copies of them; here they stay integers of 16 bits,
and are coded some rows at a time.
"""

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.errors import DamagedFileError
from balle2017.model.check import MAX_LATENT

# Rows of latents in one call of the range coder; those of a usual image are fewer.
_ROWS = 64


class StaticCoder:
    """Codes integer latents with the tables of a model's prior."""

    def __init__(self, cdf: np.ndarray, cdf_offset: np.ndarray):
        """Take the tables, as `FactorizedPrior.coding_tables` has them."""
        self._cdf, self._cdf_offset = tf.constant(cdf), cdf_offset

    def encode(self, latents: np.ndarray) -> bytes:
        """Return the payload for latents, int16 [height, width, channels]."""
        handle = tfc.create_range_encoder([], self._cdf)
        for start in range(0, len(latents), _ROWS):
            entries = latents[start : start + _ROWS] - self._cdf_offset
            handle = tfc.entropy_encode_channel(handle, entries)
        return tfc.entropy_encode_finalize(handle).numpy()

    def decode(self, payload: bytes, height: int, width: int) -> np.ndarray:
        """Return the latents of a payload, int16 [height, width, channels].

        Raises:
            DamagedFileError, tf.errors.OpError: no encoder made this payload.
        """
        latents = np.empty((height, width, len(self._cdf_offset)), np.int16)
        handle = tfc.create_range_decoder(payload, self._cdf)
        for start in range(0, height, _ROWS):
            shape = latents[start : start + _ROWS].shape
            handle, entries = tfc.entropy_decode_channel(handle, shape, tf.int32)
            decoded = entries.numpy() + self._cdf_offset.astype(np.int64)
            check_range(decoded)
            latents[start : start + _ROWS] = decoded
        if not tfc.entropy_decode_finalize(handle):
            raise DamagedFileError("the payload does not decode: it ends elsewhere")
        return latents


def check_range(latents: np.ndarray) -> None:
    """Refuse decoded latents that no encoder writes and that 16 bits may not hold.

    Raises:
        DamagedFileError: one is beyond `MAX_LATENT`, and one more for rounding.
    """
    if latents.size and max(int(latents.max()), -int(latents.min())) > MAX_LATENT + 1:
        raise DamagedFileError(f"the payload holds latents beyond {MAX_LATENT}")
