"""Where a model lies; apart from the rest because the workflow asks too."""

import math
from pathlib import Path

from balle2017.errors import InputError
from balle2017.files import read_json

_ENTRIES = {"format", "num_filters", "num_latents", "lambda_rd", "seed", "model_sha256"}


def find_model(folder: Path) -> Path:
    """Return the folder that holds config.json: `folder` or its `model` subfolder.

    Raises:
        InputError: neither does.
    """
    if not Path(folder).exists():
        raise InputError(f"{folder} does not exist; a model is a folder with a config.json")
    for candidate in (Path(folder), Path(folder) / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    raise InputError(f"{folder} holds no model (no config.json in it or in its folder model/)")


def read_config(folder: Path) -> dict:
    """Return the content of a model's config.json.

    Raises:
        InputError: it is damaged, or lacks what every model has.
    """
    path = Path(folder) / "config.json"
    try:
        config = read_json(path)
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None
    missing = sorted(_ENTRIES - config.keys()) if isinstance(config, dict) else ["a map"]
    if missing:
        raise InputError(f"{path} is no model's: it lacks {', '.join(missing)}")
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
    try:
        return find_model(folder)
    except InputError:
        if not folder.exists():
            raise
        below = sorted(folder.glob("*/config.json")) + sorted(folder.glob("*/model/config.json"))
    configs = {path.parent: read_config(path.parent) for path in below}
    fitting = {
        path: abs(math.log(config["lambda_rd"] / lambda_rd))
        for path, config in configs.items()
        if config["num_filters"] == num_filters and config["num_latents"] >= (num_latents or 0)
    }
    if not fitting:
        latents = f" and {num_latents} latents or more" if num_latents else ""
        raise InputError(
            f"{folder} holds no model of {num_filters} filters{latents}, nor folders that hold "
            "one; give another folder or number, or start anew with init_from: null"
        )
    return min(fitting, key=lambda path: fitting[path])
