"""Where a model lies; apart from the rest because the workflow asks too."""

from pathlib import Path

from balle2017.errors import InputError


def find_model(folder: Path) -> Path:
    """Return the folder that holds config.json: `folder` or its `model` subfolder.

    Raises:
        InputError: neither does.
    """
    for candidate in (Path(folder), Path(folder) / "model"):
        if (candidate / "config.json").is_file():
            return candidate
    raise InputError(f"{folder} holds no model (no config.json in it or in its folder model/)")
