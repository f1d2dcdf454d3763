"""From archives to a dataset: one streaming pass, in constant memory."""

import dataclasses
import errno
import hashlib
import heapq
import json
import os
import shutil
import sqlite3
import tarfile
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from balle2017.data import kinds
from balle2017.data.archives import Member, iterate_members, source_size
from balle2017.data.dataset import install, own_folders
from balle2017.data.images import MAX_PIXELS, decode_image, read_size
from balle2017.data.reasons import BadImageError, Reason, Refusal, Status
from balle2017.data.store import MANIFEST_COLUMNS, ShardWriter, pixel_hash, uniform
from balle2017.errors import InputError, WorkError
from balle2017.files import printable, write_table
from balle2017.options import check, option
from balle2017.progress import ByteProgress


@dataclass(frozen=True)
class ExtractSettings:
    """What determines the content of a dataset, apart from the archives themselves.

    The flags of `scripts/extract.py` are made from it, and a test holds the config schema to it.

    Raises:
        InputError: a value is out of its range; the message names the key.
    """

    min_size: int = option(
        64, "reject images whose shorter side is less than this many pixels", min=1
    )
    max_images: int | None = option(
        None, "use only this many images of the archives, chosen by hash (default: all)", min=2
    )
    seed: int = option(1, "seed for choosing images and the factors of downscale", min=0)
    max_pixels: int = option(
        MAX_PIXELS, "reject images with more pixels than this, before they are decoded", min=1
    )
    max_rejected: float = option(
        0.5, "fail if more than this share of the images is rejected", min=0, max=1, metavar="F"
    )
    downscale: tuple[float, float] | None = option(
        None,
        "shrink each image by a random factor in this range, which hides JPEG artefacts; no side "
        "falls below min_size",
        above=0,
        max=1,
        metavar=("LOW", "HIGH"),
    )
    max_saturated: float | None = option(
        None,
        "reject images with more than this share of samples at 0 or 255 (default: no limit)",
        min=0,
        max=1,
        metavar="F",
    )
    min_deviation: float | None = option(
        None,
        "reject images whose standard deviation, on 0..255, is lower than this (default: no limit)",
        min=0,
        metavar="F",
    )

    def __post_init__(self) -> None:
        """Check every bound."""
        check(self)
        if self.downscale is not None and self.downscale[0] > self.downscale[1]:
            low, high = self.downscale
            raise InputError(
                f"downscale is {low} {high}; it must be two factors, the smaller one first"
            )


def _reduce(pixels: np.ndarray, digest: str, settings: ExtractSettings) -> tuple[np.ndarray, float]:
    """Scale a picture down by its own random factor."""
    assert settings.downscale is not None
    height, width, _ = pixels.shape
    low, high = settings.downscale
    # A key of its own: the split compares `uniform(seed, digest)` with its share.
    factor = low + (high - low) * uniform(settings.seed, f"scale:{digest}")
    factor = min(1.0, max(factor, settings.min_size / min(height, width)))
    width, height = (max(settings.min_size, round(side * factor)) for side in (width, height))
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image), factor


@dataclass(frozen=True)
class Prepared:
    """A picture that was examined.

    Attributes:
        row: columns of the manifest.
        pixels: uint8 [height, width, 3], or None where the picture is not used.
    """

    row: dict[str, Any]
    pixels: np.ndarray | None = None


Row = dict[str, Any]


def _refused(refusal: Refusal) -> Row:
    """Return the columns of a manifest that say why a file is not used."""
    reason = refusal.reason
    return {"status": reason.status, "code": reason.name.lower(), "reason": str(refusal)}


def _why_not_used(error: BadImageError, name: str) -> Row:
    """Return the columns of a manifest that say why a member of this name is not decoded."""
    refusal = error.refusal
    if refusal.reason is Reason.NOT_AN_IMAGE and kinds.named_like_picture(name):
        refusal = Refusal(Reason.MISNAMED)
    elif refusal.reason is Reason.NOT_AN_IMAGE and kinds.named_like_archive(name):
        refusal = Refusal(Reason.UNREAD_ARCHIVE, {"format": "not known"})
    return _refused(refusal)


