"""Decode any picture into 8-bit RGB, in one stated way."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from balle2017.data.reasons import BadImageError, Reason, Refusal, refuse
from balle2017.data.store import centre_crop
from balle2017.errors import InputError

#: File names that are taken for pictures when a folder is listed.
EXTENSIONS = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ]
)

#: Largest picture that is decoded by default, in pixels (8192 x 8192).
MAX_PIXELS = 8192 * 8192

# The limit below is ours and names the picture; Pillow's own would warn first.
Image.MAX_IMAGE_PIXELS = None

# Of odd metadata Pillow warns, and decodes the picture all the same.
warnings.filterwarnings("ignore", module="PIL")

# Pillow's other readers decode while they open, or call other programs.
_FORMATS = ["AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP"]


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, without decoding the picture."""
    if image.format == "TIFF":
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
    except SyntaxError:
        return 1  # metadata that nobody can read turns no picture
    return exif.get(ExifTags.Base.Orientation, 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to mode RGB: see `decode_image` for the rules."""
    # Both of Pillow's conversions copy a picture that needs none.
    sixteen_bits = image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PPM")
    if _orientation(image) != 1:
        image = ImageOps.exif_transpose(image)
    if sixteen_bits:
        # 16-bit greyscale; Pillow reads 16-bit colour as 8-bit by itself.
        samples = np.rint(np.asarray(image, dtype=np.float64) / 257).astype(np.uint8)
        return Image.fromarray(samples).convert("RGB")
    if image.mode in ("I", "F"):
        raise refuse(Reason.UNKNOWN_RANGE)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _displayed_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height after the EXIF orientation is applied."""
    width, height = image.size
    # Orientations 5 to 8 turn the picture by a quarter.
    turned = 5 <= _orientation(image) <= 8
    return (height, width) if turned else (width, height)


@contextlib.contextmanager
def _opened(data: bytes | BinaryIO, max_pixels: int, min_size: int = 1) -> Iterator[Image.Image]:
    """Open a picture, and say what is wrong with it."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        with Image.open(stream, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise refuse(
                    Reason.OVER_PIXEL_LIMIT, width=width, height=height, max_pixels=max_pixels
                )
            if min(width, height) < min_size:
                width, height = _displayed_size(image)
                raise refuse(Reason.BELOW_MIN_SIZE, width=width, height=height, min_size=min_size)
            yield image
    except UnidentifiedImageError:
        raise refuse(Reason.NOT_AN_IMAGE) from None
    except BadImageError:
        raise
    except Exception as error:  # the decoders raise whatever their data leads them to
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the machine's fault, not the picture's
        text = str(error).strip() or type(error).__name__
        reason = Reason.TRUNCATED if "truncated" in text.lower() else Reason.DAMAGED_IMAGE
        raise refuse(reason, problem=text.splitlines()[0]) from None


def read_size(
    data: bytes | BinaryIO, max_pixels: int = MAX_PIXELS, min_size: int = 1
) -> tuple[int, int]:
    """Return a picture's width and height, as displayed, from its header alone.

    Raises:
        BadImageError: as `decode_image`, as far as the header tells.
    """
    with _opened(data, max_pixels, min_size) as image:
        return _displayed_size(image)


def decode_image(
    data: bytes | BinaryIO, max_pixels: int = MAX_PIXELS, min_size: int = 1
) -> tuple[np.ndarray, str]:
    """Decode one picture.

    EXIF orientation is applied; transparency is laid over white; greyscale is
    repeated in three channels; 16-bit greyscale is divided by 257 and rounded;
    CMYK and palettes are converted by Pillow; of an animation the first frame
    is taken.

    Args:
        data: the encoded picture.
        max_pixels: larger pictures are refused before they are decoded.
        min_size: pictures with a shorter side are refused before they are decoded.

    Returns:
        The pixels as uint8 [height, width, 3], and the mode the file had
        (Pillow's name, such as "L" or "CMYK").

    Raises:
        BadImageError: not a picture, damaged, truncated, or outside the limits.
    """
    with _opened(data, max_pixels, min_size) as image:
        mode = image.mode
        return np.asarray(_to_rgb(image)), mode


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a picture file as uint8 [height, width, 3].

    Raises:
        BadImageError: with the path and the reason.
    """
    try:
        with open(path, "rb") as file:
            return decode_image(file, max_pixels)[0]
    except BadImageError as error:
        raise BadImageError(error.refusal, path) from None
    except OSError as error:
        refusal = Refusal(Reason.OPEN_FAILED, {"problem": error.strerror})
        raise BadImageError(refusal, path) from None


def list_test_images(folder: Path) -> list[Path]:
    """Return what `list_images` does for a test set, whose results are named by the stems.

    Raises:
        InputError: see `list_images`; or two names differ in the suffix only.
    """
    paths = list_images(folder)
    by_stem: dict[str, Path] = {}
    for path in paths:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise InputError(f"{other} and {path.name} differ in the suffix only; rename one")
    return paths


def list_images(folder: Path) -> list[Path]:
    """Return the picture files directly in `folder`, sorted by name.

    Raises:
        InputError: no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    found = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".")
    )
    if not found:
        raise InputError(
            f"{folder} holds no image (looked for {', '.join(sorted(EXTENSIONS))} by name)"
        )
    return found


class PictureFolder:
    """The pictures directly in a folder, decoded one at a time when they are asked for.

    Attributes:
        folder: where they lie.
    """

    def __init__(self, folder: Path):
        """List the folder; see `list_images` for what it raises."""
        self.folder = folder
        self._paths = list_images(folder)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the pictures by name, uint8 [height, width, 3]; see `read_image`."""
        return map(read_image, self._paths)


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
