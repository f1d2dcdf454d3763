"""The image store: an archive's pictures, decoded once and packed for mapping.

A dataset folder holds `manifest.csv` (a row for every member of the archive),
`images/shard-NNNNN.bin` (uint8 pixels, height x width x 3, one picture after
the other) and `dataset.json` (counts and the manifest's hash, written last: a
folder without it is not a dataset).
"""

import hashlib
import heapq
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from balle2017.archive import Member, iterate_members
from balle2017.errors import BadImageError, InputError
from balle2017.files import read_table, sha256_file, write_json, write_table
from balle2017.images import MAX_PIXELS, decode_image

MANIFEST_COLUMNS = [
    "name",
    "sha256",
    "width",
    "height",
    "mode",
    "status",
    "reason",
    "pixel_sha256",
    "shard",
    "offset",
]

#: A new shard is begun once the current one is larger than this, in bytes.
SHARD_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class ExtractSettings:
    """What decides the content of a dataset, beside the archives themselves.

    Attributes:
        min_size: pictures with a shorter side, in pixels, are rejected.
        max_images: keep only this many members, those with the lowest hash.
        seed: makes another choice of `max_images` members.
        max_pixels: larger pictures are rejected before they are decoded.
    """

    min_size: int = 64
    max_images: int | None = None
    seed: int = 1
    max_pixels: int = MAX_PIXELS


