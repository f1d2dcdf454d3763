"""The sources of an experiment's images, and the small records that stand for them."""

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from balle2017.data.images import list_test_images
from balle2017.data.kodak import check_folder
from balle2017.errors import InputError
from balle2017.files import (
    file_name,
    files_below,
    is_url,
    read_json,
    real_path,
    sha256_file,
    sha256_json,
    write_bytes,
)

#: Folders of results/ that all experiments share.
RESERVED = ("builtin", "datasets", "kodak", "testsets")
#: Folders of an experiment that hold other things than the results on a test set.
TAKEN = ("comparisons", "compressai", "models", "split")
#: Where the workflow writes, below the folder that it runs in.
OUTPUT_FOLDERS = tuple(map(Path, (".snakemake", "logs", "results", "work")))
BUILTIN, DATASETS, KODAK, TESTSETS = (f"results/{name}" for name in RESERVED)


#: Locks that this process holds to its end, and whether another process held one before.
_held: dict[Path, tuple[IO[bytes], bool]] = {}


def _shared_with_others(lock: Path) -> bool:
    """Share a lock until this process ends; tell whether other processes share it already.

    The system releases it, however the process ends. (Snakemake's own locks do not serve: the
    first of two runs that ends deletes those of both.)
    """
    lock = lock.absolute()
    if lock not in _held:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(lock, "ab")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            others = False
        except BlockingIOError:
            others = True
        except OSError:  # The file system has no locks.
            others = False
        else:
            fcntl.flock(file, fcntl.LOCK_UN)
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        _held[lock] = file, others
    return _held[lock][1]


class Recorder:
    """Writes records of files in the main process; other processes only name them.

    The jobs of a cluster read the workflow too, and must not hash the images again.

    Attributes:
        folder: of the records.
        writes: this is the main process.
        locked: another Snakemake runs in this folder, so records that are there stay.
    """

    def __init__(self, folder: Path, writes: bool, lock: Path | None = None):
        """Keep records in `folder`; without `writes`, write none.

        `lock` is a file that all main processes share. While another one runs, records that are
        there stay: Snakemake notes the inputs of a job when the job ends, and would take what
        the record says then for what the job has read. The next call after that run writes what
        has changed, and its jobs run again.
        """
        self.folder = folder
        self.writes = writes
        self.locked = writes and lock is not None and _shared_with_others(lock)

    def record(
        self, paths: list[Path], urls: Mapping[str, str] | None = None, name: str | None = None
    ) -> str:
        """Return the path of the record of files, folders and addresses, see `record_sources`.

        It is called `name`; without one, paths and addresses decide.
        """
        name = name or sha256_json([*map(str, paths), *(urls or {})])[:16]
        record = self.folder / f"{name}.sha256"
        if self.writes and not (self.locked and record.is_file()):
            record_sources(paths, record, urls)
        return str(record)


@dataclass(frozen=True)
class TestSet:
    """The images that the codecs are measured on.

    Attributes:
        name: of the folders of results.
        folder: where the pictures are, or will be.
        record: a small file that changes with their content.
        archive: what they are unpacked from, if anything.
        archive_record: the record of the archive.
    """

    name: str
    folder: str
    record: str
    archive: str | None = None
    archive_record: str | None = None


def test_set(config: Mapping[str, Any], recorder: Recorder, suite: Mapping[str, str]) -> TestSet:
    """Return the test set of a config.

    Args:
        config: checked, with its defaults.
        recorder: of the pictures.
        suite: hashes of the Kodak images, see `kodak.read_hashes`.

    Raises:
        InputError: there are no such images, or their folder has the name of other results.
    """
    choice = config["test_images"]
    if config["kodak"] is not None and choice != "kodak":
        raise InputError(
            f"config: kodak is given, but test_images is {choice}; set test_images to kodak"
        )
    if choice == "builtin":
        return TestSet(choice, f"{BUILTIN}/test", f"{BUILTIN}/test.sha256")
    if choice == "kodak" and config["kodak"] is None:
        return TestSet(choice, KODAK, f"{KODAK}.sha256")
    path = Path(config["kodak"] if choice == "kodak" else choice)
    if choice == "kodak":
        # A missing folder has no record; check_folder reports it.
        record = recorder.record([path]) if path.exists() else ""
        if recorder.writes:
            _refuse_links_to_results(path, "kodak")
            digests = read_record(Path(record)) if record else {}
            check_folder(path, suite, lambda file: digests.get(str(file)) or sha256_file(file))
        return TestSet(choice, str(path), record)
    packed = path.is_file()
    name = file_name(path.name.split(".")[0] if packed else path.resolve().name)
    if name in TAKEN:
        raise InputError(
            f"config: test_images is {choice}, but results/EXPERIMENT/{name} holds other results; "
            "rename the images' folder or archive"
        )
    if packed:
        # Archives in different folders may have the same name.
        folder = f"{TESTSETS}/{name}-{sha256_json(str(path))[:8]}"
        return TestSet(name, folder, f"{folder}.sha256", str(path), recorder.record([path]))
    if recorder.writes:
        _refuse_links_to_results(path, "test_images")
        try:
            list_test_images(path, OUTPUT_FOLDERS)
        except InputError as error:
            raise InputError(
                f"config: test_images: {error}; give a folder, an archive, kodak or builtin"
            ) from None
    return TestSet(name, str(path), recorder.record([path]))


