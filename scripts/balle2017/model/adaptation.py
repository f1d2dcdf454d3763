"""The integers by which the entropy coder adapts, as a model's file holds them.

docs/b17.md says what the decoder does with each of them.
"""

from dataclasses import dataclass, fields

import numpy as np

from balle2017.model.check import RANGE_CODER_PRECISION as PRECISION
from balle2017.model.check import split_tables

#: Values of an image's latents are coded in four passes over each group of channels.
PASSES = 4
#: What is known of a value's surroundings: the earlier groups at its place and around it, the
#: group before at its place, its own group around it, its channel around it.
FEATURES = 5
#: Magnitudes and their means, times 64, are looked up in a table of this length.
LOGARITHMS = 4096
_MAX_ENTRIES = 2**20
_LARGEST = {
    "magnitude_weights": 1024,
    "expected": 2**30,
    "logarithms": 2048,
    "base": 2**30,
    "prediction": 1024,
}


@dataclass(frozen=True)
class Adaptation:
    """Integers that the decoder derives table indexes with; channels in their coding order.

    Attributes:
        order: int32 [channels], the latents' channels in the order in which they are coded.
        group_sizes: int32 [groups], channels of each group.
        magnitude_weights: int32 [channels], weight of a channel in its group's magnitude,
            1 to 1024.
        expected: int32 [groups], mean of each group's magnitude, at least 1.
        logarithms: int16 [4096], 256 log2 of a magnitude, which is the index / 64.
        base: int32 [4, channels], 65536 times the table's index if all logarithms are 0.
        weights: int16 [4, channels, 5], factors of the features' logarithms, in the same unit.
        prediction: int16 [4, channels], 512 times the part of the neighbours' mean that is
            taken off before coding, at most 1024 in magnitude.
        cdf: int32, the tables of tensorflow-compression's range coder in a row, each with
            16 before it; the last entry of a table stands for all values beyond it.
        cdf_offset: int32 [tables], the value of each table's first entry.
    """

    order: np.ndarray
    group_sizes: np.ndarray
    magnitude_weights: np.ndarray
    expected: np.ndarray
    logarithms: np.ndarray
    base: np.ndarray
    weights: np.ndarray
    prediction: np.ndarray
    cdf: np.ndarray
    cdf_offset: np.ndarray

    def __post_init__(self) -> None:
        """Check everything that the coder relies on.

        Raises:
            ValueError: an array has another type, length or range; names it.
        """
        for name, array in self.arrays().items():
            if not array.size:
                raise ValueError(f"{name} is empty")
        channels, groups = self.order.size, self.group_sizes.size
        shapes = {
            "order": (channels,),
            "group_sizes": (groups,),
            "magnitude_weights": (channels,),
            "expected": (groups,),
            "logarithms": (LOGARITHMS,),
            "base": (PASSES, channels),
            "weights": (PASSES, channels, FEATURES),
            "prediction": (PASSES, channels),
            "cdf": (self.cdf.size,),
            "cdf_offset": (self.cdf_offset.size,),
        }
        for name, array in self.arrays().items():
            dtype = np.int16 if name in ("logarithms", "weights", "prediction") else np.int32
            if array.dtype != dtype or array.shape != shapes[name]:
                raise ValueError(
                    f"{name} is {array.dtype}{list(array.shape)}, "
                    f"expected {np.dtype(dtype)}{list(shapes[name])}"
                )
            # Not abs, which leaves the smallest integer negative.
            largest = _LARGEST.get(name)
            if largest and (array.min() < -largest or array.max() > largest):
                raise ValueError(f"{name} exceeds {largest}")
        if not np.array_equal(np.sort(self.order), np.arange(channels)):
            raise ValueError("order does not name every channel once")
        if self.group_sizes.min() < 1:
            raise ValueError("group_sizes has an empty group")
        if self.group_sizes.astype(np.int64).sum() != channels:
            raise ValueError(f"group_sizes do not add up to {channels} channels")
        for name in ("magnitude_weights", "expected"):
            if getattr(self, name).min() < 1:
                raise ValueError(f"{name} has an entry under 1")
        if self.cdf.size > _MAX_ENTRIES:
            raise ValueError(f"cdf has more than {_MAX_ENTRIES} numbers")
        tables = _checked_tables(self.cdf)
        if len(tables) != len(self.cdf_offset):
            raise ValueError(f"cdf has {len(tables)} tables, cdf_offset {len(self.cdf_offset)}")
        for table, offset in zip(tables, self.cdf_offset.tolist(), strict=True):
            if not 1 - len(table) < offset <= 0:
                raise ValueError("cdf_offset does not fit its table")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all integers by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _checked_tables(cdf: np.ndarray) -> list[np.ndarray]:
    """Return the tables in `Adaptation.cdf`, each at least 16, 0, a number and 65536.

    Raises:
        ValueError: it does not consist of tables that rise from 0 to 65536.
    """
    if cdf[-1] != 1 << PRECISION:
        raise ValueError("cdf ends within a table")
    tables = split_tables(cdf)
    for table in tables:
        rising = table[1:]
        rises = len(rising) > 2 and rising[0] == 0 and np.diff(rising).min() > 0
        if table[0] != PRECISION or not rises:
            raise ValueError("cdf has a table that does not rise from 0 to 65536")
    return tables
