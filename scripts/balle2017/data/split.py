"""Divide a dataset into training and validation images, by content."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from balle2017.data.dataset import check_manifest
from balle2017.data.images import list_test_images, read_image
from balle2017.data.store import pixel_hash, uniform
from balle2017.errors import InputError
from balle2017.files import read_table, sha256_file, write_json, write_table

LIST_COLUMNS = ["name", "pixel_hash", "stored_hash", "width", "height", "shard", "offset"]


@dataclass(frozen=True)
class SplitResult:
    """How many images went where, and the names of those kept out."""

    train: int
    val: int
    kept_out: list[str]
    warning: str


def split_images(
    manifest: Path, out: Path, val_split: float, seed: int, test_images: Sequence[Path] = ()
) -> SplitResult:
    """Divide images by their pixels' hash and the seed alone.

    Hash and seed give each image a number in [0, 1); the image is for validation if it is
    below `val_split`. So adding images moves none of the others, and equal images are on one side.
    Writes `train.csv`, `val.csv` and `split.json` (counts and hashes) to `out`.

    Args:
        manifest: `manifest.csv` of a dataset.
        out: folder for the lists; they name the shards relative to it.
        val_split: expected share of validation images, 0 < val_split < 1.
        seed: another seed gives another split.
        test_images: pictures, and folders of pictures, kept out of both sides
            (compared by decoded pixels).

    Raises:
        InputError: no such manifest, or one that was changed; val_split out of range, or fewer
            than two images left; or see `list_test_images`.
    """
    manifest, out = Path(manifest), Path(out)
    if not 0 < val_split < 1:
        raise InputError(f"val_split is {val_split}; it must lie between 0 and 1, both excluded")
    try:
        rows = read_table(manifest)
    except FileNotFoundError:
        raise InputError(f"manifest {manifest} does not exist") from None
    if any({*LIST_COLUMNS, "status"} - row.keys() for row in rows):
        raise InputError(f"{manifest} is not a manifest written by this version of extract.py")
    check_manifest(manifest)
    rows = [row for row in rows if row["status"] == "accepted"]
    tests = {
        pixel_hash(read_image(path))
        for entry in map(Path, test_images)
        for path in (list_test_images(entry) if entry.is_dir() else [entry])
    }
    found = len(rows)
    kept_out = [row["name"] for row in rows if row["pixel_hash"] in tests]
    rows = [row for row in rows if row["pixel_hash"] not in tests]
    if len(rows) < 2:
        raise InputError(
            f"{manifest} has {found} usable image(s), {len(rows)} outside the test set; give "
            "at least 2, because training and validation need one each"
        )
    rows.sort(key=lambda row: uniform(seed, row["pixel_hash"]))
    n_val = sum(uniform(seed, row["pixel_hash"]) < val_split for row in rows)
    warning = ""
    if n_val == 0 or n_val == len(rows):
        side = "validation" if n_val == 0 else "training"
        n_val = 1 if n_val == 0 else len(rows) - 1
        warning = f"no image was chosen for {side} at val_split {val_split}, so one was moved there"
    sides = {"val": rows[:n_val], "train": rows[n_val:]}
    images = os.path.relpath(manifest.parent / "images", out)
    summary: dict = {"val_fraction": n_val / len(rows), "kept_out": kept_out, "warning": warning}
    for side, members in sides.items():
        members = [row | {"shard": f"{images}/{row['shard']}"} for row in members]
        table = [{column: row[column] for column in LIST_COLUMNS} for row in members]
        write_table(out / f"{side}.csv", LIST_COLUMNS, table)
        summary[side] = {"images": len(table), "sha256": sha256_file(out / f"{side}.csv")}
    write_json(out / "split.json", summary)
    return SplitResult(len(sides["train"]), len(sides["val"]), kept_out, warning)
