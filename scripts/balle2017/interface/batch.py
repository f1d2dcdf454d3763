"""Many files, converted one after the other into one folder."""

import errno
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from balle2017.data.kinds import EXTENSIONS
from balle2017.data.reasons import BadImageError
from balle2017.errors import DamagedFileError, InputError, WorkError
from balle2017.files import printable
from balle2017.interface.choice import UnreachableError

# A folder may have a dot in its name, but hardly these.
_FILES = EXTENSIONS | {".b17"}


def plan_outputs(
    inputs: list[Path],
    out: Path,
    list_folder: Callable[[Path], list[Path]],
    suffix: str,
    overwrite: bool,
) -> list[tuple[Path, Path]]:
    """Pair every input file with its output file.

    Args:
        inputs: files, and folders of files.
        out: a folder, unless there is one input file and `out` ends in `suffix`.
        list_folder: returns the usable files of a folder.
        suffix: of the output files.
        overwrite: outputs may exist.

    Raises:
        InputError: an input does not exist, an output does or is an input, or two would be
            written to one.
    """
    files: list[Path] = []
    for path in inputs:
        if path.is_dir():
            files += list_folder(path)
        elif path.is_file():
            files.append(path)
        else:
            problem = "is not a regular file" if path.exists() else "does not exist"
            raise InputError(f"{path} {problem}")
    if len(inputs) == 1 and inputs[0].is_file() and out.suffix == suffix:
        pairs = [(files[0], out)]
    elif (out.exists() or out.suffix.lower() in _FILES) and not out.is_dir():
        raise InputError(f"{out} is not a folder; the output must be one, or end in {suffix}")
    else:
        pairs = [(path, out / f"{path.stem}{suffix}") for path in files]
    originals = {_identity(source) for source, _ in pairs} - {None}
    origin: dict[Path, Path] = {}
    for source, target in pairs:
        if target in origin:
            raise InputError(f"{origin[target]} and {source} would both be written to {target}")
        origin[target] = source
        if _identity(target) in originals:
            raise InputError(f"{target} is an input, which would be lost; give another output")
        # A link that leads nowhere is somebody's too.
        if os.path.lexists(target) and not overwrite:
            # It may be the image that the .b17 file was made from.
            raise InputError(f"{target} exists; give another output, or --overwrite")
    return pairs


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from all others, also through links; None where none is there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def list_streams(folder: Path) -> list[Path]:
    """Return the .b17 files directly in a folder, sorted by name; hidden ones are left out.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.glob("[!.]*.b17"))
    if not found:
        raise InputError(f"{folder} holds no .b17 file")
    return found


class Converted(NamedTuple):
    """One file that was converted.

    Attributes:
        line: what to print about it.
        size: bytes of the compressed file.
        pixels: of the image.
    """

    line: str
    size: int
    pixels: int


def convert_all(pairs: list[tuple[Path, Path]], convert: Callable[[Path, Path], Converted]) -> None:
    """Convert every file, print a line for each, and go on past bad ones.

    After several files a line has the totals. In a terminal a bar shows the progress.

    Raises:
        WorkError: some could not be converted (each has had its line).
    """
    start = time.monotonic()
    done = size = pixels = 0
    for source, target in tqdm(pairs, unit="file", disable=not sys.stderr.isatty(), leave=False):
        try:
            result = convert(source, target)
            done, size, pixels = done + 1, size + result.size, pixels + result.pixels
            line = result.line
        except (BadImageError, DamagedFileError, UnreachableError) as error:
            line = str(error)
            if not line.startswith(str(source)):
                line = f"{source}: {line}"
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                if error.filename is None:
                    error.filename = str(target)  # as where the disk is full
                raise
            line = f"{source}: the name of its result, {target.name}, is too long"
        # Not print(), which would write into the bar.
        tqdm.write(printable(line))
        sys.stdout.flush()
    if len(pairs) > 1 and done:
        seconds = time.monotonic() - start
        print(f"{done} files, {size} bytes, {8 * size / pixels:.4f} bpp, {seconds:.1f} s")
    if done < len(pairs):
        raise WorkError(f"{len(pairs) - done} of {len(pairs)} files could not be converted")
