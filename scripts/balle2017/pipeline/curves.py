"""The curves of others that an experiment is compared with, see `evaluation.curves`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle2017.errors import InputError

#: In place of a file: the table of what others published for the Kodak images.
PUBLISHED = "published"

_KODAK = "kodak"


def curve_files(config: Mapping[str, Any], published: str) -> list[tuple[str, str]]:
    """Return the files of others' curves, each with its source, "" where that is in the file.

    Args:
        config: checked against the schema, with its defaults.
        published: path of the table for Kodak.

    Raises:
        InputError: a file that does not exist, or has no source.
    """
    on_kodak = config["test_images"] == _KODAK
    entries = config["evaluation"]["curves"]
    if entries is None:
        entries = [{"file": PUBLISHED, "source": None}] if on_kodak else []
    files = []
    for index, entry in enumerate(entries):
        where = f"config: evaluation.curves[{index}]"
        file, source = entry["file"], entry.get("source")
        if file == PUBLISHED:
            if not on_kodak or source is not None:
                raise InputError(
                    f"{where}.file is {PUBLISHED}: these are curves for test_images: {_KODAK}, and "
                    "have their sources; leave them out"
                )
            files.append((published, ""))
            continue
        if not Path(file).is_file():
            raise InputError(f"{where}.file is {file}, which is no file; give a CSV or a JSON file")
        if not (source or "").strip():
            raise InputError(f"{where} lacks source: who published {file}")
        files.append((file, source))
    if len({file for file, _ in files}) < len(files):
        raise InputError("config: evaluation.curves has a file twice; remove one")
    return files
