"""Choose the table of the next value by what is decoded already.

The factorized prior has one density per channel for all images and positions. Where an
image is busy, most channels are, so the magnitudes nearby tell how wide a value's
distribution is. Channels are coded in groups of falling mean magnitude, each in four
passes over the positions:

    0 2 0 2
    3 1 3 1
    0 2 0 2

so that all values of a pass and group can be computed and coded at once. A value is
coded with one of a row of tables, whose widths grow by a constant factor, so that its
index is the logarithm of the expected magnitude:

    index = (base + sum over features f of weight(f) log2(f)) / 65536

Everything here is computed in integers from integers. No float reaches an index, so a file
decodes to the same latents on every machine. docs/b17.md has all rules.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from balle2017.model.adaptation import FEATURES, LOGARITHMS

#: Row and column of the first position of each pass; every second one follows.
_FIRST = ((0, 0), (1, 1), (0, 1), (1, 0))
_DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES = ((-1, 0), (0, -1), (0, 1), (1, 0))
#: The neighbours that were coded in earlier passes; none in the first.
_NEIGHBOURS = ((), _DIAGONAL, _SIDES, _SIDES)
#: Larger magnitudes count as this one.
LARGEST_MAGNITUDE = 1023
_EARLIER, _EARLIER_AROUND, _BEFORE, _GROUP_AROUND, _CHANNEL_AROUND = range(FEATURES)


def _around(padded: np.ndarray, pass_: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the sums over a pass's neighbours, which are 0 outside of the image.

    Args:
        padded: [..., height + 2, width + 2], one position more on each side.
        pass_: which.
        shape: height and width.
    """
    total = None
    for row, column in _NEIGHBOURS[pass_]:
        top, left = 1 + row + _FIRST[pass_][0], 1 + column + _FIRST[pass_][1]
        # The last position of this pass is at most shape - 1, its neighbour one further.
        part = padded[..., top : shape[0] + 1 + row : 2, left : shape[1] + 1 + column : 2]
        total = part.copy() if total is None else np.add(total, part, out=total)
    assert total is not None
    return total


@dataclass(frozen=True)
class Step:
    """One pass over one group, with what is known before its values are decoded.

    Attributes:
        group: number of the group.
        pass_: number of the pass, 0 to 3.
        where: its part of the values [channels, height, width].
        shared: logarithms that all its channels share, int32 [rows, columns], by feature.
        own: logarithms int32 [channels, rows, columns] of the channel's own
            neighbours; none in the first pass.
        neighbours: the group's values with their neighbours, clipped, int16
            [channels, height + 2, width + 2].
        reciprocal: int32 [rows, columns], 64 / neighbours of each position, rounded down;
            none in the first pass.
    """

    group: int
    pass_: int
    where: tuple[slice, slice, slice]
    shared: dict[int, np.ndarray]
    own: np.ndarray | None
    neighbours: np.ndarray
    reciprocal: np.ndarray | None

    def features(self) -> dict[int, np.ndarray]:
        """Return the logarithms of each feature, int32 [channels or 1, rows, columns]."""
        found = {feature: plane[None] for feature, plane in self.shared.items()}
        return found if self.own is None else found | {_CHANNEL_AROUND: self.own}

    def mean(self, channels: np.ndarray) -> np.ndarray:
        """Return 64 times the mean of the neighbours' values, in any pass but the first.

        At the image's edge, where a position has three neighbours, it is 63 times the mean.

        Args:
            channels: int [n], of the group.

        Returns:
            int32 [n, rows, columns].
        """
        assert self.reciprocal is not None
        height, width = (side - 2 for side in self.neighbours.shape[1:])
        return _around(self.neighbours[channels], self.pass_, (height, width)) * self.reciprocal


def passes_of(height: int, width: int) -> list[int]:
    """Return the passes in which an image of this many latents has positions.

    One that is a single latent high or wide has none in some passes.
    """
    return [p for p, (row, column) in enumerate(_FIRST) if row < height and column < width]


