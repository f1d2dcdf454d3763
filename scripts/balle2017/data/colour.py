"""From the samples of a picture's file to 8-bit sRGB over white."""

import functools
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

from balle2017.data.reasons import Reason, refuse

# Characters of a profile's description, of which a megabyte may be in each row of a manifest.
_LONGEST_NAME = 100

#: x and y of red, green, blue and white.
Primaries = tuple[tuple[float, float], ...]

_D65 = (0.3127, 0.3290)
_SRGB: Primaries = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65)

#: By the numbers of ITU-T H.273, which AVIF and PNG use; 2 is "unspecified".
_PRIMARIES: dict[int, Primaries] = {
    1: _SRGB,
    2: _SRGB,
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), _D65),
    6: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),
    7: ((0.63, 0.34), (0.31, 0.595), (0.155, 0.07), _D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    12: ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), _D65),
}

#: The exponent that makes samples linear; None is the curve of sRGB, which also stands for those
#: of television (1, 6, 14, 15).
_GAMMAS: dict[int, float | None] = {
    **dict.fromkeys([1, 2, 6, 13, 14, 15]),
    4: 2.2,
    5: 2.8,
    8: 1.0,
}


@dataclass(frozen=True)
class Space:
    """An RGB space that a file describes by numbers.

    Attributes:
        name: for the manifest.
        primaries: chromaticities.
        gamma: sample ** gamma is linear; None: the curve of sRGB.
    """

    name: str
    primaries: Primaries
    gamma: float | None

    def is_srgb(self) -> bool:
        """Tell whether its pixels are shown as they are."""
        near = np.allclose(self.primaries, _SRGB, rtol=0, atol=0.005)
        return near and self.gamma is None


def coded_space(primaries: int, transfer: int) -> Space:
    """Return the space that two numbers of ITU-T H.273 stand for.

    Raises:
        BadImageError: it is not known, or of high dynamic range.
    """
    name = f"CICP {primaries}/{transfer}"
    if primaries not in _PRIMARIES or transfer not in _GAMMAS:
        raise refuse(Reason.UNREAD_KIND, kind=f"colours of {name}")
    return Space(name, _PRIMARIES[primaries], _GAMMAS[transfer])


def calibrated_space(gamma: float | None, primaries: Primaries | None) -> Space:
    """Return the space of a PNG's gAMA (1 / exponent) and cHRM."""
    # 1/2.2 means sRGB; like libpng, ignore a difference of less than 5 %.
    exponent = None if gamma is None or abs(gamma * 2.2 - 1) < 0.05 else 1 / gamma
    name = "gAMA" if primaries is None else "cHRM" if exponent is None else "gAMA cHRM"
    return Space(name, primaries or _SRGB, exponent)


@dataclass
class Samples:
    """A picture as its file has it.

    Attributes:
        pixels: uint8 or uint16 [height, width, bands]; of CMYK, 255 is full ink; a and b of Lab
            are signed bytes.
        mode: Pillow's name for the samples in the file.
        kind: L, RGB, CMYK or LAB.
        maximum: the largest value of a sample.
        alpha: [height, width], 0 to `maximum`, or None where all is opaque.
        premultiplied: the pixels were multiplied by alpha.
        profile: an ICC profile.
        space: an RGB space; a profile takes precedence.
        converted: where the pixels are sRGB already, what they were converted from.
    """

    pixels: np.ndarray
    mode: str
    kind: str
    maximum: int = 255
    alpha: np.ndarray | None = None
    premultiplied: bool = False
    profile: bytes | None = None
    space: Space | None = None
    converted: str = ""


