import math

import numpy as np
import pytest
from balle2017.data.images import read_image
from balle2017.decibel import ms_ssim_db, psnr_db
from balle2017.results import metrics
from helpers import make_picture


def test_psnr_by_hand():
    black = np.zeros((2, 2, 3), np.uint8)
    grey = np.full((2, 2, 3), 5, np.uint8)
    # Mean squared error 25: 10 log10(65025 / 25) = 34.1514 dB.
    assert metrics.psnr(black, grey) == pytest.approx(34.1514, abs=1e-4)
    assert metrics.psnr(black, black) == math.inf


def test_psnr_does_not_wrap_around():
    black, white = np.zeros((1, 1, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)
    assert metrics.psnr(black, white) == metrics.psnr(white, black) == 0


def test_luma_is_bt601():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(metrics.luma(pixels)[0], [76.245, 149.685, 29.07, 255])


def test_decibels():
    assert psnr_db(0) == math.inf
    assert psnr_db(255**2) == 0
    assert ms_ssim_db(0.9) == pytest.approx(10)
    assert ms_ssim_db(1) is None
    assert ms_ssim_db(None) is None


@pytest.mark.parametrize("size", [(176, 176), (177, 251), (300, 451)])
def test_ms_ssim_equals_tensorflow(tensorflow, size):
    original = make_picture(1, *size)
    noise = np.random.default_rng(2).normal(0, 12, original.shape)
    decoded = np.clip(original + noise, 0, 255).astype(np.uint8)
    per_channel = [
        tensorflow.image.ssim_multiscale(
            original[:, :, channel : channel + 1], decoded[:, :, channel : channel + 1], 255
        ).numpy()
        for channel in range(3)
    ]
    # TensorFlow computes in float32.
    assert metrics.ms_ssim(original, decoded) == pytest.approx(np.mean(per_channel), abs=2e-5)


def test_ms_ssim_of_equal_pictures_is_one():
    picture = make_picture(1, 200, 200)
    assert metrics.ms_ssim(picture, picture) == pytest.approx(1, abs=1e-12)


def test_ms_ssim_of_small_pictures_is_left_out():
    picture = make_picture(1, 175, 300)
    assert metrics.ms_ssim(picture, picture) is None


def test_ms_ssim_on_a_real_photograph(kodak_dir, tensorflow):
    original = read_image(kodak_dir / "kodim15.png")
    decoded = (original // 24 * 24 + 12).clip(0, 255).astype(np.uint8)
    expected = tensorflow.image.ssim_multiscale(original, decoded, 255).numpy()
    assert metrics.ms_ssim(original, decoded) == pytest.approx(float(expected), abs=2e-5)
