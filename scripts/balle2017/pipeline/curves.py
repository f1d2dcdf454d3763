"""The published curves that an experiment is compared with, see `evaluation.curves`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle2017.errors import InputError

#: In place of a file, this stands for the table of published results on Kodak.
PUBLISHED = "published"

_KODAK = "kodak"


def curve_files(config: Mapping[str, Any], published: str) -> list[tuple[str, str]]:
    """Return the files with published curves and their sources ("" if the file has them).

    Args:
        config: checked against the schema, with its defaults.
        published: path of the table for Kodak.

    Raises:
        InputError: a file that does not exist, or has no source; an external codec has the name
            of a curve.
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
                    f"{where}.file is {PUBLISHED}; use it only with test_images: {_KODAK}, and "
                    "without a source"
                )
            files.append((published, ""))
            continue
        if not Path(file).is_file():
            raise InputError(
                f"{where}.file is {file}, which is not a file; give a CSV or a JSON file"
            )
        if not (source or "").strip():
            raise InputError(f"{where}.source must be given; say who published {file}")
        files.append((file, source))
    if len({file for file, _ in files}) < len(files):
        raise InputError("config: evaluation.curves has a file twice; remove one")
    external = config["evaluation"]["external"]
    if external and (published, "") in files:
        # Here, because pandas takes a while to import, and most runs have no external codec.
        from balle2017.results.published import read_published

        taken = set(read_published(Path(published))["curve"])
        for name in external:
            if name in taken:
                raise InputError(
                    f"config: evaluation.external.{name} has the name of a published curve; "
                    "choose another"
                )
    return files
