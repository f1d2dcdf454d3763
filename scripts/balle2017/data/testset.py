"""A test set from an archive: a folder of PNGs, every picture of it or none."""

import os
import shutil
from pathlib import Path

from PIL import Image

from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.reasons import Reason
from balle2017.data.store import STORE_COLUMNS, ImageStore
from balle2017.errors import InputError
from balle2017.files import file_name, read_table, write_table

# Codes of members that are no picture lost.
NO_PICTURE = (Reason.HIDDEN.name.lower(), Reason.NOT_REGULAR.name.lower())


def unpack_test_images(archive: Path, out: Path) -> int:
    """Decode the pictures of an archive to `out`/NAME.png; return how many there are.

    They are named after their members, without folders; what is not a picture is left
    out, and so are pictures with the same pixels as another.

    Args:
        archive: tar or zip.
        out: the folder; an earlier one is replaced.

    Raises:
        InputError: see `extract_archives`; or a member cannot be read or decoded: a
            mean over the others would be another test set's.
    """
    work = out.with_name(f".{out.name}.partial")
    shutil.rmtree(work, ignore_errors=True)
    try:
        extract_archives([archive], work, ExtractSettings(min_size=1, max_rejected=0))
        manifest = read_table(work / "manifest.csv")
        for row in manifest:
            # Without a hash its bytes were never seen.
            if not row["sha256"] and row["code"] not in NO_PICTURE:
                raise InputError(f"{archive}: {row['name']}: {row['reason']}")
        accepted = (row for row in manifest if row["status"] == "accepted")
        rows = [{key: row[key] for key in STORE_COLUMNS} for row in accepted]
        # Beside the shards, which it names.
        listed = work / "images" / "list.csv"
        write_table(listed, STORE_COLUMNS, rows)
        store = ImageStore(listed)
        pictures = work / "pictures"
        pictures.mkdir()
        for index, name in enumerate(store.names):
            stem = file_name(Path(name).stem)
            path, number = pictures / f"{stem}.png", 2
            while path.exists():
                path, number = pictures / f"{stem}-{number}.png", number + 1
            Image.fromarray(store[index]).save(path)
        shutil.rmtree(out, ignore_errors=True)
        os.replace(pictures, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return len(store)
