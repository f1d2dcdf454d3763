"""The conventional codecs we compare with, each with its settings spelt out."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features

from balle2017.errors import InputError


@dataclass(frozen=True)
class ImageCodec:
    """One encoder of Pillow's.

    Attributes:
        format: Pillow's name of the file format.
        suffix: of the files.
        library: Pillow's name of the library, for its version.
        quality: turns a quality number into the encoder's argument.
        options: the other arguments of the encoder.
        bounds: lowest and highest quality.
    """

    format: str
    suffix: str
    library: str
    bounds: tuple[float, float]
    quality: Callable[[float], dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        """Return the compressed file of uint8 pixels [height, width, 3]."""
        buffer = io.BytesIO()
        arguments = self.options | self.quality(quality)
        Image.fromarray(pixels).save(buffer, self.format, **arguments)
        return buffer.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """Return the picture of a compressed file, uint8 [height, width, 3]."""
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image.convert("RGB"))

    def describe(self) -> str:
        """Return the encoder's settings and version in one line."""
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        version = features.version(self.library) or "unknown"
        return f"Pillow {Image.__version__}, {self.library} {version}, {options}"


def _jpeg2000(**options: Any) -> ImageCodec:
    return ImageCodec(
        "JPEG2000",
        ".jp2",
        "jpg_2000",
        (0.01, 24),
        # Pillow wants the ratio to 24 bits per pixel.
        lambda q: {"quality_layers": [24 / q]},
        # mct: without the colour transform the PSNR is 3 dB lower.
        options={"quality_mode": "rates", "mct": 1} | options,
    )


def _jpeg(**options: Any) -> ImageCodec:
    return ImageCodec(
        "JPEG", ".jpg", "jpg", (1, 95), lambda q: {"quality": round(q)}, options=options
    )


#: By the name that the tables use. For jpeg2000 the quality is the rate in bits per
#: pixel that the encoder aims at; for the others it is the usual 1 to 100. Those called
#: plain have the settings of published curves, and check our measurements.
CODECS = {
    "jpeg": _jpeg(subsampling="4:2:0", optimize=True),
    "jpeg_plain": _jpeg(subsampling="4:2:0", optimize=False),
    "jpeg444": _jpeg(subsampling="4:4:4", optimize=True),
    "jpeg2000": _jpeg2000(irreversible=True),
    "jpeg2000_plain": _jpeg2000(irreversible=False),
    "webp": ImageCodec(
        "WEBP", ".webp", "webp", (0, 100), lambda q: {"quality": q}, options={"method": 6}
    ),
    "avif": ImageCodec(
        "AVIF", ".avif", "avif", (0, 100), lambda q: {"quality": round(q)}, options={"speed": 6}
    ),
}


def get_codec(name: str, quality: list[float]) -> ImageCodec:
    """Return a codec by name, after checking the qualities.

    Raises:
        InputError: unknown name, a quality out of range, or Pillow was built without it.
    """
    codec = CODECS.get(name)
    if codec is None:
        raise InputError(f"unknown codec {name!r}; it must be one of {', '.join(CODECS)}")
    low, high = codec.bounds
    for value in quality:
        if not low <= value <= high:
            raise InputError(f"quality {value:g} of {name} must lie between {low} and {high}")
    if not features.check(codec.library):
        raise InputError(f"this Pillow cannot write {name}")
    return codec