def _bands(height: int, width: int) -> Iterator[slice]:
    """Yield bands of rows, so that wide numbers are held for a few only."""
    step = max(1, 2**18 // max(1, width))
    for top in range(0, height, step):
        yield slice(top, top + step)


def to_srgb(samples: Samples) -> tuple[np.ndarray, str]:
    """Return the picture as uint8 [height, width, 3] in sRGB over white.

    Also returns what the colours were converted from; empty where they were not.
    """
    if samples.premultiplied:
        _divide_by_alpha(samples)
    profile, note = samples.profile, samples.converted
    if profile is None and samples.space is not None and samples.kind in ("L", "RGB"):
        pixels, note = _from_space(samples, samples.space)
    else:
        pixels = to_eight_bits(samples.pixels, samples.maximum)
        if samples.kind == "LAB":
            pixels, note = _apply(pixels, _lab_transform()), "Lab"
        elif profile is not None:
            pixels, note = _from_profile(pixels, samples.kind, profile)
        elif samples.kind == "CMYK":
            # Pillow's rule: (255 - ink) * (255 - black) / 255.
            pixels, note = np.asarray(Image.fromarray(pixels, "CMYK").convert("RGB")), "CMYK"
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
    if samples.alpha is not None:
        pixels = _over_white(pixels, samples.alpha, samples.maximum)
    return pixels, note


def to_eight_bits(pixels: np.ndarray, maximum: int) -> np.ndarray:
    """Scale samples from 0..`maximum` to 0..255 and round."""
    if maximum == 255:
        return pixels
    levels = np.rint(np.arange(maximum + 1) * (255 / maximum)).astype(np.uint8)
    return levels[pixels]


def _divide_by_alpha(samples: Samples) -> None:
    assert samples.alpha is not None
    straight = np.empty_like(samples.pixels)
    for rows in _bands(*samples.alpha.shape):
        alpha = np.maximum(samples.alpha[rows], 1)[..., np.newaxis].astype(np.float64)
        full = samples.pixels[rows] * (samples.maximum / alpha)
        straight[rows] = np.rint(np.minimum(full, samples.maximum))
    samples.pixels = straight


def _over_white(pixels: np.ndarray, alpha: np.ndarray, maximum: int) -> np.ndarray:
    result = np.empty_like(pixels)
    for rows in _bands(*alpha.shape):
        share = alpha[rows][..., np.newaxis] / np.float64(maximum)
        result[rows] = np.rint(255 + (pixels[rows] - 255.0) * share)
    return result


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _to_xyz(primaries: Primaries) -> np.ndarray:
    """Return the matrix from linear RGB to XYZ, adapted to the white of sRGB (Bradford)."""
    *colours, white = (_xyz(x, y) for x, y in primaries)
    matrix = np.stack(colours, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    cone = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    scale = np.diag((cone @ _xyz(*_D65)) / (cone @ white))
    return np.linalg.solve(cone, scale @ cone) @ matrix


def _from_space(samples: Samples, space: Space) -> tuple[np.ndarray, str]:
    pixels = samples.pixels
    if space.is_srgb() or (samples.kind == "L" and space.gamma is None):
        pixels = to_eight_bits(pixels, samples.maximum)
        return (np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels), ""
    values = np.arange(samples.maximum + 1) / samples.maximum
    if space.gamma is None:
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    else:
        linear = values**space.gamma
    linear = linear.astype(np.float32)
    matrix = np.linalg.solve(_to_xyz(_SRGB), _to_xyz(space.primaries)).astype(np.float32)
    height, width, _ = pixels.shape
    result = np.empty((height, width, 3), np.uint8)
    for rows in _bands(height, width):
        light = linear[pixels[rows]]
        if light.shape[2] == 3:  # grey has the colour of white, whatever the primaries
            light = light @ matrix.T
        light = np.clip(light, 0, 1)
        curve = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        result[rows] = np.rint(curve * 255)
    return result, space.name


def _apply(pixels: np.ndarray, transform: ImageCms.ImageCmsTransform) -> np.ndarray:
    mode = transform.input_mode
    image = Image.fromarray(pixels[:, :, 0] if mode == "L" else pixels, mode)
    return np.asarray(ImageCms.applyTransform(image, transform))


def _build(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


@functools.lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return _build(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB", 5000)), "LAB")


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, kind: str) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """Return the transform of samples of a kind to sRGB, and the profile's name.

    The transform is None if the samples stay as they are, because the profile is sRGB or cannot
    be used; in the second case the name says why.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        modes = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}
        mode = modes.get(source.profile.xcolor_space)
        # Grey images often keep the RGB profile of the colour image that they were made from.
        if mode is None or (mode != kind and (mode, kind) != ("RGB", "L")):
            return None, "ICC profile of another kind, not used"
        transform = _build(source, mode)
        name = " ".join(ImageCms.getProfileDescription(source)[:_LONGEST_NAME].split())
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None, "unreadable ICC profile, not used"
    if mode != "CMYK":
        # Profiles of sRGB differ by a level, and some only claim to be sRGB: compare colours.
        steps = np.linspace(0, 255, 17).round().astype(np.uint8)
        colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        if mode == "L":
            colours = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
        if np.abs(_apply(colours, transform) - colours.astype(int)).max() <= 2:
            return None, ""
    return transform, name or "ICC profile without a name"


def _from_profile(pixels: np.ndarray, kind: str, profile: bytes) -> tuple[np.ndarray, str]:
    transform, name = _transform(profile, kind)
    if transform is None:
        if kind == "CMYK":
            pixels = np.asarray(Image.fromarray(pixels, "CMYK").convert("RGB"))
            name = f"CMYK, {name}"
        return pixels, name
    if transform.input_mode != kind:
        pixels = np.repeat(pixels, 3, axis=2)
    return _apply(pixels, transform), name
