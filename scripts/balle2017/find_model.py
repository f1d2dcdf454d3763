"""Where a model lies; apart from the rest because the workflow asks too."""

import math
from pathlib import Path

from balle2017.errors import InputError
from balle2017.files import read_json


def find_model(folder: Path) -> Path:
    """Return the folder that holds config.json: `folder` or its `model` subfolder.

    Raises:
        InputError: neither does.
    """
    for candidate in (Path(folder), Path(folder) / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    raise InputError(f"{folder} holds no model (no config.json in it or in its folder model/)")


def nearest_model(folder: Path, lambda_rd: float, num_filters: int) -> Path:
    """Return the folder of the model that is the best start for a lambda.

    Args:
        folder: holds a model (see `find_model`), or folders that hold one each, of which
            those with as many filters are considered.
        lambda_rd: of the training to come; the nearest lambda is that of the smallest ratio.
        num_filters: channels of the transforms.

    Raises:
        InputError: there is no such model.
    """
    folder = Path(folder)
    try:
        return find_model(folder)
    except InputError:
        below = sorted(folder.glob("*/config.json")) + sorted(folder.glob("*/model/config.json"))
    configs = {path.parent: read_json(path) for path in below}
    fitting = {
        path: abs(math.log(config["lambda_rd"] / lambda_rd))
        for path, config in configs.items()
        if config.get("num_filters") == num_filters
    }
    if not fitting:
        raise InputError(
            f"{folder} holds no model of {num_filters} filters, nor folders that hold one; "
            "give another folder or number, or start anew with init_from: null"
        )
    return min(fitting, key=lambda path: fitting[path])
