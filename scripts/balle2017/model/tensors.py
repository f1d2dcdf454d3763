"""Named arrays and their description in one file that proves its own integrity.

The format is safetensors, which loads without running code. Its header carries
a JSON description and the SHA-256 of names, shapes, types, values and
description; a file that does not match is refused.
"""

import hashlib
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from balle2017.errors import DamagedFileError
from balle2017.files import write_bytes

_HEADER = "balle2017"


def tensors_sha256(tensors: dict[str, np.ndarray], description: Any) -> str:
    """Return the SHA-256 over names, types, shapes and values, and the description."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_tensors(path: Path, tensors: dict[str, np.ndarray], description: Any) -> str:
    """Write arrays and a JSON description to `path`, atomically; return their SHA-256."""
    # Not ascontiguousarray, which gives scalars a dimension.
    arrays = {name: np.asarray(value, order="C") for name, value in tensors.items()}
    digest = tensors_sha256(arrays, description)
    header = json.dumps({"sha256": digest, "description": description}, sort_keys=True)
    # One entry only: safetensors writes several in random order, and equal
    # content must give equal bytes.
    write_bytes(path, safetensors.numpy.save(arrays, {_HEADER: header}))
    return digest


def load_tensors(path: Path) -> tuple[dict[str, np.ndarray], Any, str]:
    """Read what `save_tensors` wrote: arrays, description and SHA-256.

    Raises:
        DamagedFileError: the file is missing, cut short, altered, or of another kind.
        OSError: it cannot be read, so its content is unknown.
    """
    try:
        # safetensors reports every file that it cannot open as missing.
        with open(path, "rb") as file:
            file.read(1)
    except FileNotFoundError:
        raise DamagedFileError(f"{path} does not exist") from None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata[_HEADER])
        digest, description = header["sha256"], header["description"]
        actual = tensors_sha256(tensors, description)
    # Types that numpy lacks are AttributeErrors, nested lists RecursionErrors.
    except (
        *(safetensors.SafetensorError, KeyError, TypeError, ValueError),
        *(AttributeError, RecursionError, OverflowError),
    ) as error:
        # safetensors lists all types that it knows when it finds another.
        problem = textwrap.shorten(str(error), 200)
        raise DamagedFileError(f"{path} is damaged or of another kind: {problem}") from None
    if actual != digest:
        raise DamagedFileError(f"{path} is damaged: its content does not match its checksum")
    return tensors, description, digest
