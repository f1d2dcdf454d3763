"""Compress images to bytes and back with a trained model, always in float32.

Images are computed in tiles, so that memory does not grow with them, several tiles
at a time. Where TensorFlow gives each operation one thread, the result does not depend
on the number of threads.
"""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from balle2017.coding.adaptive import AdaptiveCoder
from balle2017.coding.bitstream import ADAPTIVE, MAX_SIDE, STATIC, Bitstream
from balle2017.coding.code_length import END_OF_STREAM_BITS, CodeLengths
from balle2017.coding.refinement import Refinement
from balle2017.coding.static import StaticCoder
from balle2017.coding.tiles import Span, split_plane
from balle2017.data.images import MAX_PIXELS
from balle2017.data.reasons import Reason, refuse
from balle2017.errors import DamagedFileError, WorkError
from balle2017.model.check import MAX_LATENT
from balle2017.model.files import load_model
from balle2017.model.find import model_beside
from balle2017.model.network import STRIDE, latent_shape
from balle2017.model.pixels import to_uint8
from balle2017.model.runtime import check_process
from balle2017.options import check_threads

# A GPU would give other bits, and a program that uses this as a library may need it itself.
_CPU = functools.partial(tf.device, "CPU")

#: Most that the tables may spend beyond the entropy of the prior, relative to it.
_TABLES_TOLERANCE = 0.01


class Encoded(NamedTuple):
    """A compressed image.

    Attributes:
        data: the whole file.
        latents: the integers that it holds, int16 [h, w, channels]: latents less
            `quantization_offset`, rounded or refined.
    """

    data: bytes
    latents: np.ndarray