def steps(
    values: np.ndarray,
    group_sizes: np.ndarray,
    magnitude_weights: np.ndarray,
    expected: np.ndarray,
    logarithms: np.ndarray,
) -> Iterator[Step]:
    """Yield all steps in order; a step's values must be in place before the next is requested.

    Args:
        values: int32 or int16 [channels, height, width], channels in coding order; for a step
            only the values of the steps before it are read.
        group_sizes, magnitude_weights, expected, logarithms: see `Adaptation`.
    """
    _, height, width = values.shape
    logarithms = logarithms.astype(np.int32)
    inside = np.pad(np.ones((height, width), np.int32), 1)
    passes = passes_of(height, width)
    reciprocals = {p: 64 // _around(inside, p, (height, width)) for p in passes if p}
    around = np.maximum(_sum_of_eight(inside), 1)
    total = np.zeros((height, width), np.int64)
    before = total
    stops = np.cumsum(group_sizes).tolist()

    def relative(magnitude: np.ndarray, mean: int) -> np.ndarray:
        return np.minimum(magnitude * 64 // mean, LOGARITHMS - 1)

    for group, stop in enumerate(stops):
        channels = slice(stop - int(group_sizes[group]), stop)
        planes: dict[int, np.ndarray] = {}
        if group:
            earlier = relative(total, int(expected[:group].sum(dtype=np.int64)))
            planes[_EARLIER] = logarithms[earlier]
            planes[_EARLIER_AROUND] = logarithms[_sum_of_eight(np.pad(earlier, 1)) // around]
            planes[_BEFORE] = logarithms[relative(before, int(expected[group - 1]))]
        weights = magnitude_weights[channels, None, None]
        # Half the size of int32, and four times the largest magnitude fits.
        signed = np.zeros((stop - channels.start, height + 2, width + 2), np.int16)
        magnitudes = np.zeros_like(signed)
        current = np.zeros((height + 2, width + 2), np.int64)
        for pass_ in passes:
            row, column = _FIRST[pass_]
            positions = slice(row, None, 2), slice(column, None, 2)
            shared = {feature: plane[positions] for feature, plane in planes.items()}
            own = reciprocal = None
            if pass_:
                reciprocal = reciprocals[pass_]
                near = _around(current, pass_, (height, width)) * reciprocal
                near = np.minimum(near // int(expected[group]), LOGARITHMS - 1)
                shared[_GROUP_AROUND] = logarithms[near]
                own = _around(magnitudes, pass_, (height, width)).astype(np.int32)
                own *= reciprocal
                own = logarithms.take(np.minimum(own, LOGARITHMS - 1, out=own))
            yield Step(group, pass_, (channels, *positions), shared, own, signed, reciprocal)
            new = values[channels, *positions]
            new = np.clip(new, -LARGEST_MAGNITUDE, LARGEST_MAGNITUDE)
            inner = slice(1 + row, -1, 2), slice(1 + column, -1, 2)
            signed[:, *inner] = new
            np.abs(new, out=new)
            magnitudes[:, *inner] = new
            current[inner] = (weights * new).sum(0)
        before = current[1:-1, 1:-1]
        total = total + before


def _sum_of_eight(padded: np.ndarray) -> np.ndarray:
    """Return the sums over the eight positions around each, [height, width]."""
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - padded[1:-1, 1:-1]


def indexes(step: Step, base: np.ndarray, weights: np.ndarray, tables: int) -> np.ndarray:
    """Return the table of each value of a step, int32 [channels, rows, columns].

    Overwrites `step.own` and returns it, to save memory: ask for `Step.features` before, and
    call this once.

    Args:
        step: the step.
        base: int32 [channels], of the step's channels and pass.
        weights: int32 [channels, 5], likewise.
        tables: how many there are.
    """
    _, rows, columns = step.where
    height, width = (side - 2 for side in step.neighbours.shape[1:])
    shape = (len(base), -(-(height - rows.start) // 2), -(-(width - columns.start) // 2))
    if step.own is None:
        total = np.empty(shape, np.int32)
        total[:] = base[:, None, None]
    else:
        total = step.own
        total *= weights[:, _CHANNEL_AROUND, None, None]
        total += base[:, None, None]
    for feature, plane in step.shared.items():
        total += weights[:, feature, None, None] * plane
    total >>= 16
    return np.clip(total, 0, tables - 1, out=total)


def predictions(step: Step, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which channels of a step are predicted, and what is taken off their values.

    Args:
        step: the step.
        prediction: int [channels], of the step's channels and pass.

    Returns:
        int [n] within the group, and int32 [n, rows, columns].
    """
    channels = np.flatnonzero(prediction)
    if not len(channels):
        return channels, np.zeros((0, 1, 1), np.int32)
    factors = prediction[channels, None, None].astype(np.int32)
    return channels, (factors * step.mean(channels) + (1 << 14)) >> 15
