"""What several tests share: data, small pictures, a small model, running scripts."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real images; see CONTRIBUTING for what it holds."""
    folder = Path(os.environ.get("BALLE2017_DATA", ROOT / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        reason = f"no real images: {folder} does not exist (set BALLE2017_DATA)"
        if os.environ.get("BALLE2017_REQUIRE_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def kodak_dir(data_dir: Path) -> Path:
    """Folder with the 24 Kodak images."""
    return data_dir / "kodak"


def make_picture(seed: int, height: int = 48, width: int = 64) -> np.ndarray:
    """Return a smooth random colour picture, uint8 [height, width, 3]."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Folder with five PNG pictures of 64x48."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(5):
        Image.fromarray(make_picture(seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow, set up as the scripts do."""
    from balle2017 import runtime

    runtime.configure(threads=2, device="cpu", seed=7)
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def small_model(tensorflow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model with 8 filters whose latents are not all zero."""
    from balle2017.model import Balle2017FactorizedPrior
    from balle2017.model_io import save_model

    folder = tmp_path_factory.mktemp("model")
    network = Balle2017FactorizedPrior(8, latent_gain=20)
    save_model(folder, network, {"lambda_rd": 0.01, "seed": 7})
    return folder


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run scripts/NAME.py in a process of its own."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)
