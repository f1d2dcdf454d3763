"""What a model's two files must hold, checked before anything relies on it.

Models are shared, and their hash is no protection against their author: whoever writes the
numbers writes the hash. So everything that later code takes for granted is checked here, and
sizes are limited, before a network or a range coder is built. Tensors that are not in the
table are refused, not ignored: the program that wrote them used them for something, and
without them the model would decode to other pixels.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from balle2017.errors import InputError
from balle2017.model.packing import BITS, COEFFICIENTS, NUMBERS, SCALE

FORMAT = "balle2017-model-3"

#: Most channels of the transforms, and of the latents.
MAX_CHANNELS = 1024
#: Largest magnitude of a latent, and of an end of a coding table. Trained models stay below
#: a few hundred; from 2 ** 30 on the range coder's escape code never ends.
MAX_LATENT = 2**14
#: Bits of the range coder's probabilities.
RANGE_CODER_PRECISION = 16

_MAX_SEED = 2**32 - 1
# Far beyond use; their square roots, quotients and logarithms are safe.
_MIN_LAMBDA, _MAX_LAMBDA = 1e-12, 1e12
# The largest model has less: four kernels of 25 * 1024 * 1024 numbers of 10 bits.
_MAX_BYTES = {"config.json": 2**20, "model.safetensors": 2**28}
#: The share of probability outside of a coding table, tfc's `tail_mass`.
TAIL_MASS = 2.0**-8


class Tensor(NamedTuple):
    """A tensor of a model's file: types that it may have, and its shape, where None is any."""

    dtypes: tuple[type[np.generic], ...]
    shape: tuple[int | None, ...]

    def fits(self, array: np.ndarray) -> bool:
        """Tell whether an array has such a type and shape."""
        sides = zip(array.shape, self.shape, strict=False)
        return (
            array.dtype in self.dtypes
            and array.ndim == len(self.shape)
            and all(wanted in (None, side) for side, wanted in sides)
        )


