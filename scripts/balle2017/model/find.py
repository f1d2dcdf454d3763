"""Find the folder of the model that a path names, without TensorFlow."""

import contextlib
import math
import os
from pathlib import Path

from balle2017.errors import InputError
from balle2017.files import read_json
from balle2017.model.check import check_config, check_size


def _model_in(folder: Path) -> Path | None:
    """Return the folder, or its subfolder `model`, that has a config.json."""
    candidates = (folder, folder / "model")
    # Not Path.is_file, which fails where a folder may not be read.
    return next((path for path in candidates if os.path.isfile(path / "config.json")), None)


def _models_below(folder: Path) -> list[Path]:
    """Return the models that lie in a folder's subfolders, by name."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    return [path for path in map(_model_in, entries) if path is not None]


def _names(models: list[Path], folder: Path) -> str:
    return ", ".join(str(path.relative_to(folder).parts[0]) for path in models)


def find_model(folder: Path) -> Path:
    """Return the folder that holds config.json: `folder` or its `model` subfolder.

    Raises:
        InputError: neither does; the message names models nearby.
    """
    folder = Path(folder)
    found = _model_in(folder)
    if found is not None:
        return found
    if not folder.exists():
        beside = _models_below(folder.parent)
        near = f"{folder.parent} has {_names(beside, folder.parent)}"
        hint = near if beside else "a model is a folder with a config.json"
        raise InputError(f"{folder} does not exist; {hint}")
    below = _models_below(folder)
    hint = f"give one of the folders in it: {_names(below, folder)}" if below else "no config.json"
    raise InputError(f"{folder} holds no model itself ({hint})")


def find_models(folder: Path) -> list[Path]:
    """Return the folder of the model that `find_model` finds, or of all models in subfolders.

    Raises:
        InputError: there is none.
    """
    folder = Path(folder)
    models = [] if _model_in(folder) else _models_below(folder)
    return models or [find_model(folder)]


def _pretrained() -> Path:
    """Return the folder of models in a wheel's package, or beside the scripts of a clone."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "pretrained"
    return inside if inside.is_dir() else package.parents[1] / "pretrained"


#: The models that come with the program.
PRETRAINED = _pretrained()


def model_beside(folder: Path, model_id: bytes) -> Path | None:
    """Return the model with this id (see `TrainedModel`) that lies beside another, if there is one.

    Args:
        folder: the other model's.
        model_id: 8 bytes, as `model_ids` has them.
    """
    parent = folder.parent.parent if folder.name == "model" else folder.parent
    for path in _models_below(parent):
        # Other folders there need not be models.
        with contextlib.suppress(InputError, OSError):
            if model_id in model_ids(read_config(path)):
                return path
    return None


def model_ids(config: dict) -> set[bytes]:
    """Return the ids that files of a model may carry: its `model_id` and its `adaptive_id`.

    Args:
        config: as `read_config` returns it.

    Returns:
        8 bytes each, see `TrainedModel`; one if there is no adaptation.
    """
    names = ("model_sha256", "static_sha256")
    return {bytes.fromhex(config[name])[:8] for name in names if name in config}


def read_config(folder: Path) -> dict:
    """Return the content of a model's config.json.

    Raises:
        InputError: it is damaged, or not what `check_config` wants.
    """
    path = Path(folder) / "config.json"
    check_size(path)
    try:
        config = read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    check_config(path, config)
    return config


def nearest_model(
    folder: Path, lambda_rd: float, num_filters: int, num_latents: int | None
) -> Path:
    """Return the folder of the model that is the best start for a lambda.

    Args:
        folder: holds a model (see `find_model`), or folders that hold one each, of which
            those with as many filters, and latents enough, are considered.
        lambda_rd: of the training to come; the nearest lambda is that of the smallest ratio.
        num_filters: channels of the transforms.
        num_latents: fewest channels of the latents; none: any.

    Raises:
        InputError: there is no such model, or a damaged one.
    """
    folder = Path(folder)
    models = [] if _model_in(folder) else _models_below(folder)
    if not models:
        return find_model(folder)
    configs = {path: read_config(path) for path in models}
    fitting = {
        path: abs(math.log(config["lambda_rd"] / lambda_rd))
        for path, config in configs.items()
        if config["num_filters"] == num_filters and config["num_latents"] >= (num_latents or 0)
    }
    if not fitting:
        wanted = f"{num_filters} filters" + (f" and {num_latents} latents" if num_latents else "")
        there = sorted({(c["num_filters"], c["num_latents"]) for c in configs.values()})
        sizes = ", ".join(f"{filters}/{latents}" for filters, latents in there)
        raise InputError(
            f"{folder} holds no model of {wanted}; its filters/latents are {sizes}; ask for no "
            "more, or start from scratch (init_from: null, as in experiments/from_nothing.yaml)"
        )
    return min(fitting, key=lambda path: fitting[path])
