"""Models of several lambdas, found by lambda, by goal, or by a file that one of them made.

A model is loaded once, when it is first needed. Finding it needs no TensorFlow.
"""

import math
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from balle2017.coding.bitstream import Bitstream
from balle2017.errors import DamagedFileError, InputError
from balle2017.files import real_path
from balle2017.interface.choice import Choice, Goal, choose, is_real
from balle2017.model.find import PRETRAINED, find_models, model_ids, read_config
from balle2017.options import check_threads

if TYPE_CHECKING:
    from balle2017.coding.codec import Codec

#: Of the model of the package that compresses by default.
DEFAULT_LAMBDA = 0.013


def open_codec(model: float | str | os.PathLike[str] = DEFAULT_LAMBDA, threads: int = 2) -> "Codec":
    """Return a codec: `compress` turns pixels into bytes, `decompress` bytes into pixels.

    Pixels are uint8 arrays [height, width, 3] in sRGB with sides of 1 to 65535; to be decoded, an
    image may have at most 8192 x 8192 pixels. The codec computes on the CPU. Unless the program has
    set or used TensorFlow's threads before, each operation gets one thread, so that a file gives
    the same pixels, to the bit, in every process on one type of CPU.

    Args:
        model: lambda of one of the models that come with the package (a number), or the folder
            of a model or of the run that trained it (a path).
        threads: parts of an image that are computed at the same time, 1 to 1024.

    Raises:
        InputError: there is no such model, or a damaged one.
        ValueError: there are too many threads, or none.
        WorkError: see `check_process`.
    """
    check_threads(threads)
    if isinstance(model, str | os.PathLike):
        return _load(Path(model), threads)
    return Family(PRETRAINED, threads).codec(model)


def _load(folder: Path, threads: int) -> "Codec":
    from balle2017.coding.codec import Codec
    from balle2017.model import runtime

    runtime.set_unset_threads(1, threads)
    return Codec(folder, threads)


class Family:
    """The models in one folder.

    Attributes:
        folder: of the models.
        configs: content of config.json by the model's folder, the lowest lambda first.
    """

    def __init__(self, folder: str | os.PathLike[str] = PRETRAINED, threads: int = 2):
        """Find the models.

        Args:
            folder: of a model, of the run that trained it, or of several of these.
            threads: see `open_codec`.

        Raises:
            InputError: there is none, or a config.json is no model's.
            ValueError: see `open_codec`.
        """
        check_threads(threads)
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

    @property
    def default_lambda(self) -> float:
        """The lambda of the model that compresses where nobody chose one.

        That is the only model, or `DEFAULT_LAMBDA` among those of the package.

        Raises:
            InputError: there are several others; a choice among them would be a guess.
        """
        if len(self.configs) == 1:
            return self.lambdas[0]
        if real_path(self.folder) == real_path(PRETRAINED):
            return DEFAULT_LAMBDA
        raise InputError(
            f"{self.folder} holds several models; choose one with --lambda_rd (in Python: "
            f"lambda_rd=); its lambdas: {self._shown_lambdas()}"
        )

    def _shown_lambdas(self) -> str:
        return ", ".join(f"{value:g}" for value in self.lambdas)

    def codec(self, lambda_rd: float) -> "Codec":
        """Return the codec of the model with this lambda.

        Raises:
            InputError: see `find`; or the model is damaged.
        """
        return self._codec_in(self.find(lambda_rd))

    def find(self, lambda_rd: float) -> Path:
        """Return the folder of the model with this lambda.

        Raises:
            InputError: there is none, or more than one, or it is no number.
        """
        if not is_real(lambda_rd):
            raise InputError(f"lambda is {lambda_rd!r}; it must be a number")
        found = [
            path
            for path, config in self.configs.items()
            if math.isclose(config["lambda_rd"], lambda_rd, rel_tol=1e-6)
        ]
        if len(found) != 1:
            count = f"{len(found)} models" if found else "no model"
            raise InputError(
                f"{self.folder} holds {count} of lambda {lambda_rd:g}; its lambdas: "
                f"{self._shown_lambdas()}"
            )
        return found[0]

    def made_by(self, model_id: bytes) -> Path | None:
        """Return the folder of the model with this id, or None if the family has none."""
        return next(
            (path for path, config in self.configs.items() if model_id in model_ids(config)), None
        )

    def compress(
        self,
        pixels: np.ndarray,
        bpp: float | None = None,
        psnr: float | None = None,
        max_bytes: int | None = None,
        refine: bool = False,
    ) -> Choice:
        """Compress an image with the model that meets a goal best. All models are tried.

        Give one goal. A limit on the size gives the best PSNR within it, and a PSNR gives the
        smallest file that reaches it. PSNR is measured on the decoded file, over R, G and B.

        Args:
            pixels: uint8 [height, width, 3].
            bpp: at most so many bits per pixel.
            psnr: at least this PSNR in dB.
            max_bytes: at most so many bytes.
            refine: let each model also make a refined file, see `Codec.encode`.

        Raises:
            UnreachableError: no model meets it. The message gives the range that they reach.
            InputError: no goal or several, a goal out of its range, or a damaged model.
            BadImageError, ValueError, WorkError: see `Codec.encode`.
        """
        goal = Goal(bpp, psnr, max_bytes)
        return choose([self._codec_in(path) for path in self.configs], pixels, goal, refine)

    def decompress(self, data: bytes) -> np.ndarray:
        """Return the image of a file that one of the models made, uint8 [height, width, 3].

        Raises:
            DamagedFileError: damaged, made by a model that is not in the family, or too large.
            InputError: the model is damaged.
            WorkError: see `Codec.decompress`.
        """
        model_id = Bitstream.from_bytes(data).model_id
        path = self.made_by(model_id)
        if path is None and len(self.configs) == 1:
            # Its codec searches nearby for the right one, for the message.
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
