"""Photographs that every installation has, because they are in the scikit-image wheel."""

import importlib.util
import io
import tarfile
from pathlib import Path

from balle2017.errors import InputError
from balle2017.files import write_bytes

#: For training. No scene of these is among the test photographs; of the stereo
#: pair motorcycle_left and _right only one is taken, so that no scene lies on
#: both sides of the split either.
TRAIN = (
    "brick.png",
    "camera.png",
    "clock_motion.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)

#: For testing.
TEST = ("astronaut.png", "chelsea.png", "coffee.png")


def _read(name: str) -> bytes:
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise InputError("the built-in photographs need the package scikit-image; install it")
    path = Path(spec.origin).parent / "data" / name
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"this scikit-image has no {name}; install version 0.26.0") from None


def write_archive(path: Path) -> None:
    """Write the training photographs into a tar; the same bytes every time.

    Raises:
        InputError: scikit-image, or one of its pictures, is missing.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in TRAIN:
            data = _read(name)
            info = tarfile.TarInfo(f"photographs/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_bytes(path, buffer.getvalue())


def write_test_images(folder: Path) -> list[Path]:
    """Write the test photographs to a folder; return their paths.

    Raises:
        InputError: scikit-image, or one of its pictures, is missing.
    """
    paths = [folder / name for name in TEST]
    for path in paths:
        write_bytes(path, _read(path.name))
    return paths
