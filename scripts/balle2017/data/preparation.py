"""From an encoded picture to the pixels that are stored, or the reason why not."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from balle2017.data.images import MAX_PIXELS, decode_image
from balle2017.data.store import pixel_hash
from balle2017.errors import BadImageError, InputError


@dataclass(frozen=True)
class ExtractSettings:
    """What decides the content of a dataset, beside the archives themselves.

    Attributes:
        min_size: pictures with a shorter side, in pixels, are rejected.
        max_images: keep only this many members, those with the lowest hash.
        seed: makes another choice of members and other scales.
        max_pixels: larger pictures are rejected before they are decoded.
        max_rejected: a larger share of rejected pictures ends the run.
        downscale: lowest and highest factor of a random reduction, which hides the
            artefacts of JPEG sources; no side falls below min_size. None: as they are.
        max_saturated: pictures with a larger share of samples at 0 or 255 are rejected.
        min_deviation: pictures whose standard deviation, on 0..255, is lower are rejected.

    Raises:
        InputError: a value is out of its range.
    """

    min_size: int = 64
    max_images: int | None = None
    seed: int = 1
    max_pixels: int = MAX_PIXELS
    max_rejected: float = 0.5
    downscale: tuple[float, float] | None = None
    max_saturated: float | None = None
    min_deviation: float | None = None

    def __post_init__(self) -> None:
        """Check every bound."""
        if self.min_size < 1:
            raise InputError(f"min_size is {self.min_size}; it must be at least 1")
        if self.max_images is not None and self.max_images < 2:
            raise InputError(f"max_images is {self.max_images}; it must be at least 2")
        if self.downscale is not None and not 0 < self.downscale[0] <= self.downscale[1] <= 1:
            low, high = self.downscale
            raise InputError(f"downscale is {low} {high}; it must be two rising factors up to 1")
        for name in ("max_rejected", "max_saturated"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} is {value}; it must lie between 0 and 1")


def uniform(seed: int, digest: str) -> float:
    """Return a number in [0, 1) that depends on a seed and a hash alone."""
    key = hashlib.sha256(f"{seed}:{digest}".encode()).digest()
    return int.from_bytes(key[:8], "big") / 2**64


def _reduce(pixels: np.ndarray, digest: str, settings: ExtractSettings) -> tuple[np.ndarray, float]:
    """Scale a picture down by its own random factor."""
    assert settings.downscale is not None
    height, width, _ = pixels.shape
    low, high = settings.downscale
    factor = low + (high - low) * uniform(settings.seed, digest)
    factor = min(1.0, max(factor, settings.min_size / min(height, width)))
    width, height = (max(settings.min_size, round(side * factor)) for side in (width, height))
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image), factor


@dataclass(frozen=True)
class Prepared:
    """A picture that was examined.

    Attributes:
        row: columns of the manifest.
        pixels: uint8 [height, width, 3], or None where the picture is not used.
    """

    row: dict[str, Any]
    pixels: np.ndarray | None = None


def prepare(data: bytes, settings: ExtractSettings) -> Prepared:
    """Decode, check and scale one encoded picture."""
    row: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "status": "rejected"}
    try:
        pixels, row["mode"] = decode_image(data, settings.max_pixels, settings.min_size)
    except BadImageError as error:
        return Prepared(row | {"status": error.status, "reason": str(error)})
    # Of the picture as it came, so that a test picture is known after scaling too.
    digest = pixel_hash(pixels)
    row["scale"] = 1
    if settings.downscale is not None:
        pixels, row["scale"] = _reduce(pixels, digest, settings)
    row["height"], row["width"], _ = pixels.shape
    if settings.max_saturated is not None:
        share = float(np.mean((pixels == 0) | (pixels == 255)))
        if share > settings.max_saturated:
            return Prepared(row | {"reason": f"saturated: {share:.0%} of the samples"})
    if settings.min_deviation is not None:
        deviation = float(pixels.std())
        if deviation < settings.min_deviation:
            return Prepared(row | {"reason": f"flat: standard deviation {deviation:.1f}"})
    row |= {"status": "accepted", "reason": "", "pixel_hash": digest}
    return Prepared(row, pixels)
