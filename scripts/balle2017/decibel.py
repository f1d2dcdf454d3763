"""Distortions on a logarithmic scale."""

import math


def psnr_db(mse: float) -> float:
    """Return the PSNR in dB of a mean squared error on 0..255; infinity for 0."""
    return 10 * math.log10(255**2 / mse) if mse > 0 else math.inf


def ms_ssim_db(value: float | None) -> float | None:
    """Return MS-SSIM in dB: -10 log10(1 - value); None for 1, and for what is missing."""
    return -10 * math.log10(1 - value) if value is not None and value < 1 else None
