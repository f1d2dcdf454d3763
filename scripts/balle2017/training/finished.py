"""A finished training, kept so that an equal one need not be done again.

Snakemake deletes the outputs of a job before it runs the job again. It runs training again
whenever extraction ran, even if the pixels are the same, because it plans before it runs. If
settings, code, images and starting model are the same, the copy that is kept beside the
checkpoints replaces the deleted outputs.
"""

import os
import shutil
from pathlib import Path

from balle2017.errors import InputError
from balle2017.files import copy_file, read_json, read_map, sha256_file, write_json

#: The files that a training writes.
FILES = ("model/config.json", "model/model.safetensors", "history.csv", "run.json")
# Beside the copies: their SHA-256, by name.
_HASHES = "sha256.json"


def _copy(source: Path, target: Path) -> None:
    for name in FILES:
        copy_file(source / name, target / name)


def keep(save_dir: Path, kept: Path) -> None:
    """Copy the files of a finished training from `save_dir` to the folder `kept`."""
    partial = kept.with_name(f".{kept.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _copy(save_dir, partial)
    write_json(partial / _HASHES, {name: sha256_file(partial / name) for name in FILES})
    shutil.rmtree(kept, ignore_errors=True)
    os.replace(partial, kept)


def restore(kept: Path, save_dir: Path, fingerprint: dict) -> dict | None:
    """Put the files that `keep` kept into `save_dir`, if they are of an equal training.

    Args:
        kept: folder of the copies; it need not exist.
        save_dir: of the training that is asked for.
        fingerprint: everything that decides its result, as run.json has it.

    Returns:
        The content of run.json. None if the copies are incomplete, damaged, or of another
        training; then nothing is written.
    """
    try:
        if read_json(kept / _HASHES) != {name: sha256_file(kept / name) for name in FILES}:
            return None
        record = read_map(kept / "run.json", "record of a training", {"fingerprint": dict})
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, InputError):
        return None
    if record["fingerprint"] != fingerprint:
        return None
    _copy(kept, save_dir)
    return record
