"""Models of several lambdas: found by lambda, by goal, or by the file that one of them made.

A model is loaded when it is needed first, and once; looking for it needs no TensorFlow.
"""

import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from balle2017.coding.bitstream import Bitstream
from balle2017.errors import DamagedFileError, InputError
from balle2017.interface.choice import Choice, Goal, choose
from balle2017.model.find import PRETRAINED, find_models, read_config

if TYPE_CHECKING:
    from balle2017.coding.codec import Codec

#: Of the model that compresses where nobody chooses one.
DEFAULT_LAMBDA = 0.013


def open_codec(model: float | str | os.PathLike[str] = DEFAULT_LAMBDA, threads: int = 2) -> "Codec":
    """Return a codec: `compress` makes bytes of pixels, `decompress` pixels of bytes.

    Pixels are uint8 arrays [height, width, 3] in sRGB, sides 1 to 65535; those that are decoded
    at most 8192 x 8192 in all. The codec computes on the CPU. Unless the program has set or used
    TensorFlow's threads before, an operation gets one: so the same file gives the same pixels,
    to the bit, in every process on one type of CPU.

    Args:
        model: lambda of one of the models that come with the package (a number), or the folder
            of a model or of the run that trained it (a path).
        threads: parts of a picture that are computed at the same time.

    Raises:
        InputError: there is no such model, or a damaged one.
    """
    if isinstance(model, int | float):
        return Family(PRETRAINED, threads).codec(model)
    return _load(Path(model), threads)


def _load(folder: Path, threads: int) -> "Codec":
    from balle2017.coding.codec import Codec
    from balle2017.model import runtime

    runtime.set_unset_threads(1, threads)
    return Codec(folder, threads)


def _model_ids(config: dict) -> set[bytes]:
    """Return what the files of a model may carry: `model_id` and `adaptive_id`."""
    names = (config["model_sha256"], config.get("static_sha256"))
    return {bytes.fromhex(name)[:8] for name in names if name}


class Family:
    """The models that lie in one folder.

    Attributes:
        folder: that holds them.
        configs: content of config.json by the model's folder, the lowest lambda first.
    """

    def __init__(self, folder: str | os.PathLike[str] = PRETRAINED, threads: int = 2):
        """Find the models.

        Args:
            folder: of a model, of the run that trained it, or of several of these.
            threads: see `open_codec`.

        Raises:
            InputError: there is none, or a config.json is no model's.
        """
        self.folder = Path(folder)
        configs = {path: read_config(path) for path in find_models(self.folder)}
        self.configs = dict(sorted(configs.items(), key=lambda item: item[1]["lambda_rd"]))
        self._threads = threads
        self._codecs: dict[Path, Codec] = {}
        self._loading = threading.Lock()

    @property
    def lambdas(self) -> list[float]:
        """The models' lambdas, in rising order."""
        return [config["lambda_rd"] for config in self.configs.values()]

    def codec(self, lambda_rd: float) -> "Codec":
        """Return the codec of the model with this lambda.

        Raises:
            InputError: see `find`; or the model is damaged.
        """
        return self._codec_in(self.find(lambda_rd))

    def find(self, lambda_rd: float) -> Path:
        """Return the folder of the model with this lambda.

        Raises:
            InputError: there is none, or more than one.
        """
        found = [
            path
            for path, config in self.configs.items()
            if math.isclose(config["lambda_rd"], lambda_rd, rel_tol=1e-6)
        ]
        if len(found) != 1:
            there = ", ".join(f"{value:g}" for value in self.lambdas)
            count = f"{len(found)} models" if found else "no model"
            raise InputError(
                f"{self.folder} holds {count} of lambda {lambda_rd:g}; its lambdas: {there}"
            )
        return found[0]

    def made_by(self, model_id: bytes) -> Path | None:
        """Return the folder of the model whose files carry this id, if it is of the family."""
        return next(
            (path for path, config in self.configs.items() if model_id in _model_ids(config)), None
        )

    def compress(
        self,
        pixels: np.ndarray,
        bpp: float | None = None,
        psnr: float | None = None,
        max_bytes: int | None = None,
    ) -> Choice:
        """Compress a picture with the model that meets a goal; all are tried.

        Give one goal. A limit on the size takes the best PSNR within it, a PSNR the smallest
        file that has it. The PSNR is that of the decoded file, over R, G and B.

        Args:
            pixels: uint8 [height, width, 3].
            bpp: most bits per pixel.
            psnr: least PSNR in dB.
            max_bytes: most bytes.

        Raises:
            UnreachableError: no model meets it; the message has what they give.
            InputError: no goal or several, a goal out of its range, or a damaged model.
            BadImageError, WorkError: see `Codec.latents`.
        """
        goal = Goal(bpp, psnr, max_bytes)
        return choose([self._codec_in(path) for path in self.configs], pixels, goal)

    def decompress(self, data: bytes) -> np.ndarray:
        """Return the picture of a file that one of the models made, uint8 [height, width, 3].

        Raises:
            DamagedFileError: damaged, made by a model of elsewhere, or over the pixel limit.
            InputError: the model is damaged.
            WorkError: see `Codec.decompress`.
        """
        model_id = Bitstream.from_bytes(data).model_id
        path = self.made_by(model_id)
        if path is None and len(self.configs) == 1:
            # It looks around for the right one.
            path = next(iter(self.configs))
        if path is None:
            raise DamagedFileError(
                f"made by a model ({model_id.hex()}) that is not in {self.folder}; "
                "give the folder of that model"
            )
        return self._codec_in(path).decompress(data)

    def _codec_in(self, path: Path) -> "Codec":
        with self._loading:
            if path not in self._codecs:
                self._codecs[path] = _load(path, self._threads)
            return self._codecs[path]