def _refuse_links_to_results(folder: Path, key: str) -> None:
    """Check that no image of a folder is a link to where the workflow writes.

    Records leave such files out, so that a run does not read its own output; a change of the
    image would go unnoticed.

    Raises:
        InputError: naming the config key.
    """
    if not folder.is_dir():
        return
    outputs = [real_path(path) for path in OUTPUT_FOLDERS]
    outputs = [output for output in outputs if not real_path(folder).is_relative_to(output)]
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and any(real_path(path).is_relative_to(output) for output in outputs):
            raise InputError(
                f"config: {key}: {path} is a link to {real_path(path)}, where results are written; "
                "copy the file"
            )


def training_test_record(config: Mapping[str, Any], recorder: Recorder) -> str | None:
    """Return the record of the images of training.test_dir; None if that is not set.

    Raises:
        InputError: see `list_test_images`; or an image in the folder is a link to results.
    """
    if config["training"]["test_dir"] is None:
        return None
    folder = Path(config["training"]["test_dir"])
    if recorder.writes:
        _refuse_links_to_results(folder, "training.test_dir")
    try:
        if recorder.writes:
            list_test_images(folder, OUTPUT_FOLDERS)
        return recorder.record([folder])
    except InputError as error:
        raise InputError(f"config: training.test_dir: {error}") from None


def train_sources(config: Mapping[str, Any], recorder: Recorder) -> tuple[list[str], str]:
    """Return the training archives and the record that stands for them.

    Args:
        config: checked, with its defaults.
        recorder: of the archives.

    Raises:
        InputError: see `check_sources`.
    """
    if config["train_archive"] == "builtin":
        return [f"{BUILTIN}/train.tar"], f"{BUILTIN}/train.sha256"
    sources, hashes = config["train_archive"], config["train_archive_sha256"]
    sources = [sources] if isinstance(sources, str) else sources
    hashes = [hashes] if isinstance(hashes, str) else hashes or []
    check_sources(sources, hashes)
    # Without hashes there is no address among the sources.
    urls = {url: digest for url, digest in zip(sources, hashes, strict=False) if is_url(url)}
    local = [Path(source) for source in sources if not is_url(source)]
    return sources, recorder.record(local, urls)


def check_sources(sources: list[str], hashes: list[str]) -> None:
    """Check that sources exist, and that every URL has a hash.

    Raises:
        InputError: naming the config key.
    """
    if hashes and len(hashes) != len(sources):
        raise InputError(
            f"config: train_archive_sha256 has {len(hashes)} entries; it must have one for each "
            f"of the {len(sources)} in train_archive"
        )
    for source in sources:
        if is_url(source):
            if not hashes:
                raise InputError(
                    f"config: train_archive_sha256 must be given, because {source} is a URL"
                )
        elif not Path(source).exists():
            raise InputError(f"config: train_archive is {source}, which does not exist")
        elif hashes and Path(source).is_dir():
            raise InputError(
                f"config: train_archive_sha256 is given, but {source} is a folder, which has no "
                "SHA-256; pack it into a tar"
            )


def dataset_name(sources: list[str], settings: dict[str, Any]) -> str:
    """Return the name of a dataset's folder: its first source and 8 digits of its settings."""
    stem = file_name(Path(sources[0]).name.split(".")[0])[:100]
    return f"{stem}-{sha256_json([sources, settings])[:8]}"


def read_record(path: Path) -> dict[str, str]:
    """Return the digests of a record by path or address.

    A name with a line break is cut there.
    """
    lines = os.fsdecode(path.read_bytes()).split("\n")
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs if name}


def _read_cache(path: Path) -> dict[str, list]:
    """Return the stamps and hashes that `record_sources` kept; none if the cache is damaged."""
    try:
        cache = read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
    entries = cache.items() if isinstance(cache, dict) else ()
    return {name: entry for name, entry in entries if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    """Tell whether a value from JSON is a stamp with a SHA-256."""
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[1], str)
        and re.fullmatch("[0-9a-f]{64}", entry[1]) is not None
    )


def record_sources(paths: list[Path], record: Path, urls: Mapping[str, str] | None = None) -> Path:
    """Write the SHA-256 of files, and of all files below folders, to a small record.

    Skips what the workflow itself writes below them (`OUTPUT_FOLDERS`).

    Snakemake looks only at files that are newer than a result, and compares those of more than
    a megabyte by time alone. A file that is replaced by an older one (`cp -p`, `mv`, an unpacked
    archive) would pass for unchanged. So the record stands for them: it is rewritten when
    content changes, and only then. Hashes are kept beside it with each file's size and times,
    so nothing is hashed twice.

    Args:
        paths: files and folders.
        record: its path; it has the format of sha256sum.
        urls: addresses and the SHA-256 of what they hold.

    Returns:
        `record`.

    Raises:
        InputError: a path does not exist or is not readable.
    """
    files: list[Path] = []
    urls = urls or {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
        found = files_below(path, OUTPUT_FOLDERS) if path.is_dir() else [path]
        files += sorted(entry for entry in found if entry.is_file())
    cache_path = record.with_suffix(".json")
    cache = _read_cache(cache_path)
    known = {}
    for file in files:
        status = file.stat()
        # Copying can preserve size and mtime, but not ctime. Files that were unpacked together
        # may have equal times, and a link may lead to another of them.
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        stamp += [status.st_dev, status.st_ino]
        entry = cache.get(str(file))
        try:
            digest = entry[1] if entry and entry[0] == stamp else sha256_file(file)
        except PermissionError:
            raise InputError(f"{file} is not readable; change its permissions or move it") from None
        known[str(file)] = [stamp, digest]
    if known != cache:
        write_bytes(cache_path, json.dumps(known).encode())
    digests = {name: digest for name, (_, digest) in known.items()} | dict(urls)
    # A file name may not be UTF-8.
    content = os.fsencode("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    if not record.is_file() or record.read_bytes() != content:
        write_bytes(record, content)
    return record
