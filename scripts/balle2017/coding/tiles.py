"""Tiles that overlap enough to be computed as if the image were whole.

Both transforms look 28 pixels far: half a kernel of 9 at the pixels, of 5 at every
fourth and of 5 at every eighth pixel is 4 + 2 * 4 + 2 * 8. Two latents, 32 pixels, on
each side are enough. At the image's own edges there is no overlap, so that the
layers extend them as they would extend the whole image's.
"""

import itertools
from typing import NamedTuple

#: Most latents on a side of a tile, without the overlap.
_LARGEST = 32
_OVERLAP = 2


class Span(NamedTuple):
    """A tile along one axis, in latents.

    Attributes:
        start: first latent that the tile gives.
        stop: end of those.
        lower: first latent that it is computed from.
        upper: end of those.
    """

    start: int
    stop: int
    lower: int
    upper: int

    def seen(self, scale: int = 1) -> slice:
        """Return what the tile is computed from, in units of 1 / scale latents."""
        return slice(self.lower * scale, self.upper * scale)

    def given(self, scale: int = 1) -> slice:
        """Return what the tile gives, as part of the whole."""
        return slice(self.start * scale, self.stop * scale)

    def inner(self, scale: int = 1) -> slice:
        """Return what the tile gives, as part of what it is computed from."""
        return slice((self.start - self.lower) * scale, (self.stop - self.lower) * scale)


def split_axis(length: int) -> list[Span]:
    """Cover `length` latents with spans of nearly equal length."""
    count = -(-length // _LARGEST)
    edges = [length * index // count for index in range(count + 1)]
    return [
        Span(start, stop, max(0, start - _OVERLAP), min(length, stop + _OVERLAP))
        for start, stop in itertools.pairwise(edges)
    ]


def split_plane(height: int, width: int) -> list[tuple[Span, Span]]:
    """Cover height x width latents with tiles, row by row."""
    return [(row, column) for row in split_axis(height) for column in split_axis(width)]