def prepare(data: bytes, settings: ExtractSettings, name: str = "") -> Prepared:
    """Decode, check and scale one encoded picture, whose file has this name."""
    row: Row = {"sha256": hashlib.sha256(data).hexdigest()}
    try:
        decoded = decode_image(data, settings.max_pixels, settings.min_size, name)
    except BadImageError as error:
        return Prepared(row | _why_not_used(error, name))
    pixels, row["mode"], row["colour"] = decoded
    # Hash the image before scaling, so that a test image is recognized all the same.
    digest = pixel_hash(pixels)
    row["scale"] = 1
    if settings.downscale is not None:
        pixels, row["scale"] = _reduce(pixels, digest, settings)
    row["height"], row["width"], _ = pixels.shape
    if settings.max_saturated is not None:
        share = float(np.mean((pixels == 0) | (pixels == 255)))
        if share > settings.max_saturated:
            return Prepared(row | _refused(Refusal(Reason.SATURATED, {"share": share})))
    if settings.min_deviation is not None:
        deviation = float(pixels.std())
        if deviation < settings.min_deviation:
            return Prepared(row | _refused(Refusal(Reason.FLAT, {"deviation": deviation})))
    row |= {"status": Status.ACCEPTED, "pixel_hash": digest}
    # A training is another one if the code that scales gives other pixels.
    row["stored_hash"] = digest if settings.downscale is None else pixel_hash(pixels)
    return Prepared(row, pixels)


def _walk(
    sources: list[Path], progress: ByteProgress, scratch: Path, without: Collection[Path]
) -> Iterator[Member]:
    for source in sources:
        prefix = f"{printable(source.name)}:" if len(sources) > 1 else ""
        for member in iterate_members(source, progress.advance, scratch, without):
            yield dataclasses.replace(member, name=prefix + member.name)


def _in_order(
    jobs: Iterable[tuple[Row, bytes | None]], settings: ExtractSettings, threads: int
) -> Iterator[tuple[Row, Prepared | None]]:
    """Prepare pictures on several threads and hand them over in their order.

    Pillow and hashing release the interpreter's lock. Only a few pictures are
    in flight, so memory does not grow with the archive.
    """
    if threads == 1:
        for row, data in jobs:
            yield row, None if data is None else prepare(data, settings, row["name"])
        return
    waiting: deque[tuple[Row, Future[Prepared] | None]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for row, data in jobs:
                future = None
                if data is not None:
                    future = pool.submit(prepare, data, settings, row["name"])
                waiting.append((row, future))
                while len(waiting) > 2 * threads:
                    row, future = waiting.popleft()
                    yield row, future.result() if future else None
            while waiting:
                row, future = waiting.popleft()
                yield row, future.result() if future else None
        finally:
            for _, future in waiting:
                if future:
                    future.cancel()


class _Store:
    """Store prepared images, except those whose pixels are there already."""

    def __init__(self, folder: Path):
        self.writer = ShardWriter(folder / "images")
        # On disk: a table in memory would grow with the archive.
        self._seen = sqlite3.connect(folder / "seen.sqlite", isolation_level=None)
        self._seen.execute("PRAGMA synchronous = OFF")
        self._seen.execute("PRAGMA journal_mode = OFF")
        self._seen.execute("CREATE TABLE seen (pixels BLOB PRIMARY KEY, name TEXT) WITHOUT ROWID")
        self._seen.execute("BEGIN")

    def add(self, row: Row, prepared: Prepared) -> Row:
        """Return the manifest row, having stored the pixels if they are new."""
        row = row | prepared.row
        if prepared.pixels is None:
            return row
        key = bytes.fromhex(row["pixel_hash"])
        new = self._seen.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (key, row["name"]))
        if not new.rowcount:
            first = self._seen.execute("SELECT name FROM seen WHERE pixels = ?", (key,)).fetchone()
            return row | _refused(Refusal(Reason.DUPLICATE, {"name": first[0]}))
        shard, offset = self.writer.append(prepared.pixels)
        return row | {"shard": shard, "offset": offset}

    def close(self) -> None:
        self.writer.close()
        self._seen.close()


def _first_row(member: Member) -> Row:
    """Return a member's row of the manifest as far as it is known before its bytes are examined."""
    return {"name": member.name} | (_refused(member.refusal) if member.refusal else {})


def _all_rows(
    members: Iterable[Member], store: _Store, settings: ExtractSettings, threads: int
) -> Iterator[Row]:
    """Yield the rows of all members, each picture decoded and stored."""
    jobs = ((_first_row(member), member.data) for member in members)
    for row, prepared in _in_order(jobs, settings, threads):
        yield row if prepared is None else store.add(row, prepared)


