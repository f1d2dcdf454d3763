"""The conventional codecs that we compare with, each with all of its settings."""

import contextlib
import importlib.metadata
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pillow_jxl  # noqa: F401 - Pillow reads and writes JPEG XL with it
from PIL import Image, ImageFile, features

from balle2017.errors import CodecLimitError, InputError


@contextlib.contextmanager
def _room_for(pixels: np.ndarray) -> Iterator[None]:
    """Let Pillow's encoders write the file of an image in one piece, however large it is.

    With optimized tables libjpeg does so, and Pillow's own guess is too small for noise, and
    for images of a few rows, which are padded to blocks of 16.
    """
    height, width, channels = pixels.shape
    usual = ImageFile.MAXBLOCK
    ImageFile.MAXBLOCK = max(usual, 2 * channels * (height + 16) * (width + 16))
    try:
        yield
    finally:
        ImageFile.MAXBLOCK = usual


@contextlib.contextmanager
def _limits(what: str) -> Iterator[None]:
    """Turn an error of an encoder or decoder into a `CodecLimitError`."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise CodecLimitError(f"{what}: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class ImageCodec:
    """One of Pillow's encoders.

    Attributes:
        format: Pillow's name of the file format.
        suffix: of the files.
        library: Pillow's name of the library, for its version.
        quality: turns a quality number into the encoder's argument.
        options: the other arguments of the encoder.
        bounds: lowest and highest quality.
        whole: the encoder takes whole qualities only.
        max_side: the longest side that encoder and decoder take, in pixels; None: any.
        package: that adds the format to Pillow and brings the library; None: Pillow itself.
    """

    format: str
    suffix: str
    library: str
    bounds: tuple[float, float]
    quality: Callable[[float], dict[str, Any]]
    options: dict[str, Any] = field(default_factory=dict)
    max_side: int | None = None
    package: str | None = None
    whole: bool = False

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        """Return the compressed file of uint8 pixels [height, width, 3].

        Raises:
            CodecLimitError: the format, or its encoder, cannot hold this image.
        """
        if self.max_side is not None and max(pixels.shape) > self.max_side:
            raise CodecLimitError(f"{self.format} has at most {self.max_side} pixels a side")
        buffer = io.BytesIO()
        arguments = self.options | self.quality(quality)
        with _limits(f"the {self.format} encoder fails"), _room_for(pixels):
            Image.fromarray(pixels).save(buffer, self.format, **arguments)
        return buffer.getvalue()

    def decode(self, data: bytes) -> np.ndarray:
        """Return the image of a compressed file, uint8 [height, width, 3].

        Raises:
            CodecLimitError: the decoder refuses it.
        """
        with (
            _limits(f"the {self.format} decoder fails"),
            Image.open(io.BytesIO(data)) as image,
        ):
            return np.array(image.convert("RGB"))

    def describe(self) -> str:
        """Return the encoder's settings and version in one line."""
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        if self.package is not None:
            library, version = self.package, importlib.metadata.version(self.package)
        else:
            library, version = self.library, features.version(self.library) or "unknown"
        return f"Pillow {Image.__version__}, {library} {version}, {options}"


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
        "JPEG",
        ".jpg",
        "jpg",
        (1, 95),
        lambda q: {"quality": round(q)},
        options=options,
        max_side=65500,
        whole=True,
    )


WEBP_MAX_SIDE = 16383

#: By the name that the tables use. For jpeg2000 the quality is the rate in bits per
#: pixel that the encoder aims at; for the others see `bounds`. Those called plain have
#: the settings of published curves, and check our measurements.
CODECS = {
    "jpeg": _jpeg(subsampling="4:2:0", optimize=True),
    "jpeg_plain": _jpeg(subsampling="4:2:0", optimize=False),
    "jpeg444": _jpeg(subsampling="4:4:4", optimize=True),
    "jpeg2000": _jpeg2000(irreversible=True),
    "jpeg2000_plain": _jpeg2000(irreversible=False),
    "webp": ImageCodec(
        "WEBP",
        ".webp",
        "webp",
        (0, 100),
        lambda q: {"quality": q},
        options={"method": 6},
        max_side=WEBP_MAX_SIDE,
    ),
    "avif": ImageCodec(
        "AVIF",
        ".avif",
        "avif",
        (0, 100),
        lambda q: {"quality": round(q)},
        options={"speed": 6},
        # The encoder takes 65536, libavif decodes no more than this.
        max_side=32768,
        whole=True,
    ),
    "jpegxl": ImageCodec(
        "JXL",
        ".jxl",
        "libjxl",
        # At 100 the plugin asks for what is neither lossless nor lossy, and libjxl refuses.
        (0, 99),
        lambda q: {"quality": q},
        options={"effort": 7, "decoding_speed": 0, "lossless": False, "use_container": False},
        package="pillow-jxl-plugin",
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
        if codec.whole and value != round(value):
            raise InputError(f"quality {value:g} of {name} must be a whole number")
    if codec.package is None and not features.check(codec.library):
        raise InputError(f"this Pillow cannot write {name}")
    return codec
