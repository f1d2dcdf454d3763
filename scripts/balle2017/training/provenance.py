"""What made a model: code, data, packages, machine."""

import hashlib
import importlib.metadata
from pathlib import Path

from balle2017.closure import PACKAGE, import_closure
from balle2017.data.store import ImageStore
from balle2017.files import sha256_file
from balle2017.model import runtime

_PACKAGES = ("tensorflow", "tensorflow-compression", "numpy")


def code_sha256(module: Path) -> str:
    """Return the hash of a module and all package files that it imports, with their places."""
    digest = hashlib.sha256(module.name.encode() + b"\0" + module.read_bytes())
    for path in import_closure(module):
        place = path.relative_to(PACKAGE).as_posix()
        digest.update(b"\0" + place.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def images_sha256(images: Path) -> str:
    """Return the hash of what training sees of a list of images: their pixels, in order.

    It is the same wherever the dataset and its sources lie. A list without hashes of the stored
    pixels is hashed as it is.
    """
    store = ImageStore(images)
    if not store.hashes:
        return sha256_file(images)
    return hashlib.sha256("\n".join(store.hashes).encode()).hexdigest()


def data_record(train_list: Path, val_list: Path) -> dict[str, str]:
    """Return the hashes of two image lists, and of the manifest they were split from.

    They also change with the names of the sources, and with reasons for images that are not used.
    """
    record = {
        "train_list_sha256": sha256_file(train_list),
        "val_list_sha256": sha256_file(val_list),
    }
    manifest = ImageStore(train_list).manifest
    if manifest is not None:
        record["manifest_sha256"] = sha256_file(manifest)
    return record


def machine_record(device: str) -> dict:
    """Return device, processor and package versions."""
    return {"device": device, "cpu": runtime.cpu_model()[0], "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
