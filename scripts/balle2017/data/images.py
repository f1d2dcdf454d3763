"""Decode any image to 8-bit sRGB, by one set of rules."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np

from balle2017.data import kinds
from balle2017.data.colour import to_srgb
from balle2017.data.formats import Header, open_png, open_pnm
from balle2017.data.formats_jpeg import open_jpeg
from balle2017.data.limits import as_bad_image, open_limited
from balle2017.data.reasons import BadImageError, Reason, Refusal, refuse
from balle2017.data.store import centre_crop
from balle2017.errors import InputError, WorkError
from balle2017.files import check_name, files_below

#: Largest picture that is decoded by default, in pixels (8192 x 8192).
MAX_PIXELS = 8192 * 8192


T = TypeVar("T")


class Decoded(NamedTuple):
    """A picture as everything else sees it.

    Attributes:
        pixels: uint8 [height, width, 3], sRGB.
        mode: the samples in the file by Pillow's name, such as "L" or "CMYK".
        colour: what was converted to sRGB: an ICC profile's name, "gAMA", "CMYK"; empty where
            the pixels are those of the file.
    """

    pixels: np.ndarray
    mode: str
    colour: str


@contextlib.contextmanager
def _opened(data: bytes | BinaryIO, max_pixels: int, min_size: int, name: str) -> Iterator[Header]:
    """Open an image of any format; raise BadImageError with the reason if that fails."""
    data = data if isinstance(data, bytes) else data.read()
    with contextlib.ExitStack() as stack:
        try:
            if unread := kinds.unread_format(data, name):
                raise refuse(Reason.UNREAD_FORMAT, format=unread)
            kind = kinds.read_format(data)
            if kind is None:
                raise refuse(Reason.NOT_AN_IMAGE)
            if kind == "JPEG":
                header = open_jpeg(data)
            elif kind == "PNG":
                header = open_png(data)
            elif kind == "PNM":
                header = open_pnm(data)
            else:
                header = stack.enter_context(open_limited(data, kind))
            width, height = header.width, header.height
            if width * height > max_pixels:
                raise refuse(
                    Reason.OVER_PIXEL_LIMIT, width=width, height=height, max_pixels=max_pixels
                )
            if min(width, height) < min_size:
                width, height = header.displayed_size()
                raise refuse(Reason.BELOW_MIN_SIZE, width=width, height=height, min_size=min_size)
            yield header
        except (BadImageError, WorkError):
            raise
        except Exception as error:  # the decoders raise whatever their data leads them to
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the machine's fault, not the picture's
            raise as_bad_image(error) from None


def read_size(
    data: bytes | BinaryIO, max_pixels: int = MAX_PIXELS, min_size: int = 1, name: str = ""
) -> tuple[int, int]:
    """Return a picture's width and height, as displayed, from its header alone.

    Raises:
        BadImageError: as `decode_image`, as far as the header tells.
    """
    with _opened(data, max_pixels, min_size, name) as header:
        return header.displayed_size()


def decode_image(
    data: bytes | BinaryIO, max_pixels: int = MAX_PIXELS, min_size: int = 1, name: str = ""
) -> Decoded:
    """Decode one picture to 8-bit sRGB; docs/b17.md has the rules.

    Args:
        data: the encoded picture.
        max_pixels: larger pictures are refused before they are decoded.
        min_size: pictures with a shorter side are refused before they are decoded.
        name: of its file; the suffix tells a camera's raw file, which begins like a TIFF.

    Raises:
        BadImageError: not a picture, damaged, truncated, of a kind that is not decoded, or
            outside the limits.
        WorkError: the process that decodes was killed from outside.
    """
    with _opened(data, max_pixels, min_size, name) as header:
        samples = header.load()
        pixels, colour = to_srgb(samples)
        return Decoded(_turned(pixels, header.orientation), samples.mode, colour)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turn and mirror a picture for display, by its EXIF orientation, 1 to 8."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture file as uint8 [height, width, 3].

    Raises:
        BadImageError: with the path and the reason.
    """
    try:
        if path.exists() and not path.is_file():
            raise refuse(Reason.NOT_REGULAR)  # a pipe would never end
        with open(path, "rb") as file:
            return decode_image(file, max_pixels, name=path.name)[0]
    except BadImageError as error:
        raise BadImageError(error.refusal, path) from None
    except OSError as error:
        raise _open_failed(path, error) from None


