"""Tables of results, read and written so that every number keeps its last bit."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from balle2017.errors import InputError
from balle2017.files import write_bytes

#: Whole numbers that some rows lack.
_WHOLE = ("filters", "seed", "n_images")


def read_frame(path: Path, columns: Iterable[str], what: str, **options: Any) -> pd.DataFrame:
    """Read a CSV file with at least some columns.

    Args:
        path: the file.
        columns: that it must have.
        what: what it should be, in words, for the message.
        options: of `pandas.read_csv`.

    Raises:
        InputError: it does not exist, or is another table.
    """
    try:
        # By default pandas reads numbers of 15 digits and more with another last bit.
        frame = pd.read_csv(path, float_precision="round_trip", **options)
        frame = frame.astype({column: "Int64" for column in _WHOLE if column in frame})
    except FileNotFoundError:
        raise InputError(f"table {path} does not exist") from None
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path} is no {what}: {str(error).strip()}") from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InputError(f"{path} is no {what}: it lacks {', '.join(missing)}")
    return frame


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV, atomically."""
    buffer = io.StringIO()
    frame.to_csv(buffer, index=False, lineterminator="\n")
    write_bytes(path, buffer.getvalue().encode())
