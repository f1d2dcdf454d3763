"""What several tests share: real images, a folder of small pictures, a small model."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from helpers import ROOT, make_picture
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

# Half of the suite's time went into compiling the same packages in hundreds of processes where
# this was set, as it is in many containers.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

#: Their tests share nothing but what is made once for all workers.
_ONE_BY_ONE = "tests/workflow/"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run a test file by itself in this process, several on up to four cores."""
    paths = [argument.split("::")[0] for argument in config.args]
    if len(paths) == 1 and Path(paths[0]).is_file():
        return 0
    return min(len(os.sched_getaffinity(0)), 4)


class _Scheduling(LoadScopeScheduling):
    """A file's tests stay in one process, those of the workflow are dealt out one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(_ONE_BY_ONE) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Deal the tests out to the processes."""
    return _Scheduling(config, log)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real images; kodak/ and imagenet_sample_train.tar."""
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
    """TensorFlow, set up as the scripts do: sums in the order of one thread."""
    from balle2017.model import runtime

    runtime.configure(threads=1, device="cpu", seed=7)
    import tensorflow as tf

    return tf


@pytest.fixture(scope="session")
def small_model(tensorflow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model with 8 filters whose latents are not all zero."""
    from balle2017.model.files import save_model
    from balle2017.model.network import Balle2017FactorizedPrior

    folder = tmp_path_factory.mktemp("model")
    # The same whichever tests ran before.
    tensorflow.keras.utils.set_random_seed(7)
    network = Balle2017FactorizedPrior(8, latent_gain=20)
    save_model(folder, network, lambda_rd=0.01, seed=7)
    return folder


@pytest.fixture(scope="session")
def adapted_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small model with an adaptation of its entropy coder."""
    from balle2017.model.fitting import adapt_model

    folder = tmp_path_factory.mktemp("adapted") / "model"
    shutil.copytree(small_model, folder)
    adapt_model(folder, [make_picture(seed, 160, 200) for seed in range(8)])
    return folder
