"""Unpack a test set from an archive to a folder of PNGs: all its images, or an error."""

import os
import shutil
from pathlib import Path

from PIL import Image

from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.store import STORE_COLUMNS, ImageStore
from balle2017.errors import InputError
from balle2017.files import (
    file_name,
    read_table,
    refuse_inputs_in,
    set_aside,
    write_table,
)

# File names are limited to 255 bytes, names of members are not, and results add to them.
_LONGEST_NAME = 200

# Lists the files of an unpacked test set beside them, so that nothing else is ever replaced.
_LIST = ".unpacked.csv"
_BESIDE = {_LIST, ".snakemake_timestamp"}


def unpack_test_images(archive: Path, out: Path) -> int:
    """Decode the pictures of an archive to `out`/NAME.png; return how many there are.

    They are named after their members, without folders. Only files that do not claim to be
    images, by name or content, are left out. An image under two names is there twice, as it
    would be in a folder.

    Args:
        archive: tar or zip.
        out: the folder; an earlier test set that was unpacked there is replaced.

    Raises:
        InputError: see `extract_archives`; or `out` holds other files; or an image cannot be
            read or decoded, because a mean over the others would be that of another test set.
    """
    refuse_inputs_in([out], [archive, Path.cwd()], "--out")
    _check_replaceable(out)
    # Behind a link too the folder is replaced, and the name of the link stays.
    out = out.resolve()
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        settings = ExtractSettings(min_size=1)
        extract_archives([archive], work, settings, strict=True)
        rows, places = [], {}
        for row in read_table(work / "manifest.csv"):
            # Of equal pictures the first one is stored.
            if row["shard"]:
                places[row["pixel_hash"]] = row
            if place := places.get(row["pixel_hash"]):
                rows.append({key: place[key] for key in STORE_COLUMNS} | {"name": row["name"]})
        # Beside the shards, which it names.
        listed = work / "images" / "list.csv"
        write_table(listed, STORE_COLUMNS, rows)
        store = ImageStore(listed)
        pictures = work / "pictures"
        pictures.mkdir()
        for index, name in enumerate(store.names):
            stem = file_name(Path(name).stem)[:_LONGEST_NAME]
            path, number = pictures / f"{stem}.png", 2
            while path.exists():
                path, number = pictures / f"{stem}-{number}.png", number + 1
            Image.fromarray(store[index]).save(path)
        names = sorted(os.listdir(pictures))
        write_table(pictures / _LIST, ["name"], [{"name": name} for name in names])
        with set_aside([out], work / "earlier"):
            os.replace(pictures, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return len(store)


def _check_replaceable(out: Path) -> None:
    """Raise InputError where a folder holds anything that `unpack_test_images` did not write."""
    if out.is_dir():
        found = set(os.listdir(out))
        known = {row.get("name") for row in read_table(out / _LIST)} if _LIST in found else set()
        if others := sorted(found - known - _BESIDE):
            raise InputError(
                f"{out} holds {others[0]}, which is not an image unpacked there before; give "
                "another --out, or delete the folder"
            )
    elif os.path.lexists(out):
        raise InputError(f"{out} is not a folder; give another --out")
