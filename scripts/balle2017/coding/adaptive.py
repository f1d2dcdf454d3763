"""An entropy coder that adapts: range coding with the tables that `context` chooses.

For a value beyond its table, the last entry of the table announces that the value follows in a
fixed number of digits. The static prior leaves such values to the range coder's own escape
code, which in some forged files would never end.
"""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.coding.static import check_range
from balle2017.errors import DamagedFileError
from balle2017.model.adaptation import Adaptation
from balle2017.model.check import RANGE_CODER_PRECISION as PRECISION
from balle2017.model.check import split_tables
from balle2017.model.context import Step, indexes, predictions, steps

#: A value beyond its table is coded in this many digits of 8 bits: enough for latents up to
#: `MAX_LATENT` and their predictions.
_DIGITS = 2
_DIGIT_SHIFTS = np.arange(8 * (_DIGITS - 1), -1, -8, dtype=np.int32)
_DIGIT_TABLE = [PRECISION, *range(0, 2**PRECISION + 1, 2 ** (PRECISION - 8))]


class AdaptiveCoder:
    """Codes integer latents with the tables of an `Adaptation`.

    Attributes:
        fewest_bits: lower bound on the bits of a value, see `CodeLengths.fewest`.
    """

    def __init__(self, adaptation: Adaptation):
        """Prepare the tables."""
        self._adaptation = adaptation
        self._weights = adaptation.weights.astype(np.int32)
        self._cdf_offset = adaptation.cdf_offset
        steps_of_tables = [np.diff(table[1:]) for table in split_tables(adaptation.cdf)]
        sizes = np.array([len(table) for table in steps_of_tables], np.int32)
        self._last, self._starts = sizes - 1, np.cumsum(sizes) - sizes
        parts = np.concatenate(steps_of_tables)
        self._bits = PRECISION - np.log2(parts)
        self.fewest_bits = max(0.0, PRECISION - float(np.log2(parts.max() + 1)))
        self._cdf = tf.constant(np.append(adaptation.cdf, np.array(_DIGIT_TABLE, np.int32)))

    def _steps(self, values: np.ndarray) -> Iterator[Step]:
        a = self._adaptation
        return steps(values, a.group_sizes, a.magnitude_weights, a.expected, a.logarithms)

    def _context(self, step: Step) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
        """Return the tables' indexes, and the result of `predictions`."""
        part = step.pass_, step.where[0]
        base, weights = self._adaptation.base[part], self._weights[part]
        index = indexes(step, base, weights, len(self._cdf_offset))
        return index, predictions(step, self._adaptation.prediction[part])

    def _entries(
        self, values: np.ndarray
    ) -> Iterator[tuple[Step, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each step, its tables' indexes, the entries, and the numbers beyond tables.

        Numbers 0, 1, 2, 3, ... stand for the residuals 0, -1, 1, -2, ...
        """
        for step in self._steps(values):
            index, (channels, predicted) = self._context(step)
            residual = values[step.where].astype(np.int32)
            residual[channels] -= predicted
            entries, last = residual - self._cdf_offset.take(index), self._last.take(index)
            beyond = (entries < 0) | (entries >= last)
            np.copyto(entries, last, where=beyond)
            outside = residual[beyond]
            yield step, index, entries, (outside << 1) ^ (outside >> 31)

    def encode(self, latents: np.ndarray) -> bytes:
        """Return the payload for latents.

        Args:
            latents: int16 [height, width, channels], up to `MAX_LATENT` in magnitude.
        """
        handle = tfc.create_range_encoder([], self._cdf)
        for _, index, entries, numbers in self._entries(self._in_order(latents)):
            handle = tfc.entropy_encode_index(handle, index, entries)
            if len(numbers):
                digits = numbers[:, None] >> _DIGIT_SHIFTS & 255
                table = np.full_like(digits, len(self._cdf_offset))
                handle = tfc.entropy_encode_index(handle, table, digits)
        return tfc.entropy_encode_finalize(handle).numpy()

    def decode(self, payload: bytes, height: int, width: int) -> np.ndarray:
        """Return the latents of a payload, int16 [height, width, channels].

        Raises:
            DamagedFileError, tf.errors.OpError: no encoder made this payload.
        """
        order = self._adaptation.order
        values = np.empty((len(order), height, width), np.int16)
        handle = tfc.create_range_decoder(payload, self._cdf)
        for step in self._steps(values):
            index, (channels, predicted) = self._context(step)
            handle, decoded = tfc.entropy_decode_index(handle, index, index.shape, tf.int32)
            entries = decoded.numpy()
            residual = entries + self._cdf_offset.take(index)
            beyond = entries == self._last.take(index)
            count = np.count_nonzero(beyond)
            if count:
                table = np.full((count, _DIGITS), len(self._cdf_offset), np.int32)
                handle, digits = tfc.entropy_decode_index(handle, table, table.shape, tf.int32)
                numbers = (digits.numpy() << _DIGIT_SHIFTS).sum(1, dtype=np.int32)
                residual[beyond] = (numbers >> 1) ^ -(numbers & 1)
            residual[channels] += predicted
            check_range(residual)
            values[step.where] = residual
        if not tfc.entropy_decode_finalize(handle):
            raise DamagedFileError("the payload does not decode: it ends elsewhere")
        latents = np.empty((height, width, len(order)), np.int16)
        # A row at a time, as in `_in_order`.
        for row in range(height):
            latents[row, :, order] = values[:, row]
        return latents

    def place_bits(self, latents: np.ndarray) -> np.ndarray:
        """Return the code length of each position, summed over channels, in bits.

        Args:
            latents: int16 [height, width, channels].

        Returns:
            Float64 [height, width].
        """
        bits: np.ndarray = np.zeros(latents.shape[:2])
        for step, index, entries, _ in self._entries(self._in_order(latents)):
            lengths = self._bits[self._starts[index] + entries]
            lengths += 8 * _DIGITS * (entries == self._last.take(index))
            bits[step.where[1:]] += lengths.sum(0)
        return bits

    def _in_order(self, latents: np.ndarray) -> np.ndarray:
        """Return latents as int16 [channels, height, width], channels in coding order."""
        height, width, channels = latents.shape
        values = np.empty((channels, height, width), np.int16)
        # A row at a time, so that large images need no second copy.
        for row in range(height):
            values[:, row] = latents[row, :, self._adaptation.order]
        return values
