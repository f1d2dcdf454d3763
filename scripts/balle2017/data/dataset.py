"""The folder of a dataset: what an extraction may replace in it, and how the new one gets there."""

import csv
import os
from collections import Counter
from pathlib import Path

from balle2017.data.store import SHARD_NAME, STORE_COLUMNS
from balle2017.errors import InputError
from balle2017.files import read_map, refuse_inputs_in, set_aside, sha256_file, write_json

_MANIFEST, _SUMMARY = "manifest.csv", "dataset.json"


def _is_manifest(path: Path) -> bool:
    """Tell whether a file is the manifest.csv of a dataset, of this version or an earlier one."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return {*STORE_COLUMNS, "sha256", "status", "reason"} <= set(columns)


def _is_summary(path: Path) -> bool:
    """Tell whether a file is the dataset.json of an extraction."""
    try:
        read_map(path, "summary of a dataset", {"manifest_sha256": str})
    except (InputError, OSError):
        return False
    return True


def check_manifest(manifest: Path) -> None:
    """Raise InputError if a manifest is not the one that an extraction left in this folder."""
    summary = manifest.parent / _SUMMARY
    # A manifest may also come without a dataset's folder.
    if summary.is_file():
        facts = read_map(summary, "summary of a dataset", {"manifest_sha256": str})
        if facts["manifest_sha256"] != sha256_file(manifest):
            raise InputError(
                f"{manifest} was changed after extract.py wrote it; extract the images again"
            )


def own_folders(sources: list[Path], out: Path) -> list[Path]:
    """Return the folders that hold this extraction's own output.

    Raises:
        InputError: a source lies in one of them, or something else is where they will be.
    """
    images, partial = out / "images", out / ".partial"
    refuse_inputs_in([images, partial], sources, "--out")
    for path in (images, partial):
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise InputError(f"{path} is a link or a file, not a folder; give another --out")
    if images.is_dir() and not all(SHARD_NAME.fullmatch(name) for name in os.listdir(images)):
        raise InputError(f"{images} holds files that are not a dataset's; give another --out")
    for path, is_ours in ((out / _MANIFEST, _is_manifest), (out / _SUMMARY, _is_summary)):
        if os.path.lexists(path) and not is_ours(path):
            raise InputError(f"{path} is not a dataset's; give another --out")
    # If a source is the output folder or lies in it, the other files there are the user's.
    inside = any(source.resolve().is_relative_to(out.resolve()) for source in sources)
    return [images, partial, out / "downloads"] if inside else [out]


def install(partial: Path, out: Path, counts: Counter) -> None:
    """Put a finished extraction in place; `dataset.json` comes last."""
    summary = {
        "members": counts.total(),
        "accepted": counts["accepted"],
        "skipped": counts["skipped"],
        "rejected": counts["rejected"],
        "manifest_sha256": sha256_file(partial / _MANIFEST),
    }
    earlier = [out / name for name in (_SUMMARY, _MANIFEST, "images")]
    with set_aside(earlier, partial / "earlier"):
        os.replace(partial / "images", out / "images")
        os.replace(partial / _MANIFEST, out / _MANIFEST)
        write_json(out / _SUMMARY, summary)
