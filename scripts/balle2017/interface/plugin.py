"""Pillow's plugin for .b17 files; see `balle2017.pillow`."""

import functools
import math
import os
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageFile

from balle2017.coding.bitstream import HEADER_BYTES, MAGIC, Bitstream, read_size
from balle2017.data.colour import Samples, to_srgb
from balle2017.data.images import MAX_PIXELS
from balle2017.data.reasons import BadImageError
from balle2017.errors import DamagedFileError, InputError, WorkError
from balle2017.interface.choice import UnreachableError
from balle2017.interface.family import Family
from balle2017.model.find import PRETRAINED

_FORMAT = "B17"
_GOALS = ("bpp", "psnr", "max_bytes")

# A model is loaded once, however many files are opened.
_family = functools.cache(Family)
_folders = [PRETRAINED]


def add_models(folder: str | os.PathLike[str]) -> None:
    """Let `Image.open` decode with the models of a folder too.

    Args:
        folder: of a model, of the run that trained it, or of several of these.

    Raises:
        InputError: there is none, or a damaged one.
    """
    path = Path(folder).resolve()
    _family(path)
    if path not in _folders:
        _folders.append(path)


class B17ImageFile(ImageFile.ImageFile):
    """A .b17 file that Pillow has opened: size and mode; the pixels come when they are needed."""

    format = _FORMAT
    format_description = "balle2017 compressed image"

    def _open(self) -> None:
        assert self.fp is not None
        try:
            self._size = read_size(self.fp.read(HEADER_BYTES))
        except DamagedFileError as error:
            # What Pillow takes for "not a file of this format".
            raise SyntaxError(str(error)) from None
        if math.prod(self.size) > MAX_PIXELS:
            # Before Pillow allocates them.
            raise OSError(f"over the pixel limit: {self.width}x{self.height} pixels")
        self._mode = "RGB"
        self.tile = [ImageFile._Tile("b17", (0, 0, *self.size), 0, None)]

    def load_seek(self, pos: int) -> None:
        """Seek; by being here, tell `ImageFile.Parser` to wait for the whole file."""
        assert self.fp is not None
        self.fp.seek(pos)


class _Decoder(ImageFile.PyDecoder):
    """Decodes the whole file."""

    _pulls_fd = True

    def decode(self, buffer: object) -> tuple[int, int]:
        """Decode; see `ImageFile.PyDecoder`."""
        assert self.fd is not None
        try:
            data = self.fd.read()
            model_id = Bitstream.from_bytes(data).model_id
            families = [_family(folder) for folder in _folders]
            found = [family for family in families if family.made_by(model_id)]
            if not found:
                raise DamagedFileError(
                    f"made by a model ({model_id.hex()}) that does not come with the package; "
                    "tell balle2017.pillow.add_models where it is"
                )
            pixels = found[0].decompress(data)
        except (DamagedFileError, InputError, WorkError) as error:
            raise OSError(f"cannot decode .b17 file: {error}") from error
        self.set_as_raw(pixels.tobytes())
        return -1, 0


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image to an open file; `filename` is Pillow's."""
    if image.mode not in ("RGB", "L"):
        raise OSError(f"cannot write mode {image.mode} as {_FORMAT}")
    options = image.encoderinfo
    samples = np.atleast_3d(np.asarray(image))
    profile = image.info.get("icc_profile")
    pixels, _ = to_srgb(Samples(samples, image.mode, image.mode, profile=profile))
    try:
        file.write(_encode(pixels, options))
    except (BadImageError, UnreachableError, WorkError) as error:
        raise OSError(f"cannot write {_FORMAT}: {error}") from error
    except InputError as error:
        raise ValueError(str(error)) from error


def _encode(pixels: np.ndarray, options: dict) -> bytes:
    model = options.get("model")
    if not isinstance(model, str | os.PathLike | None):
        raise InputError(f"model is {model!r}; it must be the path of a folder")
    folder = Path(model or PRETRAINED).resolve()
    family = _family(folder)
    lambda_rd, refine = options.get("lambda_rd"), options.get("refine", False)
    goals = {name: options[name] for name in _GOALS if options.get(name) is not None}
    if goals:
        if lambda_rd is not None:
            raise InputError("give lambda_rd or a goal, not both")
        return family.compress(pixels, **goals, refine=refine).data
    if lambda_rd is None:
        lambda_rd = family.default_lambda
    return family.codec(lambda_rd).compress(pixels, refine=refine)


Image.register_open(_FORMAT, B17ImageFile, lambda prefix: prefix.startswith(MAGIC))
Image.register_decoder("b17", _Decoder)
Image.register_save(_FORMAT, _save)
Image.register_extension(_FORMAT, ".b17")
Image.register_mime(_FORMAT, "image/x-b17")