class _Sample:
    """The `max_images` members with the lowest hash of (seed, bytes), spooled to disk."""

    def __init__(self, folder: Path, count: int, seed: int):
        self._folder, self._count, self._seed = folder / "spool", count, seed
        self._folder.mkdir()
        self._heap: list[tuple[float, str]] = []
        self._kept: dict[str, Row] = {}

    def offer(self, row: Row, data: bytes) -> str:
        """Keep a member if it belongs to the sample so far; return its hash."""
        digest = hashlib.sha256(data).hexdigest()
        entry = (-uniform(self._seed, digest), digest)
        full = len(self._heap) >= self._count
        if digest in self._kept or (full and entry < self._heap[0]):
            return digest
        (self._folder / digest).write_bytes(data)
        self._kept[digest] = row
        if full:
            _, evicted = heapq.heapreplace(self._heap, entry)
            (self._folder / evicted).unlink()
            del self._kept[evicted]
        else:
            heapq.heappush(self._heap, entry)
        return digest

    def jobs(self) -> Iterator[tuple[Row, bytes]]:
        """Yield the sampled members in the order of the archive."""
        for digest, row in sorted(self._kept.items(), key=lambda item: item[1]["index"]):
            path = self._folder / digest
            yield row, path.read_bytes()
            path.unlink()


def _sampled_rows(
    members: Iterable[Member],
    store: _Store,
    settings: ExtractSettings,
    count: int,
    threads: int,
    folder: Path,
) -> Iterator[Row]:
    """Yield the rows of all members; only the `count` sampled ones are decoded and stored."""
    sample = _Sample(folder, count, settings.seed)
    spooled_rows = folder / "rows.jsonl"
    with open(spooled_rows, "w", encoding="utf-8") as file:
        for index, member in enumerate(members):
            row = _first_row(member)
            if member.data is not None:
                try:
                    size = read_size(
                        member.data, settings.max_pixels, settings.min_size, member.name
                    )
                    row["width"], row["height"] = size
                    row["sha256"] = sample.offer({"name": member.name, "index": index}, member.data)
                    row |= _refused(Refusal(Reason.NOT_SAMPLED))
                except BadImageError as error:
                    row |= _why_not_used(error, member.name)
            file.write(json.dumps(row) + "\n")
    sampled = {
        row["index"]: store.add({"name": row["name"]}, prepared)
        for row, prepared in _in_order(sample.jobs(), settings, threads)
        if prepared is not None
    }
    # Only decoding finds some faults, so the share among all images would hide them.
    lost = [row for row in sampled.values() if row["status"] == Status.REJECTED]
    if len(lost) > settings.max_rejected * len(sampled):
        raise InputError(
            f"{len(lost) / len(sampled):.0%} of the {len(sampled)} sampled images were rejected; "
            f"max_rejected allows {settings.max_rejected:.0%}; the first is {lost[0]['name']}: "
            f"{lost[0]['reason']}"
        )
    with open(spooled_rows, encoding="utf-8") as file:
        for index, line in enumerate(file):
            yield sampled.get(index) or json.loads(line)


