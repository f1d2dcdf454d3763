"""A trained model on disk: `config.json` and `model.safetensors`."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from balle2017.errors import DamagedFileError, InputError
from balle2017.files import write_json
from balle2017.model.find import find_model, read_config
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.model.packing import pack_weights, unpack_weights
from balle2017.model.tensors import load_tensors, save_tensors

FORMAT = "balle2017-model-3"

# Tables of the range coder, stored beside the weights as coding/NAME.
TABLES = {"cdf": np.int32, "cdf_offset": np.int32, "quantization_offset": np.float32}


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
    arrays |= {f"coding/{name}": value for name, value in network.prior.coding_tables().items()}
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
        InputError: no model there, or it is damaged or does not fit its config.json.
    """
    folder = find_model(folder)
    config = read_config(folder)
    path = folder / "model.safetensors"
    try:
        arrays, description, digest = load_tensors(path)
    except DamagedFileError as error:
        raise InputError(str(error)) from None
    if description.get("format") != FORMAT or config["model_sha256"] != digest:
        raise InputError(f"{path} does not belong to the config.json beside it")
    num_filters = int(description["num_filters"])
    try:
        arrays = unpack_weights(arrays, num_filters)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    network = Balle2017FactorizedPrior(num_filters, int(description["num_latents"]))
    assign_variables(network.named_variables(), arrays, path)
    tables = {
        name: _checked(arrays, f"coding/{name}", None, dtype, path)
        for name, dtype in TABLES.items()
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
        shape, dtype = tuple(variable.shape), variable.dtype.as_numpy_dtype
        variable.assign(_checked(arrays, name, shape, dtype, path))


def _checked(
    arrays: dict[str, np.ndarray], name: str, shape: tuple | None, dtype: type, path: Path
) -> np.ndarray:
    array = arrays.get(name)
    if array is None:
        raise InputError(f"{path} lacks {name}")
    if array.dtype != dtype or (shape is not None and array.shape != shape):
        raise InputError(
            f"{path}: {name} is {array.dtype}{list(array.shape)}, "
            f"expected {np.dtype(dtype)}{list(shape or [])}"
        )
    return array
