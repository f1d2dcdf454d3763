"""Training settings: the one place for their names, defaults, bounds and help.

The command line of `scripts/train.py` is made from this class, and a test holds
the config schema to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from balle2017.model.check import MAX_CHANNELS
from balle2017.options import check, option

PRECISION_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "auto")
DEVICES = ("auto", "cpu", "gpu")
INITIALIZATIONS = ("random", "cosine")
SCHEDULES = ("constant", "cosine")
QUANTIZATIONS = ("noise", "mixed")


class Pictures(Protocol):
    """Pictures of a folder, of any size, uint8 [height, width, 3]."""

    folder: Path

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True)
class RunOptions:
    """What is not a setting of the model: where files go and what is looked at on the way.

    Nothing here changes the weights, but for the rounding under `check_numerics`.

    Attributes:
        save_dir: receives model/, history.csv, run.json, train.log, images/, tensorboard/ and
            snapshots/.
        checkpoint_dir: receives checkpoints while the run lasts.
        keep_checkpoints: leave the checkpoints in place after the export.
        test_pictures: that the finished model is tested on; none: the validation patches.
    """

    save_dir: Path
    checkpoint_dir: Path
    resume: bool = option(True, "go on from the newest sound checkpoint")
    restart_stale: bool = option(
        False, "discard checkpoints made with other settings instead of refusing"
    )
    keep_checkpoints: bool = True
    check_numerics: bool = option(False, "stop at the first NaN or infinity and name the tensor")
    export_epochs: tuple[int, ...] = option(
        (), "export the models of these epochs too, to SAVE_DIR/snapshots", min=1
    )
    log_images_every: int = option(5, "epochs between saved reconstructions; 0: never", min=0)
    num_images_to_log: int = option(4, "how many pictures each time", min=0)
    test_pictures: Pictures | None = None

    def __post_init__(self) -> None:
        """Check every bound."""
        check(self)


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the result of a training run, beside the images.

    Raises:
        InputError: a value is out of its range; the message names the key.
    """

    patch_size: int = option(
        256, "side of a training patch in pixels, a multiple of 16", min=16, multiple=16
    )
    batch_size: int = option(16, "patches per step", min=1)
    patches_per_image: int = option(1, "crops taken each time an image is visited", min=1)
    val_patches_per_image: int = option(
        1,
        "patches of each validation image: the centre, then the four corners, then the middles of "
        "the edges",
        min=1,
        max=9,
    )
    flip: bool = option(True, "mirror half of the patches")
    num_filters: int = option(128, "channels of the transforms", min=1, max=MAX_CHANNELS)
    num_latents: int | None = option(
        None,
        "channels of the latents; none: those of the model of init_from, else num_filters, as "
        "in the paper",
        min=1,
        max=MAX_CHANNELS,
    )
    initialization: str = option(
        "random",
        "start of the convolutions: random, or as a block cosine transform",
        choices=INITIALIZATIONS,
    )
    latent_gain: float | None = option(
        None,
        "factor on the latents' scale at the start of training; none: 1, or for cosine "
        "the quantization step that suits lambda_rd",
        above=0,
    )
    quantization: str = option(
        "noise",
        "what training has in place of rounding: noise, as in the paper; mixed: noise for the "
        "rate, and for the synthesis transform rounding with the gradient of the identity",
        choices=QUANTIZATIONS,
    )
    lambda_rd: float = option(
        0.01, "weight of the distortion: loss = bpp + lambda_rd * MSE, pixels on 0..255", above=0
    )
    init_from: str | None = option(
        None,
        "folder of a trained model to start from, or of several, of which the one of the "
        "nearest lambda is taken; none: start anew",
        metavar="MODEL",
    )
    epochs: int = option(100, "epochs; an epoch is steps_per_epoch steps", min=1)
    steps_per_epoch: int = option(1000, "steps between validations and checkpoints", min=1)
    learning_rate: float = option(1e-4, "Adam's learning rate for the convolutions", above=0)
    prior_lr_factor: float = option(1.0, "the prior's learning rate, relative", above=0)
    gdn_lr_factor: float = option(1.0, "GDN's learning rate, relative", above=0)
    relative_lr: bool = option(
        False,
        "give each kernel a learning rate in proportion to its scale at a random start, "
        "the first layer's being learning_rate",
    )
    lr_schedule: str = option(
        "constant",
        "course of the learning rate: cosine falls to 1 %% of it by the last step",
        choices=SCHEDULES,
    )
    warmup_steps: int = option(0, "steps over which the learning rate rises from 0", min=0)
    clip_norm: float | None = option(
        None, "largest global norm of the gradients; none: no clipping", above=0
    )
    average_decay: float | None = option(
        None,
        "decay per step of a running average of the weights, which is then what is "
        "validated and exported; none: the weights themselves",
        above=0,
        below=1,
    )
    early_stopping_patience: int = option(
        10, "epochs without a lower validation loss before the run ends", min=1
    )
    precision_policy: str = option(
        "float32",
        "precision of the inner layers; auto: the fastest right one on the device",
        choices=PRECISION_POLICIES,
    )
    seed: int = option(1, "seed of weights, patches and quantization noise", min=0, max=2**32 - 1)
    threads: int = option(2, "TensorFlow's threads; the result depends on it", min=1)
    device: str = option(
        "auto", "auto: a GPU where there is one; gpu: fail without one", choices=DEVICES
    )

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def __post_init__(self) -> None:
        """Check every bound."""
        check(self)
