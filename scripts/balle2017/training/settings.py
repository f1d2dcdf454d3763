"""Training settings: the one place for their names, defaults, bounds and help.

The command line of `scripts/train.py` is made from this class, and a test holds
the config schema to it.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args, get_type_hints

import numpy as np

from balle2017.errors import InputError

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
        resume: go on from the newest sound checkpoint.
        restart_stale: discard checkpoints of other settings instead of refusing them.
        keep_checkpoints: leave the checkpoints in place after the export.
        check_numerics: stop at the first NaN or infinity and name the tensor.
        export_epochs: epochs whose model is exported too, to save_dir/snapshots/.
        log_images_every: epochs between saved reconstructions, 0: never.
        num_images_to_log: how many pictures each time.
        test_pictures: that the finished model is tested on; none: the validation patches.
    """

    save_dir: Path
    checkpoint_dir: Path
    resume: bool = True
    restart_stale: bool = False
    keep_checkpoints: bool = True
    check_numerics: bool = False
    export_epochs: Sequence[int] = ()
    log_images_every: int = 5
    num_images_to_log: int = 4
    test_pictures: Pictures | None = None


def _setting(default: Any, text: str, **extra: Any) -> Any:
    return field(default=default, metadata={"help": text, **extra})


@dataclass(frozen=True)
class TrainingSettings:
    """Everything that decides the result of a training run, beside the images.

    Raises:
        InputError: a value is out of its range; the message names the key.
    """

    patch_size: int = _setting(256, "side of a training patch in pixels, a multiple of 16", min=16)
    batch_size: int = _setting(16, "patches per step", min=1)
    patches_per_image: int = _setting(1, "crops taken each time an image is visited", min=1)
    flip: bool = _setting(True, "mirror half of the patches")
    num_filters: int = _setting(128, "channels of the transforms", min=1)
    num_latents: int | None = _setting(
        None,
        "channels of the latents; none: those of the model of init_from, else num_filters, as "
        "in the paper",
        min=1,
    )
    initialization: str = _setting(
        "random",
        "start of the convolutions: random, or as a block cosine transform",
        choices=INITIALIZATIONS,
    )
    latent_gain: float | None = _setting(
        None,
        "factor on the latents' scale at the start of training; none: 1, or for cosine "
        "the quantization step that suits lambda_rd",
        above=0,
    )
    quantization: str = _setting(
        "noise",
        "what training has in place of rounding: noise, as in the paper; mixed: noise for the "
        "rate, and for the synthesis transform rounding with the gradient of the identity",
        choices=QUANTIZATIONS,
    )
    lambda_rd: float = _setting(
        0.01, "weight of the distortion: loss = bpp + lambda_rd * MSE, pixels on 0..255", above=0
    )
    init_from: str | None = _setting(
        None,
        "folder of a trained model to start from, or of several, of which the one of the "
        "nearest lambda is taken; none: start anew",
        metavar="MODEL",
    )
    epochs: int = _setting(100, "epochs; an epoch is steps_per_epoch steps", min=1)
    steps_per_epoch: int = _setting(1000, "steps between validations and checkpoints", min=1)
    learning_rate: float = _setting(1e-4, "Adam's learning rate for the convolutions", above=0)
    prior_lr_factor: float = _setting(1.0, "the prior's learning rate, relative", above=0)
    gdn_lr_factor: float = _setting(1.0, "GDN's learning rate, relative", above=0)
    relative_lr: bool = _setting(
        False,
        "give each kernel a learning rate in proportion to its scale at a random start, "
        "the first layer's being learning_rate",
    )
    lr_schedule: str = _setting(
        "constant",
        "course of the learning rate: cosine falls to 1 %% of it by the last step",
        choices=SCHEDULES,
    )
    warmup_steps: int = _setting(0, "steps over which the learning rate rises from 0", min=0)
    clip_norm: float | None = _setting(
        None, "largest global norm of the gradients; none: no clipping", above=0
    )
    average_decay: float | None = _setting(
        None,
        "decay per step of a running average of the weights, which is then what is "
        "validated and exported; none: the weights themselves",
        above=0,
        below=1,
    )
    early_stopping_patience: int = _setting(
        10, "epochs without a lower validation loss before the run ends", min=1
    )
    precision_policy: str = _setting(
        "float32",
        "precision of the inner layers; auto: the fastest right one on the device",
        choices=PRECISION_POLICIES,
    )
    seed: int = _setting(1, "seed of weights, patches and quantization noise", min=0, max=2**32 - 1)
    threads: int = _setting(2, "TensorFlow's threads; the result depends on it", min=1)
    device: str = _setting(
        "auto", "auto: a GPU where there is one; gpu: fail without one", choices=DEVICES
    )

    @property
    def total_steps(self) -> int:
        """Number of optimizer steps of the whole run."""
        return self.epochs * self.steps_per_epoch

    def __post_init__(self) -> None:
        """Check every bound."""
        for item in dataclasses.fields(self):
            problem = _problem(item, getattr(self, item.name))
            if problem:
                raise InputError(problem)
        if self.patch_size % 16:
            raise InputError(f"patch_size is {self.patch_size}; it must be a multiple of 16")


def _problem(item: dataclasses.Field, value: Any) -> str:
    """Return what is wrong with a setting's value, in a sentence, or nothing."""
    bounds = item.metadata
    if value is None:
        return "" if item.default is None else f"{item.name} must be given"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{item.name} is {value}; it must be finite"
    if "min" in bounds and value < bounds["min"]:
        return f"{item.name} is {value}; it must be at least {bounds['min']}"
    if "max" in bounds and value > bounds["max"]:
        return f"{item.name} is {value}; it must be at most {bounds['max']}"
    if "above" in bounds and value <= bounds["above"]:
        return f"{item.name} is {value}; it must be more than {bounds['above']}"
    if "below" in bounds and value >= bounds["below"]:
        return f"{item.name} is {value}; it must be less than {bounds['below']}"
    if "choices" in bounds and value not in bounds["choices"]:
        return f"{item.name} is {value!r}; it must be one of {', '.join(bounds['choices'])}"
    return ""


def _optional(number: type) -> Callable[[str], Any]:
    """Return a converter that also takes "none"."""

    def convert(text: str) -> Any:
        return None if text.lower() == "none" else number(text)

    # argparse names the type in its error.
    convert.__name__ = f"{number.__name__} or none"
    return convert


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give `parser` a flag for every setting."""
    group = parser.add_argument_group("training")
    types = get_type_hints(TrainingSettings)
    for item in dataclasses.fields(TrainingSettings):
        options: dict[str, Any] = {"default": item.default, "help": item.metadata["help"]}
        if isinstance(item.default, bool):
            options["action"] = argparse.BooleanOptionalAction
        else:
            kind, *none = get_args(types[item.name]) or [types[item.name]]
            options["type"] = _optional(kind) if none else kind
            options["choices"] = item.metadata.get("choices")
            options["metavar"] = None if options["choices"] else item.metadata.get("metavar", "N")
        group.add_argument(f"--{item.name}", **options)


def from_arguments(args: argparse.Namespace) -> TrainingSettings:
    """Build the settings from parsed arguments.

    Raises:
        InputError: a value is out of its range.
    """
    names = [item.name for item in dataclasses.fields(TrainingSettings)]
    return TrainingSettings(**{name: getattr(args, name) for name in names})
