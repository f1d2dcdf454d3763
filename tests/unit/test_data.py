"""What balle2017.data offers beside the training input, which the trainings test."""

import numpy as np
import pytest
from balle2017.data import load_image_paths, preprocess_image
from balle2017.errors import InputError
from helpers import make_picture
from PIL import Image


def test_a_picture_becomes_its_centre(picture_folder):
    paths = load_image_paths(picture_folder)
    assert [path.name for path in paths] == [f"{seed}.png" for seed in range(5)]
    pixels = make_picture(2)
    np.testing.assert_array_equal(np.asarray(Image.open(paths[2])), pixels)
    height, width, _ = pixels.shape
    top, left = (height - 32) // 2, (width - 32) // 2
    centre = pixels[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(preprocess_image(paths[2], 32), centre)


def test_a_picture_smaller_than_the_patch_is_refused(picture_folder):
    with pytest.raises(InputError, match=r"0\.png is 64x48, smaller than the patch size 49"):
        preprocess_image(picture_folder / "0.png", 49)