class Codec:
    """A trained model, ready to code.

    Attributes:
        model: the model.
        adapts: it has an adaptation, so files are coded with it (format version 2)
            wherever that is shorter than with the static prior (version 1).
    """

    def __init__(self, model: Path, threads: int = 1):
        """Load the model in folder `model` (or in its subfolder model/).

        Args:
            model: folder with config.json.
            threads: number of tiles that are computed at the same time, 1 to 1024.

        Raises:
            InputError: there is no sound model.
            WorkError: see `check_process`.
            ValueError: see `check_threads`.
        """
        check_threads(threads)
        check_process()
        with _CPU():
            self.model = load_model(model)
        self._threads = threads
        self._network = self.model.network
        self._channels = self._network.num_latents
        tables = self.model.tables
        self._offset = tables["quantization_offset"]
        self._code_lengths = CodeLengths(tables["cdf"], tables["cdf_offset"])
        adaptation = self.model.adaptation
        self.adapts = adaptation is not None
        self._adaptive = AdaptiveCoder(adaptation) if adaptation is not None else None
        self._fewest_bits = {STATIC: float(self._code_lengths.fewest().sum())}
        if self._adaptive is not None:
            self._fewest_bits[ADAPTIVE] = self._channels * self._adaptive.fewest_bits
        self._static = StaticCoder(tables["cdf"], tables["cdf_offset"])

    # Each is traced once, whatever the sizes of the images.

    @functools.cached_property
    def _analyze(self) -> Callable:
        image = tf.TensorSpec((1, None, None, 3), tf.uint8)
        return tf.function(self._to_latents, autograph=False).get_concrete_function(image)

    @functools.cached_property
    def _reconstruct(self) -> Callable:
        latents = tf.TensorSpec((1, None, None, self._channels), tf.float32)
        return tf.function(self._to_pixels, autograph=False).get_concrete_function(latents)

    @functools.cached_property
    def _refine(self) -> Refinement:
        tables, lambda_rd = self.model.tables, self.model.config["lambda_rd"]
        with _CPU():
            return Refinement(
                self._network, self._offset, self._code_lengths, tables["cdf_offset"], lambda_rd
            )

    def _for_tiles(self, shape: tuple[int, int], function: Callable[[Span, Span], Any]) -> list:
        """Return the function's results for all tiles of latents, in their order."""
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda tile: function(*tile), split_plane(*shape)))

    def _broken(self, what: str) -> WorkError:
        return WorkError(f"the model {self.model.folder} is broken: it makes {what}")

    def _to_latents(self, pixels: tf.Tensor) -> tf.Tensor:
        with _CPU():
            return self._network.analyze(pixels)

    def _to_pixels(self, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return 8-bit pixels, and whether all were finite before."""
        shape = tf.shape(latents)
        with _CPU():
            pixels = self._network.synthesize(latents, STRIDE * shape[1], STRIDE * shape[2])
            return to_uint8(pixels), tf.reduce_all(tf.math.is_finite(pixels))

    def latents(self, pixels: np.ndarray) -> np.ndarray:
        """Return the float32 latents [1, h, w, channels] of uint8 pixels [height, width, 3].

        Raises:
            BadImageError: a side is too long for the format.
            ValueError: the pixels are of another type or shape.
            WorkError: the latents are NaN or beyond `MAX_LATENT`: the model is broken. Or see
                `check_process`.
        """
        return self._analyzed(pixels, np.float32, lambda seen, tile: tile)[None]

    def _integers(self, pixels: np.ndarray, refine: bool) -> np.ndarray:
        """Return the latents as `Encoded` has them; see `latents` for what it raises."""

        def convert(seen: np.ndarray, tile: np.ndarray) -> np.ndarray:
            tile = tile - self._offset
            with _CPU():
                return self._refine(seen, tile) if refine else np.rint(tile)

        return self._analyzed(pixels, np.int16, convert)

    def _analyzed(
        self,
        pixels: np.ndarray,
        dtype: type,
        convert: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Return what `convert` makes of a tile's pixels and latents, [h, w, channels]."""
        check_process()
        if not isinstance(pixels, np.ndarray):
            raise ValueError(
                f"pixels are of type {type(pixels).__name__}; they must be a NumPy array, uint8 "
                "[height, width, 3]"
            )
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(
                f"pixels are {pixels.dtype}{list(pixels.shape)}; they must be uint8 "
                "[height, width, 3]"
            )
        height, width, _ = pixels.shape
        if max(height, width) > MAX_SIDE:
            raise refuse(Reason.LONG_SIDE, width=width, height=height, max_side=MAX_SIDE)
        shape = latent_shape(height, width)
        latents: np.ndarray = np.empty((*shape, self._channels), dtype)

        def analyze(row: Span, column: Span) -> None:
            seen = pixels[row.seen(STRIDE), column.seen(STRIDE)]
            tile = self._analyze(tf.constant(seen[None])).numpy()[0]
            # The range coder never returns from a NaN, or from a number that its escape code
            # cannot hold.
            if not (np.abs(tile) <= MAX_LATENT).all():
                raise self._broken(f"latents that are NaN or beyond {MAX_LATENT}")
            latents[row.given(), column.given()] = convert(seen, tile)[row.inner(), column.inner()]

        self._for_tiles(shape, analyze)
        return latents

    def encode(self, pixels: np.ndarray, adaptive: bool = True, refine: bool = False) -> Encoded:
        """Return the compressed file for uint8 pixels [height, width, 3], and what it holds.

        Args:
            pixels: the image.
            adaptive: use the adaptive coder if the model has one and it takes fewer bytes;
                the file's version tells.
            refine: search for better latents than the rounded ones, which takes longer; see
                `refinement`. Decoding is the same.

        Raises:
            BadImageError, WorkError: see `latents`.
            ValueError: the same, or `refine` is neither True nor False.
        """
        if not isinstance(refine, bool | np.bool_):
            # A string such as "no" would pass for True.
            raise ValueError(f"refine is {refine!r}; it must be True or False")
        latents = self._integers(pixels, refine)
        height, width, _ = pixels.shape
        rows, columns, channels = latents.shape
        shape = rows, columns, channels
        payload = self._static.encode(latents)
        stream = Bitstream(self.model.model_id, width, height, shape, payload)
        if adaptive and self._adaptive is not None:
            payload = self._adaptive.encode(latents)
            if len(payload) < len(stream.payload):
                model_id = self.model.adaptive_id
                stream = Bitstream(model_id, width, height, shape, payload, ADAPTIVE)
        return Encoded(stream.to_bytes(), latents)

    def compress(self, pixels: np.ndarray, adaptive: bool = True, refine: bool = False) -> bytes:
        """Return the compressed file alone; see `encode`."""
        return self.encode(pixels, adaptive, refine).data

    def decompress(self, data: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Return the image of a compressed file, uint8 [height, width, 3].

        Raises:
            DamagedFileError: damaged, made by another model, or over the pixel limit.
            WorkError: the pixels are not finite: the model is broken. Or see `check_process`.
        """
        check_process()
        stream = Bitstream.from_bytes(data)
        # Without an adaptation both are the same.
        adaptive = stream.version == ADAPTIVE
        if stream.model_id != (self.model.adaptive_id if adaptive else self.model.model_id):
            beside = model_beside(self.model.folder, stream.model_id)
            other = stream.model_id.hex() if beside is None else beside
            raise DamagedFileError(f"made by another model ({other}), not by {self.model.folder}")
        if stream.width * stream.height > max_pixels:
            raise DamagedFileError(
                f"over the pixel limit: {stream.width}x{stream.height} is more than {max_pixels}"
            )
        rows, columns = latent_shape(stream.height, stream.width)
        if stream.latent_shape != (rows, columns, self._channels):
            raise DamagedFileError(f"latent shape {stream.latent_shape} does not fit the image")
        if stream.version not in self._fewest_bits:
            raise DamagedFileError(f"format version 2, but {self.model.folder} has no adaptation")
        # Otherwise a few bytes of a stranger could cost the time of the largest image.
        fewest = self._fewest_bits[stream.version] * rows * columns - 4 * END_OF_STREAM_BITS
        if 8 * len(stream.payload) < fewest:
            raise DamagedFileError(
                f"{len(stream.payload)} bytes of payload are too few for "
                f"{stream.width}x{stream.height} pixels"
            )
        try:
            latents = self._decode(stream)
        except tf.errors.OpError as error:
            raise DamagedFileError(f"the payload does not decode: {error.message}") from None
        pixels = np.empty((stream.height, stream.width, 3), np.uint8)

        def synthesize(row: Span, column: Span) -> None:
            seen = latents[row.seen(), column.seen()] + self._offset
            tiles, finite = self._reconstruct(tf.constant(seen[None]))
            if not finite:
                raise self._broken("pixels that are NaN or infinite")
            tile = tiles.numpy()[0]
            inner = tile[row.inner(STRIDE), column.inner(STRIDE)]
            target = pixels[row.given(STRIDE), column.given(STRIDE)]
            target[:] = inner[: target.shape[0], : target.shape[1]]

        self._for_tiles((rows, columns), synthesize)
        return pixels

    def _decode(self, stream: Bitstream) -> np.ndarray:
        """Return the latents of a file of this model as `Encoded` has them."""
        rows, columns, _ = stream.latent_shape
        coder = self._static if stream.version == STATIC else self._adaptive
        assert coder is not None, "`decompress` has looked"
        return coder.decode(stream.payload, rows, columns)

    def place_bits(self, latents: np.ndarray, adaptive: bool = True) -> np.ndarray:
        """Return what each position of integer latents costs by the tables that `encode` uses.

        Args:
            latents: as `encode` returns them.
            adaptive: what `encode` was called with.

        Returns:
            Float64 [h, w], bits, summed over channels; a position is 16x16 pixels.
        """
        # A channel at a time, to save memory with large images.
        bits: np.ndarray = np.zeros(latents.shape[:2])
        for channel in range(self._channels):
            bits += self._code_lengths(channel, latents[..., channel])
        if adaptive and self._adaptive is not None:
            bits = min(bits, self._adaptive.place_bits(latents), key=np.sum)
        return bits

    def channel_bits(self, latents: np.ndarray) -> np.ndarray:
        """Return what each channel of integer latents costs with the static prior.

        Args:
            latents: as `encode` returns them.

        Returns:
            Float64 [channels], bits.
        """
        return np.array(
            [
                self._code_lengths(channel, latents[..., channel]).sum()
                for channel in range(self._channels)
            ]
        )

    def value_bits(self, channel: int, values: np.ndarray) -> np.ndarray:
        """Return what integer values of one channel cost with the static prior, in bits."""
        return self._code_lengths(channel, values)

    def estimated_bits(self, latents: np.ndarray, adaptive: bool = True) -> float:
        """Return the code length of integer latents in bits: the sum of `place_bits`."""
        return float(self.place_bits(latents, adaptive).sum())

    def check_tables(self) -> float:
        """Return the share of the rate that the tables cost beyond the prior's entropy.

        That is the expected code length of latents distributed as the prior says, over
        their entropy, less 1.

        Raises:
            WorkError: it is more than 1 %: tables and weights do not belong together.
        """
        tables = self._code_lengths.tables
        # Values of all entries but the escapes, and beyond them in the shorter tables.
        steps = np.arange(max(map(len, tables)) - 1, dtype=np.float32)
        first = self._offset + self.model.tables["cdf_offset"]
        inside = self._network.prior.distribution.prob(first + steps[:, None]).numpy().T
        expected = entropy = 0.0
        for bits, row in zip(tables, inside.astype(np.float64), strict=True):
            shares = row[: len(bits) - 1]
            shares = np.append(shares, max(1 - shares.sum(), 0))
            expected += float((shares * bits).sum())
            entropy -= float((shares * np.log2(np.maximum(shares, 1e-30))).sum())
        if not entropy > 0:
            raise WorkError(
                f"the model {self.model.folder} is broken: its prior holds no information"
            )
        excess = expected / entropy - 1
        if not excess <= _TABLES_TOLERANCE:
            raise WorkError(
                f"the model {self.model.folder} is broken: its coding tables cost {excess:.1%} "
                "more than its prior says"
            )
        return excess
