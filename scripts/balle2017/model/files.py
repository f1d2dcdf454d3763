"""A trained model on disk: `config.json` and `model.safetensors`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.errors import DamagedFileError, InputError
from balle2017.files import write_json
from balle2017.model.check import FORMAT, check_model, check_size
from balle2017.model.find import find_model, read_config
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.model.packing import pack_weights, unpack_weights
from balle2017.model.tensors import load_tensors, save_tensors

# Tables of the range coder are stored beside the weights as coding/NAME.
_TABLES = "coding/"


@dataclass(frozen=True)
class TrainedModel:
    """A model read from disk.

    Attributes:
        network: float32 transforms and prior with the trained weights.
        tables: `FactorizedPrior.coding_tables()` of the export.
        model_id: 8 bytes that name weights and tables; every bitstream carries them.
        config: content of config.json.
        folder: that holds both files.
    """

    network: Balle2017FactorizedPrior
    tables: dict[str, np.ndarray]
    model_id: bytes
    config: dict
    folder: Path


def save_model(folder: Path, network: Balle2017FactorizedPrior, lambda_rd: float, seed: int) -> str:
    """Write weights and coding tables, then config.json; return the model's SHA-256.

    Args:
        folder: receives `model.safetensors` and `config.json`.
        network: its prior's coding tables are built here, once and for all.
        lambda_rd: that it was trained for.
        seed: of the training.
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


def load_model(folder: Path) -> TrainedModel:
    """Read a model written by `save_model`.

    Raises:
        InputError: no model there, it is damaged or not what `check_model` wants, or it
            does not fit its config.json.
    """
    folder = find_model(folder)
    config = read_config(folder)
    path = folder / "model.safetensors"
    check_size(path)
    try:
        arrays, description, digest = load_tensors(path)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
    check_model(path, description, arrays)
    if config != config | description | {"model_sha256": digest}:
        raise InputError(f"{path} does not belong to the config.json beside it")
    num_filters, num_latents = description["num_filters"], description["num_latents"]
    network = Balle2017FactorizedPrior(num_filters, num_latents)
    assign_variables(network.named_variables(), unpack_weights(arrays, num_filters), path)
    tables = {
        name.removeprefix(_TABLES): value
        for name, value in arrays.items()
        if name.startswith(_TABLES)
    }
    return TrainedModel(network, tables, bytes.fromhex(digest)[:8], config, folder)


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
