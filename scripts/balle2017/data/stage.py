"""The data stage under its documented names: archive in, patches out."""

from __future__ import annotations

import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from balle2017.data.extraction import extract_archives
from balle2017.data.images import list_images, read_image
from balle2017.data.preparation import ExtractSettings
from balle2017.data.store import ImageStore
from balle2017.errors import InputError
from balle2017.training.input import PatchSampler, centre_crop, centre_patches

if TYPE_CHECKING:
    import tensorflow as tf

    from balle2017.training.settings import TrainingSettings


def extract_tar(path: Path, out: Path, settings: ExtractSettings | None = None) -> Counter:
    """Decode the pictures of a tar, nested tars included, into a dataset folder.

    Returns how many members were accepted, skipped and rejected.

    Raises:
        InputError: not a tar, damaged, or without a usable image.
    """
    if not Path(path).is_file() or not tarfile.is_tarfile(path):
        raise InputError(f"{path} is not a tar archive")
    return extract_archives([Path(path)], out, settings or ExtractSettings())


def extract_zip(path: Path, out: Path, settings: ExtractSettings | None = None) -> Counter:
    """Decode the pictures of a zip into a dataset folder; see `extract_tar`."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a zip archive")
    return extract_archives([Path(path)], out, settings or ExtractSettings())


def load_image_paths(folder: Path) -> list[Path]:
    """Return the pictures directly in a folder, sorted by name."""
    return list_images(folder)


def preprocess_image(path: Path, patch_size: int) -> np.ndarray:
    """Read a picture and return its centre crop, uint8 [patch_size, patch_size, 3].

    Raises:
        InputError: the picture is smaller than the patch.
        BadImageError: it cannot be read.
    """
    pixels = read_image(path)
    height, width, _ = pixels.shape
    if min(height, width) < patch_size:
        raise InputError(f"{path} is {width}x{height}, smaller than the patch size {patch_size}")
    return centre_crop(pixels, patch_size)


def create_train_val_datasets(
    train_list: Path, val_list: Path, settings: TrainingSettings, start_step: int = 0
) -> tuple[tf.data.Dataset, np.ndarray]:
    """Return the training input from `start_step` on, and the validation patches.

    Returns:
        A dataset of (step int64, patches uint8 [batch, patch, patch, 3]) that ends
        with the last step of the run, and the centre crops of the validation
        images, uint8 [n, patch, patch, 3].
    """
    import tensorflow as tf

    sampler = PatchSampler(
        ImageStore(train_list),
        settings.patch_size,
        settings.batch_size,
        settings.patches_per_image,
        settings.seed,
        settings.flip,
    )
    shape = (settings.batch_size, settings.patch_size, settings.patch_size, 3)

    def load(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        patches = tf.numpy_function(sampler.batch, [step], tf.uint8, stateful=False)
        return step, tf.ensure_shape(patches, shape)

    steps = tf.data.Dataset.range(start_step, settings.total_steps)
    train = steps.map(load, num_parallel_calls=1, deterministic=True).prefetch(4)
    return train, centre_patches(ImageStore(val_list), settings.patch_size)
