"""What a user sees when the config or the surroundings are wrong."""

import os
import subprocess
import sys

import pytest
import yaml
from helpers import ROOT
from workflow_tools import TINY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "lamdas=[0.1]"], "lamdas is not a config key; did you mean lambdas?"),
        (["--config", "lambdas=[-0.1]"], "lambdas[0] is -0.1; it must be more than 0"),
        (["--config", "lambdas=[0.01,0.0100]"], "lambdas has 0.0100 twice"),
        (["--config", "data={val_split: 1}"], "data.val_split is 1; it must be less than 1"),
        (
            ["--config", "training={precision_policy: float8}"],
            'training.precision_policy is "float8"; it must be one of float32, mixed_float16,',
        ),
        (
            ["--config", "fine_tuning={base_lambda: 0.5}"],
            "fine_tuning.base_lambda is 0.5; it must be one of lambdas",
        ),
        (
            ["--config", "training={init_from: input}"],
            "config: training.init_from: input holds no model itself (no config.json)",
        ),
        (
            ["--config", "model={num_latents: {0.01: 6}}"],
            "model.num_latents has no value for lambda 0.0200; add it, or a default",
        ),
        (["--config", "train_archive=none.tar"], "train_archive is none.tar, which does not exist"),
        (["--config", "kodak=input"], "kodak is given, but test_images is input/photographs"),
        (["--config", "seeds=[1]", "-C", "seeds=[2]"], "--config is given twice"),
        (["--config", "init_form=x"], "init_form is not a config key; did you mean training.init_"),
        (["--config", "test_images=scripts"], "test_images: scripts holds no image (no file in it"),
        (["--directory", "input"], "run the workflow in its own folder, without --directory: cd "),
        (
            ["--config", "training={init_from: results/tiny/models}"],
            "training.init_from is results/tiny/models, where this experiment's models are wri",
        ),
        (["--config", "lambdas=0.01"], "lambdas is 0.01; it must be a list, in brackets"),
        (["--config", "test_images=nowhere"], "test_images: nowhere does not exist; give a folder"),
        (
            ["--config", "test_images=kodak", "kodak=input/photographs"],
            "kodak: input/photographs/",
        ),
    ],
)
def test_mistakes_are_refused_at_the_start(fresh, arguments, message):
    output = fresh.run(*arguments, status=1)
    assert len([line for line in output.splitlines() if message in line]) == 1
    assert "Traceback" not in output
    assert not (fresh.folder / "results").exists()


def test_without_a_network_the_error_names_the_key(fresh, monkeypatch):
    # A proxy that nobody runs: no request leaves this machine.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    output = fresh.run("--config", "test_images=kodak", "--until", "download_kodak", status=1)
    assert "give their folder: --config test_images=kodak kodak=FOLDER" in output


def test_a_patch_larger_than_the_images(fresh):
    fresh.configure(
        training=TINY["training"] | {"patch_size": 512}, data=TINY["data"] | {"min_size": 512}
    )
    output = fresh.run("extract", status=1)
    assert "not finished: extract_archive; log: logs/tiny/extract_archive.log" in output
    assert "its last line: extract.py: error: input/archive.tar holds no usable image (8" in output


def test_the_plan_at_full_scale(fresh):
    """Eight models of a million steps, one GPU each, the Kodak images downloaded."""
    paper = "experiments/paper.yaml"
    archive = ["--config", "train_archive=input/archive.tar"]
    jobs = fresh.planned(*archive, config=paper)
    assert jobs["train_model"] == jobs["evaluate_model"] == 8
    assert jobs["download_kodak"] == 1
    output = fresh.run("--dry-run", "--printshellcmds", *archive, config=paper)
    assert output.count("gpu=1") == output.count("--steps_per_epoch 1000 ") == 8
    settings = yaml.safe_load((fresh.folder / paper).read_text())["training"]
    assert settings["epochs"] * settings["steps_per_epoch"] == 1_000_000


#: Snakemake in a Python that does not have the package.
WITHOUT = """
import sys
sys.path[:] = [path for path in sys.path if path != sys.argv[1]]
del sys.argv[1]
from snakemake.cli import main
main()
"""


@pytest.mark.parametrize("installed", [ROOT / "scripts" / "balle2017", None], ids=str)
def test_the_package_of_another_folder_is_refused(fresh, installed):
    hide = ["-c", WITHOUT, str(ROOT / "scripts")] if installed is None else []
    command = [sys.executable, *(hide or ["-m", "snakemake"]), "--cores", "1", "-n"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [*command, "--configfile", "tiny.yaml"],
        cwd=fresh.folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    package = fresh.folder / "scripts" / "balle2017"
    found = "no balle2017" if installed is None else f"balle2017 in {installed}"
    message = f"{sys.executable} finds {found}, but this workflow needs {package}; use 'uv run"
    assert message in done.stderr
    assert "Traceback" not in done.stderr