def list_test_images(folder: Path, without: Iterable[Path] = ()) -> list[Path]:
    """Return the images of a test set, as `list_images` does, with stricter checks.

    Results are named after the stems of the files. Every file that claims to be an image must
    be usable, because a mean over the others would be that of another test set. Names and
    first bytes are checked here, before the work begins; `read_image` finds the rest.

    Args:
        folder: of the pictures.
        without: subfolders that hold results.

    Raises:
        InputError: see `list_images`; or two names differ only in the suffix; or an image is in
            a subfolder, behind a link to a folder, in an archive or compressed, or cannot be
            decoded.
    """
    folder = Path(folder)
    paths = list_images(folder)
    by_stem: dict[str, Path] = {}
    for path in paths:
        check_name(path.name, str(path), "rename it")
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise InputError(f"{other} and {path.name} differ only in the suffix; rename one")
        head = _ask(kinds.read_head, path)
        if kinds.read_format(head, path.name) is None:
            name = kinds.unread_format(head, path.name)
            refusal = (
                Refusal(Reason.UNREAD_FORMAT, {"format": name})
                if name
                else Refusal(Reason.MISNAMED)
            )
            raise BadImageError(refusal, path)
    left_out = [Path(path).resolve() for path in without]
    for path in files_below(folder, left_out):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") for part in parts):
            _check_beside(path, folder, left_out)
    return paths


def _check_beside(path: Path, folder: Path, left_out: list[Path]) -> None:
    """Raise InputError where a file or link below a test set holds images that would be lost."""
    if path.is_dir():
        # A link, which is not followed.
        if path.resolve() not in left_out and any(
            map(_claims_picture, files_below(path, left_out))
        ):
            raise InputError(
                f"{path} is a link to a folder with images, where test images are not found; copy "
                f"them to {folder}, or remove the link"
            )
    elif _claims_picture(path):
        if path.parent != folder:
            raise InputError(
                f"{path} is in a subfolder, where test images are not found; move it to {folder}, "
                "or remove it"
            )
    elif _ask(kinds.may_hold_pictures, path):
        raise InputError(
            f"{path} is an archive or a compressed image, where test images are not found; unpack "
            "it, or remove it"
        )


def list_images(folder: Path) -> list[Path]:
    """Return the files directly in `folder` that claim to be pictures, sorted by name.

    Their names or their first bytes tell (`kinds`). Files that cannot be decoded are listed
    too, so that reading them raises an error instead of leaving them out. Hidden files are not.

    Raises:
        InputError: no such folder, or no picture in it.
        BadImageError: a file cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    found = sorted(path for path in folder.iterdir() if _claims_picture(path))
    if not found:
        raise InputError(
            f"{folder} holds no image (no file in it has the suffix or the first bytes of one)"
        )
    return found


def _ask(question: Callable[[Path], T], path: Path) -> T:
    """Return what `kinds` says about a file; raise BadImageError where it cannot be read."""
    try:
        return question(path)
    except OSError as error:
        raise _open_failed(path, error) from None


def _claims_picture(path: Path) -> bool:
    return _ask(kinds.claims_picture, path)


def _open_failed(path: Path, error: OSError) -> BadImageError:
    return BadImageError(Refusal(Reason.OPEN_FAILED, {"problem": error.strerror}), path)


class PictureFolder:
    """The test images of a folder, decoded one at a time when they are asked for.

    Attributes:
        folder: where they lie.
        paths: of the images, by name.
    """

    def __init__(self, folder: Path, without: Iterable[Path] = ()):
        """List the folder; see `list_test_images` for `without`, and for what it raises."""
        self.folder = folder
        self.paths = list_test_images(folder, without)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the pictures by name, uint8 [height, width, 3]; see `read_image`."""
        return map(read_image, self.paths)


def load_image_paths(folder: Path) -> list[Path]:
    """Return the pictures directly in a folder, sorted by name."""
    return list_images(folder)


def preprocess_image(path: Path, patch_size: int) -> np.ndarray:
    """Read a picture and return its centre crop, uint8 [patch_size, patch_size, 3].

    Raises:
        InputError: the picture is smaller than the patch.
        BadImageError: it cannot be read.
    """
    pixels = read_image(path)
    height, width, _ = pixels.shape
    if min(height, width) < patch_size:
        raise InputError(f"{path} is {width}x{height}, smaller than the patch size {patch_size}")
    return centre_crop(pixels, patch_size)