def extract_archives(
    sources: list[Path],
    out: Path,
    settings: ExtractSettings,
    threads: int = 2,
    log: Callable[[str], object] = print,
    strict: bool = False,
    without: Collection[Path] = (),
) -> Counter:
    """Decode the pictures of one or several archives into a dataset folder.

    Nothing is written outside `out`, and nothing in it is read. Until the end, everything is
    in `out`/.partial, which the next attempt deletes first.

    Args:
        sources: folders, tars or zips.
        out: the dataset folder; an earlier dataset in it is replaced at the end.
        settings: see `ExtractSettings`.
        threads: pictures decoded at the same time; the result does not depend on it.
        log: called with one line of text now and then.
        strict: fail at the first image that cannot be used, whatever `max_rejected` says.
        without: folders with results; skipped where they lie below a source.

    Returns:
        How many members were accepted, skipped and rejected.

    Raises:
        InputError: a source is missing, damaged or no archive, holds no usable
            image, or more than `max_rejected` of its images cannot be used; with
            `strict`, naming the first of them.
        WorkError: the disk is full.
    """
    sources, out = [Path(source) for source in sources], Path(out)
    for source in sources:
        if not source.exists():
            raise InputError(f"archive {source} does not exist")
    without = [*without, *own_folders(sources, out)]
    names = ", ".join(map(str, sources))
    partial = out / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        total = sum(source_size(source, without) for source in sources)
        progress = ByteProgress(total, log)
        store = _Store(partial)
        counts: Counter[str] = Counter()
        reasons: Counter[Reason] = Counter()
        lost, first = 0, ""

        def counted(rows: Iterable[Row]) -> Iterator[Row]:
            nonlocal lost, first
            for row in rows:
                counts[row["status"]] += 1
                if code := row.get("code"):
                    reason = Reason[code.upper()]
                    reasons[reason] += 1
                    if _is_lost_picture(reason, row["name"]):
                        lost += 1
                        first = first or f"; the first is {row['name']}: {row['reason']}"
                        if strict:
                            raise InputError(
                                f"{names}: {row['name']}: {row['reason']}; every test image must "
                                "be usable: repair it, convert it, or remove it"
                            )
                else:
                    progress.count_image()
                yield row

        members = _walk(sources, progress, partial, without)
        if settings.max_images is None:
            rows = _all_rows(members, store, settings, threads)
        else:
            rows = _sampled_rows(members, store, settings, settings.max_images, threads, partial)
        write_table(partial / "manifest.csv", MANIFEST_COLUMNS, counted(rows))
        store.close()
        progress.close()
        try:
            _check_counts(names, counts["accepted"], lost, reasons, settings)
        except InputError as error:
            raise InputError(f"{error}{first}") from None
        install(partial, out, counts)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise WorkError(
            f"{out}: {os.strerror(error.errno)}; nothing was kept. Decoded images take about "
            "five to ten times the space of a JPEG archive; free some, or set max_images"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return counts


#: Reasons that lose no image: the file is none, or the image is there already.
_NO_LOSS = (Reason.HIDDEN, Reason.NOT_AN_IMAGE, Reason.DUPLICATE, Reason.NOT_SAMPLED)


def _is_lost_picture(reason: Reason, name: str) -> bool:
    """Tell whether an unused member is an image, or may hold images."""
    if reason.status is Status.REJECTED:
        return True
    if reason in _NO_LOSS:
        return False
    # Its bytes were not read. An archive, or a name without a suffix, may hold anything.
    archives = (Reason.DAMAGED_ARCHIVE, Reason.DEEP_ARCHIVE, Reason.UNREAD_ARCHIVE)
    unknown = not PurePath(name).suffix and reason is not Reason.NOT_REGULAR
    return reason in archives or unknown or kinds.named_like_picture(name)


def _check_counts(
    names: str, accepted: int, lost: int, reasons: Counter[Reason], settings: ExtractSettings
) -> None:
    """Raise InputError where too little of the sources could be used."""
    images = lost + accepted + reasons[Reason.NOT_SAMPLED]
    del reasons[Reason.NOT_SAMPLED]
    common = "; ".join(f"{number} {reason.heading}" for reason, number in reasons.most_common(3))
    if Reason.BELOW_MIN_SIZE in reasons:
        common += f"; min_size is {settings.min_size}"
    if not accepted:
        raise InputError(f"{names} holds no usable image ({common or 'it is empty'})")
    share = lost / images
    if share > settings.max_rejected:
        raise InputError(
            f"{names}: {share:.0%} of the images were rejected ({common}); "
            f"max_rejected allows {settings.max_rejected:.0%}"
        )


def extract_tar(path: Path, out: Path, settings: ExtractSettings | None = None) -> Counter:
    """Decode the pictures of a tar, nested tars included, into a dataset folder.

    Returns how many members were accepted, skipped and rejected.

    Raises:
        InputError: not a tar, damaged, or without a usable image.
    """
    if not Path(path).is_file() or not tarfile.is_tarfile(path):
        raise InputError(f"{path} is not a tar archive")
    return extract_archives([Path(path)], out, settings or ExtractSettings())


def extract_zip(path: Path, out: Path, settings: ExtractSettings | None = None) -> Counter:
    """Decode the pictures of a zip into a dataset folder; see `extract_tar`."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a zip archive")
    return extract_archives([Path(path)], out, settings or ExtractSettings())
