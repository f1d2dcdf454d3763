"""Training patches as a pure function of (seed, step)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from balle2017.data.store import ImageStore
from balle2017.errors import InputError
from balle2017.training.settings import TrainingSettings

if TYPE_CHECKING:
    import tensorflow as tf

# Domains of the counter-based generator, so that no two uses share a stream.
_ORDER, _CROP = 0, 1

# Where validation patches lie, in this order: offsets down and to the right, in halves of the
# largest possible offset.
_PLACES = (
    *((1, 1),),
    *((0, 0), (0, 2), (2, 0), (2, 2)),
    *((0, 1), (1, 0), (1, 2), (2, 1)),
)


def _generator(seed: int, domain: int, counter: int) -> np.random.Generator:
    """Return the random stream number `counter` of a domain."""
    return np.random.Generator(np.random.Philox(key=[seed, domain], counter=[0, 0, 0, counter]))


def check_sizes(store: ImageStore, patch_size: int) -> None:
    """Raise InputError if an image is smaller than the patch or there is none."""
    if not len(store):
        raise InputError("the image list is empty")
    for index, name in enumerate(store.names):
        height, width, _ = store.shape(index)
        if min(height, width) < patch_size:
            raise InputError(
                f"image {name} is {width}x{height}, smaller than the patch size {patch_size}; "
                f"lower the patch size (training.patch_size, --patch_size of train.py), or leave "
                "such images out (data.min_size, --min_size of extract.py)"
            )


class PatchSampler:
    """Draw batches of random crops.

    Every pass over the images is a new random order. Each visit to an image
    takes `patches_per_image` new crops. Batch number `step` depends on the seed
    and the step alone, so training continues after a restart as if it had not stopped.
    """

    def __init__(
        self,
        store: ImageStore,
        patch_size: int,
        batch_size: int,
        patches_per_image: int,
        seed: int,
        flip: bool,
    ):
        """See `TrainingSettings` for the meaning of the arguments."""
        check_sizes(store, patch_size)
        self._store = store
        self._patch_size = patch_size
        self._batch_size = batch_size
        self._patches_per_image = patches_per_image
        self._seed = seed
        self._flip = flip
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0))

    def _image_index(self, visit: int) -> int:
        number, position = divmod(visit, len(self._store))
        if self._order[0] != number:
            order = _generator(self._seed, _ORDER, number).permutation(len(self._store))
            self._order = (number, order)
        return int(self._order[1][position])

    def batch(self, step: int) -> np.ndarray:
        """Return the patches of a step, uint8 [batch_size, patch_size, patch_size, 3]."""
        size = self._patch_size
        patches = np.empty((self._batch_size, size, size, 3), np.uint8)
        draws = _generator(self._seed, _CROP, step).random((self._batch_size, 3))
        for slot, (top, left, mirror) in enumerate(draws):
            number = step * self._batch_size + slot
            image = self._store[self._image_index(number // self._patches_per_image)]
            height, width, _ = image.shape
            y = int(top * (height - size + 1))
            x = int(left * (width - size + 1))
            patch = image[y : y + size, x : x + size]
            patches[slot] = patch[:, ::-1] if self._flip and mirror < 0.5 else patch
        return patches


def validation_patches(store: ImageStore, patch_size: int, per_image: int = 1) -> np.ndarray:
    """Return patches that are the same in every run, uint8 [n, patch_size, patch_size, 3].

    In order of places, and for each place in order of images: all centres come first. In an
    image that is hardly larger than a patch they overlap; places that coincide count once.

    Args:
        store: the images.
        patch_size: side of a patch in pixels.
        per_image: how many places, 1 to 9: the centre, then the four corners, then the middles
            of the four edges.

    Raises:
        InputError: an image is smaller than a patch, or there is none.
    """
    check_sizes(store, patch_size)
    patches: dict[tuple[int, int, int], np.ndarray] = {}
    for down, right in _PLACES[:per_image]:
        for index in range(len(store)):
            image = store[index]
            height, width, _ = image.shape
            y, x = (height - patch_size) * down // 2, (width - patch_size) * right // 2
            if (index, y, x) not in patches:
                # A copy: views would keep all images mapped.
                patch = image[y : y + patch_size, x : x + patch_size].copy()
                patches[index, y, x] = patch
    return np.stack(list(patches.values()))


def create_train_val_datasets(
    train_list: Path, val_list: Path, settings: TrainingSettings, start_step: int = 0
) -> tuple[tf.data.Dataset, np.ndarray]:
    """Return the training input from `start_step` on, and the validation patches.

    Returns:
        A dataset of (step int64, patches uint8 [batch, patch, patch, 3]) that ends
        with the last step of the run, and those of `validation_patches`.
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
    validation = validation_patches(
        ImageStore(val_list), settings.patch_size, settings.val_patches_per_image
    )
    return train, validation
