import importlib.metadata
import tomllib

import pytest
import yaml
from helpers import ROOT

LOCK = {
    package["name"]: package["version"]
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    if "version" in package
}


@pytest.mark.parametrize("name", ["tables", "tensorflow"])
def test_conda_pins_equal_the_lock(name):
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    conda, (pip,) = environment["dependencies"][:-1], environment["dependencies"][-1:]
    assert [entry.split("=")[0] for entry in conda] == ["python", "pip"]
    pins = dict(entry.split("==") for entry in pip["pip"])
    assert pins == {package: LOCK[package] for package in pins}


def test_the_running_environment_is_the_locked_one():
    for package in ("snakemake", "tensorflow", "tensorflow-compression", "numpy", "pillow"):
        assert importlib.metadata.version(package) == LOCK[package]
