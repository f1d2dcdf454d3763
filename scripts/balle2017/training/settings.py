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
from balle2017.options import MAX_THREADS, check, option

PRECISION_POLICIES = ("float32", "mixed_float16", "mixed_bfloat16", "auto")
DEVICES = ("auto", "cpu", "gpu")
INITIALIZATIONS = ("random", "cosine")
SCHEDULES = ("constant", "cosine")
QUANTIZATIONS = ("noise", "mixed")


class Pictures(Protocol):
    """Images of a folder, of any size, uint8 [height, width, 3]."""

    folder: Path

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


@dataclass(frozen=True)
class RunOptions:
    """Settings that do not belong to the model: where files go, and what is logged.

    Nothing here changes the weights, except that `check_numerics` changes how they round.

    Attributes:
        save_dir: receives model/, history.csv, run.json, train.log, images/, tensorboard/ and
            snapshots/.
        checkpoint_dir: receives checkpoints while the run lasts.
        keep_checkpoints: leave the checkpoints in place after the export.
        test_pictures: that the finished model is tested on; none: the validation patches.
    """

    save_dir: Path
    checkpoint_dir: Path
    resume: bool = option(
        True, "continue from the newest intact checkpoint, or keep a finished result"
    )
    restart_stale: bool = option(
        False,
        "discard checkpoints made with other settings, data or code instead of stopping with "
        "an error",
    )
    keep_checkpoints: bool = True
    check_numerics: bool = option(False, "stop at the first NaN or infinity and name the tensor")
    export_epochs: tuple[int, ...] = option(
        (), "also export the models of these epochs, to SAVE_DIR/snapshots", min=1
    )
    log_images_every: int = option(5, "epochs between saved reconstructions; 0: never", min=0)
    num_images_to_log: int = option(4, "number of reconstructions saved each time", min=0)
    test_pictures: Pictures | None = None

    def __post_init__(self) -> None:
        """Check every bound."""
        check(self)


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that determines the result of a training run, apart from the images.

    Raises:
        InputError: a value is out of its range; the message names the key.
    """

    patch_size: int = option(
        256, "side of a training patch in pixels, a multiple of 16", min=16, multiple=16
    )
    batch_size: int = option(16, "patches per step", min=1)
    patches_per_image: int = option(1, "patches cut from an image each time it is visited", min=1)
    val_patches_per_image: int = option(
        1,
        "patches per validation image: the centre, then the four corners, then the middles of the "
        "edges",
        min=1,
        max=9,
    )
    flip: bool = option(True, "mirror half of the patches")
    num_filters: int = option(128, "channels of the transforms", min=1, max=MAX_CHANNELS)
    num_latents: int | None = option(
        None,
        "channels of the latents (default: as many as the model of init_from has or, without one, "
        "num_filters, as in the paper)",
        min=1,
        max=MAX_CHANNELS,
    )
    initialization: str = option(
        "random",
        "initialization of the convolutions: random, or a block cosine transform",
        choices=INITIALIZATIONS,
    )
    latent_gain: float | None = option(
        None,
        "initial scale factor of the latents (default: 1 or, with cosine, the quantization step "
        "that suits lambda_rd)",
        above=0,
    )
    quantization: str = option(
        "noise",
        "replacement for rounding in training: noise, as in the paper; mixed: noise for the rate, "
        "and rounding with a straight-through gradient for the synthesis transform",
        choices=QUANTIZATIONS,
    )
    lambda_rd: float = option(
        0.01, "weight of the distortion: loss = bpp + lambda_rd * MSE, pixels on 0..255", above=0
    )
    init_from: str | None = option(
        None,
        "folder of a trained model to start from, or of several, of which training takes the one "
        "with the nearest lambda (default: start from scratch)",
        metavar="MODEL",
    )
    epochs: int = option(100, "number of epochs, of steps_per_epoch steps each", min=1)
    steps_per_epoch: int = option(1000, "steps between validations and checkpoints", min=1)
    learning_rate: float = option(1e-4, "Adam's learning rate for the convolutions", above=0)
    prior_lr_factor: float = option(
        1.0, "learning rate of the prior, relative to learning_rate", above=0
    )
    gdn_lr_factor: float = option(1.0, "learning rate of GDN, relative to learning_rate", above=0)
    relative_lr: bool = option(
        False,
        "give each kernel a learning rate in proportion to the scale of its random "
        "initialization; the first layer has learning_rate",
    )
    lr_schedule: str = option(
        "constant",
        "schedule of the learning rate: constant, or cosine, which falls to 1 %% by the last step",
        choices=SCHEDULES,
    )
    warmup_steps: int = option(0, "steps over which the learning rate first rises from 0", min=0)
    clip_norm: float | None = option(
        None, "clip gradients to this global norm (default: no clipping)", above=0
    )
    average_decay: float | None = option(
        None,
        "validate and export a running average of the weights with this decay per step (default: "
        "the weights themselves)",
        above=0,
        below=1,
    )
    early_stopping_patience: int = option(
        10, "end the run after this many epochs without a lower validation loss", min=1
    )
    precision_policy: str = option(
        "float32",
        "precision of the inner layers; auto: the fastest that suits the device",
        choices=PRECISION_POLICIES,
    )
    seed: int = option(1, "seed of weights, patches and quantization noise", min=0, max=2**32 - 1)
    threads: int = option(
        2, "TensorFlow threads; the result depends on their number", min=1, max=MAX_THREADS
    )
    device: str = option(
        "auto",
        "auto: a GPU where there is one; gpu: a GPU, or fail; cpu: never a GPU",
        choices=DEVICES,
    )

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def __post_init__(self) -> None:
        """Check every bound."""
        check(self)