def pixel_sha256(pixels: np.ndarray) -> str:
    """Return the SHA-256 of a picture's size and its uint8 [height, width, 3] pixels."""
    height, width, _ = pixels.shape
    digest = hashlib.sha256(f"{width}x{height}:".encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


class ShardWriter:
    """Append pictures to numbered shard files in a folder."""

    def __init__(self, folder: Path):
        """Create `folder`; it must not exist."""
        self._folder = folder
        folder.mkdir(parents=True)
        self._number = -1
        self._file = None

    def append(self, pixels: np.ndarray) -> tuple[str, int]:
        """Store one picture; return its shard's name and byte offset."""
        if self._file is None or self._file.tell() >= SHARD_BYTES:
            self.close()
            self._number += 1
            self._name = f"shard-{self._number:05d}.bin"
            self._file = open(self._folder / self._name, "wb")  # noqa: SIM115
        offset = self._file.tell()
        self._file.write(np.ascontiguousarray(pixels))
        return self._name, offset

    def close(self) -> None:
        """Flush the current shard to disk."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _sample(members: Iterable[Member], max_images: int, seed: int) -> set[str]:
    """Return the hashes of the `max_images` members to keep.

    The members with the lowest SHA-256 of (seed, bytes) are kept, so the
    choice does not depend on their order in the archive.
    """
    heap: list[tuple[int, str]] = []
    seen: set[str] = set()
    for member in members:
        if member.data is None:
            continue
        digest = hashlib.sha256(member.data).hexdigest()
        if digest in seen:
            continue
        seen.add(digest)
        key = -int(hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest(), 16)
        push = heapq.heappush if len(heap) < max_images else heapq.heappushpop
        push(heap, (key, digest))
    return {digest for _, digest in heap}


def _members(sources: list[Path]) -> Iterator[Member]:
    for source in sources:
        prefix = f"{source.name}:" if len(sources) > 1 else ""
        for member in iterate_members(source):
            yield Member(prefix + member.name, member.data, member.reason)


def extract_archives(
    sources: list[Path], out: Path, settings: ExtractSettings, log=print
) -> Counter:
    """Decode the pictures of one or several archives into a dataset folder.

    Args:
        sources: folders, tars or zips.
        out: the dataset folder; an earlier dataset in it is replaced at the end.
        settings: see `ExtractSettings`.
        log: called with one line of text now and then.

    Returns:
        How many members were accepted, skipped and rejected.

    Raises:
        InputError: a source is missing, damaged or no archive, or holds no usable image.
    """
    sources, out = [Path(source) for source in sources], Path(out)
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    keep = None
    if settings.max_images is not None:
        keep = _sample(_members(sources), settings.max_images, settings.seed)
    writer = ShardWriter(partial / "images")
    rows: list[dict] = []
    first_with: dict[str, str] = {}
    try:
        for member in _members(sources):
            row = _examine(member, settings, keep, first_with, writer)
            rows.append(row)
            if len(rows) % 1000 == 0:
                log(f"{len(rows)} members read")
        writer.close()
        counts = Counter(row["status"] for row in rows)
        if not counts["accepted"]:
            reasons = Counter(row["reason"].split(":")[0] for row in rows).most_common(3)
            why = "; ".join(f"{number} {reason}" for reason, number in reasons) or "it is empty"
            names = ", ".join(map(str, sources))
            raise InputError(f"{names} holds no usable image ({why})")
        _install(partial, out, rows, counts)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


def _examine(
    member: Member,
    settings: ExtractSettings,
    keep: set[str] | None,
    first_with: dict[str, str],
    writer: ShardWriter,
) -> dict:
    """Return the manifest row of a member, having stored its pixels if accepted."""
    row: dict = {"name": member.name}
    if member.data is None:
        return row | {"status": "skipped", "reason": member.reason}
    row["sha256"] = hashlib.sha256(member.data).hexdigest()
    if keep is not None and row["sha256"] not in keep:
        return row | {"status": "skipped", "reason": "not sampled"}
    try:
        pixels, mode = decode_image(member.data, settings.max_pixels)
    except BadImageError as error:
        status = "skipped" if str(error) == "not an image" else "rejected"
        return row | {"status": status, "reason": str(error)}
    height, width, _ = pixels.shape
    row |= {"width": width, "height": height, "mode": mode}
    if min(height, width) < settings.min_size:
        reason = f"smaller than min_size: {width}x{height}, {settings.min_size} wanted"
        return row | {"status": "rejected", "reason": reason}
    digest = pixel_sha256(pixels)
    row["pixel_sha256"] = digest
    if digest in first_with:
        return row | {"status": "skipped", "reason": f"duplicate of {first_with[digest]}"}
    first_with[digest] = member.name
    shard, offset = writer.append(pixels)
    return row | {"status": "accepted", "reason": "", "shard": shard, "offset": offset}


def _install(partial: Path, out: Path, rows: list[dict], counts: Counter) -> None:
    """Put a finished extraction in place; `dataset.json` comes last."""
    (out / "dataset.json").unlink(missing_ok=True)
    shutil.rmtree(out / "images", ignore_errors=True)
    os.replace(partial / "images", out / "images")
    write_table(out / "manifest.csv", MANIFEST_COLUMNS, rows)
    summary = {
        "members": len(rows),
        "accepted": counts["accepted"],
        "skipped": counts["skipped"],
        "rejected": counts["rejected"],
        "manifest_sha256": sha256_file(out / "manifest.csv"),
    }
    write_json(out / "dataset.json", summary)


class ImageStore:
    """The pictures named by a split list, mapped into memory."""

    def __init__(self, list_path: Path):
        """Open a list as `split_images` writes it: name, width, height, shard, offset.

        Raises:
            InputError: the list is missing, is not such a list, or names a missing shard.
        """
        list_path = Path(list_path)
        try:
            rows = read_table(list_path)
        except FileNotFoundError:
            raise InputError(f"image list {list_path} does not exist") from None
        self.names: list[str] = []
        self._pictures: list[np.ndarray] = []
        shards: dict[str, np.memmap] = {}
        for row in rows:
            try:
                width, height, offset = int(row["width"]), int(row["height"]), int(row["offset"])
                shard = row["shard"]
            except (KeyError, TypeError, ValueError):
                raise InputError(f"{list_path} is no image list written by split.py") from None
            if shard not in shards:
                path = list_path.parent / shard
                if not path.is_file():
                    raise InputError(f"{list_path} names {path}, which does not exist")
                shards[shard] = np.memmap(path, np.uint8, "r")
            size = height * width * 3
            data = shards[shard][offset : offset + size]
            if data.size != size:
                raise InputError(f"{list_path.parent / shard} is cut short; extract again")
            self.names.append(row["name"])
            self._pictures.append(data.reshape(height, width, 3))

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._pictures)

    def __getitem__(self, index: int) -> np.ndarray:
        """Return a picture as read-only uint8 [height, width, 3]."""
        return self._pictures[index]