def model_tensors(num_filters: int, num_latents: int) -> dict[str, Tensor]:
    """Return what `model.safetensors` holds, by name.

    Args:
        num_filters: channels of the transforms.
        num_latents: channels of the latents.
    """
    n, m = num_filters, num_latents
    half = np.float16, np.float32
    tensors = {
        "analysis/conv_0/kernel": Tensor(half, (81, 3 * n)),
        "synthesis/conv_2/kernel": Tensor(half, (81, 3 * n)),
        "synthesis/conv_2/bias": Tensor(half, (3,)),
        "coding/cdf": Tensor((np.int32,), (None,)),
        "coding/cdf_offset": Tensor((np.int32,), (m,)),
        "coding/quantization_offset": Tensor((np.float32,), (m,)),
    }
    others = {"analysis/conv_1": n, "analysis/conv_2": m, "synthesis/conv_0": m}
    for layer, channels in (others | {"synthesis/conv_1": n}).items():
        packed = -(-COEFFICIENTS * n * channels * BITS // 8)
        tensors[f"{layer}/kernel{NUMBERS}"] = Tensor((np.uint8,), (packed,))
        tensors[f"{layer}/kernel{SCALE}"] = Tensor((np.float32,), (COEFFICIENTS, channels))
    for layer in ("analysis/gdn_0", "analysis/gdn_1", "synthesis/igdn_0", "synthesis/igdn_1"):
        tensors[f"{layer}/bias"] = Tensor(half, (n,))
        tensors[f"{layer}/beta"] = Tensor(half, (n,))
        tensors[f"{layer}/gamma"] = Tensor(half, (n, n))
    for index, (inputs, outputs) in enumerate([(1, 3), (3, 3), (3, 1)]):
        tensors[f"prior/matrix_{index}"] = Tensor((np.float32,), (m, outputs, inputs))
        tensors[f"prior/bias_{index}"] = Tensor((np.float32,), (m, outputs, 1))
        if index < 2:
            tensors[f"prior/factor_{index}"] = Tensor((np.float32,), (m, outputs, 1))
    return tensors


def check_size(path: Path) -> None:
    """Refuse a file that is not a regular file, or larger than any model's.

    Raises:
        InputError: it is.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(f"{path} is not a regular file")
    limit = _MAX_BYTES[path.name]
    if os.path.isfile(path) and os.path.getsize(path) > limit:
        raise InputError(f"{path} is not a model's file: it has more than {limit} bytes")


def check_config(path: Path, config: Any) -> None:
    """Refuse the content of a config.json that is not a model's.

    Args:
        path: of the file, for messages.
        config: as JSON gives it.

    Raises:
        InputError: an entry is missing, or not what it must be.
    """
    _check_description(path, config)
    _check_entry(path, config, "lambda_rd", "a number above 0", _is_lambda)
    _check_entry(path, config, "seed", f"a whole number up to {_MAX_SEED}", _is_seed)
    _check_entry(path, config, "model_sha256", "64 hex digits", _is_sha256)
    if "static_sha256" in config:
        _check_entry(path, config, "static_sha256", "64 hex digits", _is_sha256)


def check_model(path: Path, description: Any, arrays: dict[str, np.ndarray]) -> None:
    """Refuse the content of a model.safetensors that is not a model's.

    Args:
        path: of the file, for messages.
        description: as `load_tensors` returns it.
        arrays: likewise.

    Raises:
        InputError: description, names, types, shapes or values are not what they must be.
    """
    _check_description(path, description)
    expected = model_tensors(description["num_filters"], description["num_latents"])
    missing = sorted(expected.keys() - arrays.keys())
    if missing:
        raise InputError(f"{path} lacks {missing[0]}")
    unknown = sorted(arrays.keys() - expected.keys())
    if unknown:
        raise InputError(
            f"{path} has a tensor {_shown(unknown[0])}, which this program does not know; "
            "another version may have written it"
        )
    for name, tensor in expected.items():
        array = arrays[name]
        if not tensor.fits(array):
            types = " or ".join(np.dtype(dtype).name for dtype in tensor.dtypes)
            shape = ", ".join("any" if side is None else str(side) for side in tensor.shape)
            raise InputError(
                f"{path}: {name} is {array.dtype}{list(array.shape)}, expected {types}[{shape}]"
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{path}: {name} has values that are NaN or infinite")
        if name.endswith(SCALE) and (array < 0).any():
            raise InputError(f"{path}: {name} has negative values")
    _check_tables(path, arrays)
    _check_prior(path, arrays)


def _check_description(path: Path, description: Any) -> None:
    """Check what both files say."""
    if not isinstance(description, dict):
        raise InputError(f"{path} is not a model's file: it holds {_shown(description)}")
    _check_entry(path, description, "format", FORMAT, lambda value: value == FORMAT)
    for name in ("num_filters", "num_latents"):
        _check_entry(
            path, description, name, f"a whole number from 1 to {MAX_CHANNELS}", _is_channels
        )


def _check_entry(path: Path, entries: dict, name: str, wanted: str, is_right: Any) -> None:
    if name not in entries:
        raise InputError(f"{path} is not a model's file: it lacks {name}")
    if not is_right(entries[name]):
        raise InputError(f"{path}: {name} is {_shown(entries[name])}, expected {wanted}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_channels(value: Any) -> bool:
    return _is_whole(value) and 1 <= value <= MAX_CHANNELS


def _is_seed(value: Any) -> bool:
    return _is_whole(value) and 0 <= value <= _MAX_SEED


def _is_lambda(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and _MIN_LAMBDA <= value <= _MAX_LAMBDA


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _shown(value: Any) -> str:
    """Return a value of unknown origin for a message: short, in ASCII, on one line."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def split_tables(cdf: np.ndarray) -> list[np.ndarray]:
    """Return the tables in tensorflow-compression's `cdf`.

    Args:
        cdf: int32 [n], whole tables; each is the precision, negative if there is an escape code,
            and then numbers that rise from 0 to 2 ** precision.

    Returns:
        Each table, with the precision before it.
    """
    ends = np.flatnonzero(cdf == 1 << RANGE_CODER_PRECISION) + 1
    return np.split(cdf, ends[:-1])


def _check_tables(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check the range coder's tables; with a bad one it crashes, or never returns."""
    cdf, offsets = arrays["coding/cdf"], arrays["coding/cdf_offset"].astype(np.int64)
    lengths = _table_lengths(cdf)
    if lengths is None or len(lengths) != len(offsets):
        raise InputError(
            f"{path}: coding/cdf is not one complete table for each channel, -"
            f"{RANGE_CODER_PRECISION} and then numbers that rise from 0 to "
            f"{1 << RANGE_CODER_PRECISION}"
        )
    if (np.abs(offsets) > MAX_LATENT).any() or (offsets + lengths > MAX_LATENT).any():
        raise InputError(f"{path}: coding/cdf_offset is beyond {MAX_LATENT}")
    if (np.abs(arrays["coding/quantization_offset"]) > 0.5).any():
        raise InputError(f"{path}: coding/quantization_offset is beyond 1/2")


def _table_lengths(cdf: np.ndarray) -> np.ndarray | None:
    """Return how many values each table has besides the escape; none if one is not sound.

    A table is the negative precision and the cumulative distribution in whole numbers,
    strictly rising from 0 to 2 ** precision; the last step is that of the escape code.
    """
    total = 1 << RANGE_CODER_PRECISION
    starts = np.flatnonzero(cdf == -RANGE_CODER_PRECISION)
    if len(starts) == 0 or starts[0] != 0:
        return None
    ends = np.append(starts[1:], len(cdf))
    # Precision, 0, at least one step for a value, total.
    if (ends - starts < 4).any() or (cdf[starts + 1] != 0).any() or (cdf[ends - 1] != total).any():
        return None
    rising = np.diff(cdf.astype(np.int64)) > 0
    # From the end of a table to the start of the next it falls; the start's step is checked.
    rising[starts[1:] - 1] = True
    return ends - starts - 3 if rising.all() else None


def prior_logits(prior: dict[str, np.ndarray], values: np.ndarray) -> np.ndarray:
    """Return the logits of the prior's cumulative distributions, float32 [channels, n].

    Args:
        prior: its variables by name, which are unconstrained; see `prior.cumulative`.
        values: float32 [channels, n], or [1, n] for the same of all channels.
    """
    h = values[:, None]
    with np.errstate(all="ignore"):
        for layer in range(3):
            h = np.logaddexp(prior[f"matrix_{layer}"], 0) @ h + prior[f"bias_{layer}"]
            if layer < 2:
                h = h + np.tanh(prior[f"factor_{layer}"]) * np.tanh(h)
    return h[:, 0]


def bisect(function: Callable[[np.ndarray], np.ndarray], target: float) -> np.ndarray:
    """Return where rising functions reach a target, to a hundredth, float32 [channels].

    Where that is beyond the latents' range, or nowhere, the end of the range is returned.

    Args:
        function: takes float32 [1 or channels, 1] and returns [channels, 1].
        target: of all functions.
    """
    low = np.full((1, 1), -MAX_LATENT, np.float32)
    high = -low
    for _ in range(22):
        middle = (low + high) / 2
        above = function(middle) > target
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    return middle[:, 0]


def _check_prior(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Check that the densities lie where latents may."""
    prefix = "prior/"
    prior = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
    # In float32, as the prior computes.
    ends = prior_logits(prior, np.array([[-MAX_LATENT, MAX_LATENT]], np.float32))
    tail = np.log(TAIL_MASS / 2)
    lower, upper = ends[:, 0], ends[:, 1]
    if not np.isfinite(ends).all() or (lower >= tail).any() or (upper <= -tail).any():
        raise InputError(
            f"{path}: the prior's densities do not lie within latents from -{MAX_LATENT} to "
            f"{MAX_LATENT}"
        )
