"""Distortion between two 8-bit images."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import correlate1d

from balle2017.decibel import psnr_db

#: Weights of the five scales (Wang, Simoncelli & Bovik, 2003, section 3.2).
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

#: The smallest side, in pixels, for which the fifth scale still holds the window.
MS_SSIM_MIN_SIDE = 176

_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def psnr(original: np.ndarray, decoded: np.ndarray) -> float:
    """Return the PSNR in dB of uint8 or float arrays on 0..255; infinity if equal."""
    difference = np.asarray(original, np.float64) - np.asarray(decoded, np.float64)
    return psnr_db(float(np.mean(np.square(difference))))


def luma(pixels: np.ndarray) -> np.ndarray:
    """Return BT.601 full-range luma, float64 [height, width] on 0..255, not rounded."""
    return np.asarray(pixels, np.float64) @ np.array([0.299, 0.587, 0.114])


def _blur(planes: np.ndarray) -> np.ndarray:
    """Average over the Gaussian window, where it lies wholly inside ("valid")."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    margin = _WINDOW // 2
    blurred = correlate1d(correlate1d(planes, weights, axis=0), weights, axis=1)
    return blurred[margin:-margin, margin:-margin]


def _similarity(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return SSIM and its contrast-structure part, each per channel."""
    mean_x, mean_y = _blur(x), _blur(y)
    variances = _blur(x * x + y * y) - mean_x**2 - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    contrast = (2 * covariance + _C2) / (variances + _C2)
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    return (luminance * contrast).mean(axis=(0, 1)), contrast.mean(axis=(0, 1))


def _halve(planes: np.ndarray) -> np.ndarray:
    """Average 2x2 blocks; an odd last row or column is repeated."""
    height, width, _ = planes.shape
    planes = np.pad(planes, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return (planes[::2, ::2] + planes[1::2, ::2] + planes[::2, 1::2] + planes[1::2, 1::2]) / 4


def ms_ssim(original: np.ndarray, decoded: np.ndarray) -> float | None:
    """Return MS-SSIM of two uint8 [height, width, 3] images, as the mean over R, G and B.

    Wang, Simoncelli & Bovik, "Multi-scale structural similarity for image quality
    assessment" (2003): five scales, 11x11 Gaussian window of 1.5 pixels.
    None where a side is under `MS_SSIM_MIN_SIDE`.
    """
    if min(original.shape[:2]) < MS_SSIM_MIN_SIDE:
        return None
    x, y = original.astype(np.float64), decoded.astype(np.float64)
    product = np.ones(x.shape[2])
    for scale, weight in enumerate(MS_SSIM_WEIGHTS):
        if scale:
            x, y = _halve(x), _halve(y)
        similarity, contrast = _similarity(x, y)
        last = scale == len(MS_SSIM_WEIGHTS) - 1
        # A negative factor has no real power; the reference clips it at zero.
        product *= np.maximum(similarity if last else contrast, 0) ** weight
    return float(product.mean())


def psnr_y(original: np.ndarray, decoded: np.ndarray) -> float:
    """Return the PSNR in dB of the luma of two uint8 [height, width, 3] images."""
    return psnr(luma(original), luma(decoded))


#: What is measured on every decoded image, by the name of its column: functions of the
#: original and the decoded image, both uint8 [height, width, 3]; None where they are not
#: defined.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float | None]] = {
    "psnr_rgb": psnr,
    "psnr_y": psnr_y,
    "ms_ssim_rgb": ms_ssim,
}
