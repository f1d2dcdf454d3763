"""The 24 Kodak test images, checked by hash."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from balle2017.data.download import download
from balle2017.data.images import list_images
from balle2017.errors import InputError
from balle2017.files import sha256_file

#: Where the suite has been published since 1999.
URL = "https://r0k.us/graphics/kodak/kodak/"

# Names with folders are no names of images.
_LINE = re.compile(r"(?P<digest>[0-9a-fA-F]{64}) [ *](?P<name>[^/]*[^/.][^/]*)")


def read_hashes(path: Path) -> dict[str, str]:
    """Read a file in the format of sha256sum: name -> 64 hex digits.

    Raises:
        InputError: it does not exist, or is another kind of file.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except ValueError:  # not UTF-8
        lines = [""]
    found = [_LINE.fullmatch(line) for line in lines]
    if not found or None in found:
        raise InputError(f"{path} is not a list of hashes as sha256sum writes it")
    return {match["name"]: match["digest"].lower() for match in found if match}


def check_folder(
    folder: Path, hashes: Mapping[str, str], digest_of: Callable[[Path], str] = sha256_file
) -> None:
    """Check that a folder holds the 24 images and no other.

    Args:
        folder: of the pictures.
        hashes: see `read_hashes`.
        digest_of: returns a file's SHA-256, for callers that know the hashes already.

    Raises:
        InputError: a file is missing, differs from the original, or does not belong there.
    """
    folder = Path(folder)
    try:
        there = {path.name for path in list_images(folder)}
    except InputError as error:
        raise InputError(
            f"kodak: {error}; give a folder with kodim01.png to kodim24.png, or leave out kodak to "
            "download them"
        ) from None
    if there != hashes.keys():
        wrong = sorted(there ^ hashes.keys())[0]
        problem = (
            "is missing" if wrong in hashes else "is not one of the 24 Kodak images; remove it"
        )
        raise InputError(f"kodak: {folder / wrong} {problem}")
    for name, digest in hashes.items():
        if digest_of(folder / name) != digest:
            raise InputError(
                f"kodak: {folder / name} differs from the original file; use the PNGs unconverted"
            )


def download_all(out: Path, hashes: dict[str, str], url: str = URL) -> None:
    """Download the suite to a folder; every file is checked before it is put in place.

    Raises:
        WorkError: no network, or a file differs from the original.
    """
    hint = (
        "; if you have the 24 Kodak PNGs, give their folder: "
        "--config test_images=kodak kodak=FOLDER"
    )
    for name, digest in hashes.items():
        download(url + name, Path(out) / name, digest, hint)
