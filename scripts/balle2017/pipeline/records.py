"""What Snakemake remembers of how files were made; without it changed settings go unnoticed."""

import base64
import os
from collections.abc import Iterable
from pathlib import Path

from balle2017.errors import InputError


def remembered(folder: Path) -> set[str]:
    """Return the files of which Snakemake has a record, or knows that they are incomplete.

    Args:
        folder: `.snakemake`.
    """
    found = set()
    for root in (folder / "metadata", folder / "incomplete"):
        for path in root.rglob("*"):
            if path.is_file():
                # Long names are cut into folders that begin with "@".
                parts = path.relative_to(root).parts
                coded = "".join(part.removeprefix("@") for part in parts)
                try:
                    found.add(os.fsdecode(base64.urlsafe_b64decode(coded)))
                except ValueError:
                    continue  # none of Snakemake's
    return found


def check_results(outputs: Iterable[str], folder: Path) -> None:
    """Check that Snakemake can tell whether results are those of the config.

    It takes files of which it has no record for what any config makes.

    Args:
        outputs: paths of the results.
        folder: `.snakemake`.

    Raises:
        InputError: there are results without a record.
    """
    known = remembered(folder)
    strange = sorted(path for path in outputs if path not in known and os.path.lexists(path))
    if strange:
        others = f" (and {len(strange) - 1} more)" if len(strange) > 1 else ""
        raise InputError(
            f"there is no record of how {strange[0]} was made{others}, as "
            f"after results were copied or renamed, or {folder} was deleted; delete these files "
            "or add --forceall to make them again, or add --touch --forceall once if they are "
            "results of this very config"
        )
