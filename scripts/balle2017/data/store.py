"""The image store: an archive's pictures, decoded once and packed for mapping.

A dataset folder holds `manifest.csv` (a row for every member of the archive),
`images/shard-NNNNN.bin` (uint8 pixels, height x width x 3, one picture after
the other) and `dataset.json` (counts and the manifest's hash, written last: a
folder without it is not a dataset).
"""

import hashlib
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import xxhash

from balle2017.errors import InputError, WorkError
from balle2017.files import read_table

MANIFEST_COLUMNS = [
    "name",
    "sha256",
    "width",
    "height",
    "mode",
    "colour",
    "status",
    "code",
    "reason",
    "scale",
    "pixel_hash",
    "stored_hash",
    "shard",
    "offset",
]

#: The columns of a list of images that `ImageStore` reads.
STORE_COLUMNS = ["name", "width", "height", "shard", "offset"]

#: Default share of a dataset's images used for validation.
DEFAULT_VAL_SPLIT = 0.1

#: Names of shards.
SHARD_NAME = re.compile(r"shard-\d{5,}\.bin")

#: A new shard is begun once the current one is larger than this, in bytes.
SHARD_BYTES = 256 * 1024 * 1024


def pixel_hash(pixels: np.ndarray) -> str:
    """Return a hash of a picture's size and its uint8 [height, width, 3] pixels.

    It finds equal images and has no security to provide, so it is a fast one: 128 bits of XXH3.
    """
    height, width, _ = pixels.shape
    digest = xxhash.xxh3_128(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def uniform(seed: int, digest: str) -> float:
    """Return a number in [0, 1) that depends on a seed and a hash alone."""
    key = hashlib.sha256(f"{seed}:{digest}".encode()).digest()
    return int.from_bytes(key[:8], "big") / 2**64


def centre_crop(image: np.ndarray, patch_size: int) -> np.ndarray:
    """Return the central [patch_size, patch_size, 3] of an image at least that large."""
    height, width, _ = image.shape
    y, x = (height - patch_size) // 2, (width - patch_size) // 2
    return image[y : y + patch_size, x : x + patch_size]


class ShardWriter:
    """Append pictures to numbered shard files in a folder."""

    def __init__(self, folder: Path):
        """Create `folder`; it must not exist."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._number = -1
        self._file: BinaryIO | None = None
        # A full shard goes to the disk while the next pictures are decoded.
        self._flusher = ThreadPoolExecutor(1)
        self._pending: list[Future] = []

    def append(self, pixels: np.ndarray) -> tuple[str, int]:
        """Store one picture; return its shard's name and byte offset."""
        if self._file is None or self._file.tell() >= SHARD_BYTES:
            self._end_shard()
            self._number += 1
            self._name = f"shard-{self._number:05d}.bin"
            # Unbuffered: pictures are large, and fsync must see all of them.
            self._file = open(self._folder / self._name, "wb", buffering=0)  # noqa: SIM115
        offset = self._file.tell()
        rest = np.ascontiguousarray(pixels).data.cast("B")
        while rest:
            # Without a buffer a file may take a part, as of the last bytes of a disk.
            rest = rest[self._file.write(rest) :]
        return self._name, offset

    def _end_shard(self) -> None:
        if self._file is not None:
            self._pending.append(self._flusher.submit(_sync_and_close, self._file))
            self._file = None

    def close(self) -> None:
        """Return once all shards are on the disk.

        Raises:
            OSError: some data could not be written.
        """
        self._end_shard()
        self._flusher.shutdown()
        for future in self._pending:
            future.result()


def _sync_and_close(file: BinaryIO) -> None:
    os.fsync(file.fileno())
    file.close()


class _Shard(NamedTuple):
    """A shard, and its identity, which changes when another file takes its place."""

    path: Path
    identity: tuple[int, int, int]


class _Picture(NamedTuple):
    """Where the pixels of a picture are."""

    shard: _Shard
    offset: int
    shape: tuple[int, int, int]


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_mtime_ns, status.st_size


class ImageStore:
    """The pictures named by a split list, each mapped into memory when it is asked for.

    No file stays open: a large dataset has more shards than a process may open.

    Attributes:
        names: of the pictures.
        hashes: of their stored pixels, as the list has them; empty if it lacks any.
        manifest: of the dataset they come from, if it is there.
    """

    def __init__(self, list_path: Path):
        """Open a list as `split_images` writes it, with `STORE_COLUMNS`.

        Raises:
            InputError: the list is missing, is not such a list, or names a missing shard.
        """
        list_path = Path(list_path)
        try:
            rows = read_table(list_path)
        except FileNotFoundError:
            raise InputError(f"image list {list_path} does not exist") from None
        self.names: list[str] = []
        hashes = [row.get("stored_hash") for row in rows]
        self.hashes = [str(digest) for digest in hashes] if all(hashes) else []
        self.manifest: Path | None = None
        self._pictures: list[_Picture] = []
        shards: dict[str, _Shard] = {}
        for row in rows:
            try:
                width, height, offset = int(row["width"]), int(row["height"]), int(row["offset"])
                name, shown = row["shard"], row["name"]
                if None in (name, shown) or min(width, height) < 1:
                    raise ValueError
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{list_path} is not an image list written by split.py") from None
            if name not in shards:
                path = list_path.parent / name
                if not path.is_file():
                    raise InputError(
                        f"{list_path} names {path}, which does not exist; extract again"
                    )
                shards[name] = _Shard(path, _identity(path.stat()))
                manifest = path.parent.parent / "manifest.csv"
                self.manifest = manifest if manifest.is_file() else None
            shard = shards[name]
            end = offset + height * width * 3
            if not 0 <= offset < end <= shard.identity[2]:
                raise InputError(f"{shard.path} is cut short; extract again")
            self.names.append(shown)
            self._pictures.append(_Picture(shard, offset, (height, width, 3)))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)

    def shape(self, index: int) -> tuple[int, int, int]:
        """Return a picture's height, width and number of bands."""
        return self._pictures[index].shape

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a picture as read-only uint8 [height, width, 3].

        A file is open as long as the array or a view of it lives.

        Raises:
            WorkError: the shard is no longer the file that it was.
        """
        shard, offset, shape = self._pictures[index]
        try:
            with open(shard.path, "rb") as file:
                if _identity(os.fstat(file.fileno())) == shard.identity:
                    return np.memmap(file, np.uint8, "r", offset, shape)
        except FileNotFoundError:
            pass
        raise WorkError(f"{shard.path} was replaced while it was read; run again")
