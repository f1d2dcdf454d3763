"""How many bits the range coder spends on values, computed from its tables."""

import numpy as np

from balle2017.model.check import RANGE_CODER_PRECISION, split_tables

#: How many bits a stream may be longer than its code length, or shorter, because a decoder
#: reads zeros beyond its end.
END_OF_STREAM_BITS = 32


class CodeLengths:
    """Bits that the range coder spends on values.

    Attributes:
        tables: for each table the bits of its entries; the last one is the escape, which
            stands for all values beyond the table.
    """

    def __init__(self, cdf: np.ndarray, cdf_offset: np.ndarray):
        """Take the tables, as `tfc.ContinuousBatchedEntropyModel` takes them.

        Args:
            cdf: int32 [n]; each table is the negative precision, and then numbers that rise
                from 0 to 2 ** precision.
            cdf_offset: int32 [tables], the value of each table's first entry.
        """
        self._steps = [np.diff(table[1:]) for table in split_tables(cdf)]
        self.tables = [RANGE_CODER_PRECISION - np.log2(steps) for steps in self._steps]
        self._bits = np.concatenate(self.tables)
        sizes = np.array([len(table) for table in self.tables])
        self._starts = np.cumsum(sizes) - sizes
        self._escape = sizes - 1
        self._offset = cdf_offset.astype(np.int64)

    def __call__(self, index: np.ndarray | int, values: np.ndarray) -> np.ndarray:
        """Return the bits of each value, coded with the table of its index.

        Args:
            index: int32, of a shape that can be broadcast to that of the values.
            values: integers, any shape.

        Returns:
            Float64, as values.
        """
        index = np.broadcast_to(index, values.shape)
        entry = values - self._offset[index]
        escape = self._escape[index]
        outside = (entry < 0) | (entry >= escape)
        bits = self._bits[self._starts[index] + np.where(outside, escape, entry)]
        # A value n places beyond its table, 1 or more, is followed by n in the Elias gamma
        # code, and by one bit for the side.
        entry, end = entry[outside], escape[outside]
        places = np.where(entry < 0, -entry, entry - end + 1)
        bits[outside] += 2 * np.floor(np.log2(places)) + 2
        return bits

    def fewest(self) -> np.ndarray:
        """Return for each table a lower bound on the bits of a value, float64 [tables].

        The coder divides an interval of at least 2 ** precision into whole numbers, so a
        value's part of it may be larger than its share by one step of the table.
        """
        likeliest = np.array([steps.max() for steps in self._steps])
        return np.maximum(RANGE_CODER_PRECISION - np.log2(likeliest + 1), 0)
