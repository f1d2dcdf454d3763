"""A trained model on disk: `config.json` and `model.safetensors`."""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.errors import DamagedFileError, InputError
from balle2017.files import copy_file, write_json
from balle2017.model.adaptation import Adaptation
from balle2017.model.check import FORMAT, check_model, check_size
from balle2017.model.find import find_model, read_config
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.model.packing import pack_weights, unpack_weights
from balle2017.model.tensors import load_tensors, save_tensors, tensors_sha256
from balle2017.names import static_sha256

# Tables of the range coder are stored beside the weights as coding/NAME.
_TABLES = "coding/"
# The adaptation lies beside them as adaptive/NAME, if there is one.
_ADAPTIVE = "adaptive/"


@dataclass(frozen=True)
class TrainedModel:
    """A model read from disk.

    Attributes:
        network: float32 transforms and prior with the trained weights.
        tables: `FactorizedPrior.coding_tables()` of the export.
        model_id: 8 bytes that name weights and tables; a bitstream coded with the
            static prior carries them.
        adaptation: of the adaptive entropy coder, if it was fitted.
        adaptive_id: 8 bytes that name all of these; a bitstream coded with the
            adaptive coder carries them. `model_id`, if there is no adaptation.
        config: content of config.json.
        folder: that holds both files.
    """

    network: Balle2017FactorizedPrior
    tables: dict[str, np.ndarray]
    model_id: bytes
    adaptation: Adaptation | None
    adaptive_id: bytes
    config: dict
    folder: Path


def save_model(folder: Path, network: Balle2017FactorizedPrior, lambda_rd: float, seed: int) -> str:
    """Write weights and coding tables, then config.json; return the model's SHA-256.

    Args:
        folder: receives `model.safetensors` and `config.json`.
        network: its prior's coding tables are built here, once and for all.
        lambda_rd: that it was trained for.
        seed: of the training.

    Raises:
        WorkError: see `FactorizedPrior.coding_tables`.
    """
    variables = network.named_variables()
    weights = {name: variable.numpy() for name, variable in variables.items()}
    arrays = pack_weights(weights, network.num_filters)
    arrays |= {f"{_TABLES}{name}": value for name, value in network.prior.coding_tables().items()}
    description = {
        "format": FORMAT,
        "num_filters": network.num_filters,
        "num_latents": network.num_latents,
    }
    digest = save_tensors(folder / "model.safetensors", arrays, description)
    # config.json is small, so it also stands for the weights where Snakemake
    # compares files by content.
    own = {"lambda_rd": lambda_rd, "seed": seed, "model_sha256": digest}
    write_json(folder / "config.json", description | own)
    return digest


def save_adaptation(folder: Path, adaptation: Adaptation) -> str:
    """Give a model an adaptation, in place of the one it may have; return its new SHA-256.

    What is coded with the static prior stays the same, to the byte: `static_sha256` in
    config.json names what that depends on.

    Args:
        folder: as `load_model` found it.
        adaptation: fitted to the model's latents.

    Raises:
        InputError: see `load_model`.
    """
    path = folder / "model.safetensors"
    arrays, description, _ = _load_arrays(path)
    _take_adaptive(arrays)
    static = tensors_sha256(arrays, description)
    arrays |= {f"{_ADAPTIVE}{name}": value for name, value in adaptation.arrays().items()}
    digest = save_tensors(path, arrays, description)
    _name_adapted(folder, digest, static)
    return digest


def finish_adaptation(folder: Path) -> None:
    """Write the config.json that `save_adaptation` owes a model if it was killed on its way.

    Then the weights in model.safetensors are those that config.json names, and only the
    adaptation is another. All other models stay as they are.

    Args:
        folder: as `load_model` found it.

    Raises:
        InputError: config.json is damaged, or model.safetensors is.
    """
    config = read_config(folder)
    path = folder / "model.safetensors"
    check_size(path)
    arrays, description, digest = _load_arrays(path)
    if digest == config["model_sha256"] or not _take_adaptive(arrays):
        return
    static = tensors_sha256(arrays, description)
    if static == static_sha256(config):
        _name_adapted(folder, digest, static)


def _name_adapted(folder: Path, digest: str, static: str) -> None:
    own = {"model_sha256": digest, "static_sha256": static}
    write_json(folder / "config.json", read_config(folder) | own)


def copy_model(folder: Path, out: Path) -> None:
    """Copy a model's two files to another folder."""
    for name in ("model.safetensors", "config.json"):
        copy_file(folder / name, out / name)


def load_model(folder: Path) -> TrainedModel:
    """Read a model written by `save_model`.

    Raises:
        InputError: no model there, it is damaged or not what `check_model` and
            `Adaptation` want, or it does not fit its config.json.
    """
    folder = find_model(folder)
    config = read_config(folder)
    path = folder / "model.safetensors"
    check_size(path)
    arrays, description, digest = _load_arrays(path)
    adaptive = _take_adaptive(arrays)
    check_model(path, description, arrays)
    num_filters, num_latents = description["num_filters"], description["num_latents"]
    names = {"model_sha256": digest}
    static = digest
    if adaptive:
        static = tensors_sha256(arrays, description)
        names["static_sha256"] = static
    if config != config | description | names:
        hint = "; if adapt.py was interrupted, run it again" if adaptive else ""
        raise InputError(f"{path} does not belong to the config.json beside it{hint}")
    adaptation = _build_adaptation(adaptive, num_latents, path) if adaptive else None
    network = Balle2017FactorizedPrior(num_filters, num_latents)
    assign_variables(network.named_variables(), unpack_weights(arrays, num_filters), path)
    tables = {
        name.removeprefix(_TABLES): value
        for name, value in arrays.items()
        if name.startswith(_TABLES)
    }
    model_id, adaptive_id = (bytes.fromhex(sha256)[:8] for sha256 in (static, digest))
    return TrainedModel(network, tables, model_id, adaptation, adaptive_id, config, folder)


def _load_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict, str]:
    try:
        return load_tensors(path)
    except DamagedFileError as error:
        raise InputError(str(error)) from None


def _take_adaptive(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Remove the adaptation's arrays from a file's, and return them without their prefix."""
    names = [name for name in arrays if name.startswith(_ADAPTIVE)]
    return {name.removeprefix(_ADAPTIVE): arrays.pop(name) for name in names}


def _build_adaptation(arrays: dict[str, np.ndarray], channels: int, path: Path) -> Adaptation:
    names = {field.name for field in fields(Adaptation)}
    if arrays.keys() != names:
        odd = min(names ^ arrays.keys())
        problem = "lacks" if odd in names else "has an unknown"
        raise InputError(f"{path} {problem} {_ADAPTIVE}{ascii(odd)[1:-1]}")
    try:
        adaptation = Adaptation(**arrays)
    except ValueError as error:
        raise InputError(f"{path}: {_ADAPTIVE}{error}") from None
    if len(adaptation.order) != channels:
        raise InputError(f"{path}: {_ADAPTIVE}order does not have {channels} channels")
    return adaptation


def assign_variables(
    variables: dict[str, tf.Variable], arrays: dict[str, np.ndarray], path: Path
) -> None:
    """Set variables by name.

    Raises:
        InputError: an array is missing or has another shape or type; names it and `path`.
    """
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None:
            raise InputError(f"{path} lacks {name}")
        shape, dtype = tuple(variable.shape), variable.dtype.as_numpy_dtype
        if array.dtype != dtype or array.shape != shape:
            raise InputError(
                f"{path}: {name} is {array.dtype}{list(array.shape)}, "
                f"expected {np.dtype(dtype)}{list(shape)}"
            )
        variable.assign(array)
