"""Adapting a model in place, killed between the writes of the model's two files."""

import shutil

import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.errors import InputError
from balle2017.files import read_json, write_json
from balle2017.model.files import finish_adaptation, load_model
from balle2017.model.find import read_config
from helpers import ROOT, make_picture, run_script

#: Runs adapt.py, and dies before config.json is written.
KILLED = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT / "scripts")!r})
import adapt
from balle2017.model import files
files.write_json = lambda path, value: os.kill(os.getpid(), signal.SIGKILL)
adapt.main()
"""


def killed_adaptation(folder, *words):
    """Let the program above adapt a model; check that it came as far as it should."""
    program = folder / "killed.py"
    program.write_text(KILLED, encoding="utf-8")
    done = run_script(program, *words)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("adapted", [False, True])
def test_a_killed_adaptation_is_done_by_running_it_again(
    small_model, adapted_model, picture_folder, tmp_path, adapted
):
    pixels = make_picture(2, 90, 120)
    # Coded with the static prior, which no adaptation changes.
    data = Codec(small_model).compress(pixels)
    whole, model = tmp_path / "whole", tmp_path / "model"
    for folder in (whole, model):
        shutil.copytree(adapted_model if adapted else small_model, folder)
    words = ["--images", picture_folder, *(["--overwrite"] if adapted else [])]
    assert run_script("adapt", "--model", whole, *words).returncode == 0
    before = read_json(model / "config.json")
    killed_adaptation(tmp_path, "--model", model, *words)
    assert read_json(model / "config.json") == before
    with pytest.raises(InputError, match=r"beside it; if adapt\.py was interrupted, run it again"):
        load_model(model)
    # Killed again in the same place.
    killed_adaptation(tmp_path, "--model", model, *words, "--seed", 2)
    done = run_script("adapt", "--model", model, *words)
    assert done.returncode == 0, done.stderr
    for name in ("config.json", "model.safetensors"):
        assert (model / name).read_bytes() == (whole / name).read_bytes()
    np.testing.assert_array_equal(
        Codec(model).decompress(data), Codec(small_model).decompress(data)
    )


def test_only_an_adaptation_is_finished(adapted_model, small_model, tmp_path):
    """Neither a sound model nor one beside a config.json of other weights is changed."""
    shutil.copytree(adapted_model, tmp_path / "sound")
    shutil.copytree(adapted_model, tmp_path / "other")
    shutil.copytree(small_model, tmp_path / "static")
    others = {"model_sha256": "0" * 64, "static_sha256": "1" * 64}
    for name in ("other", "static"):
        config = read_config(tmp_path / name)
        write_json(tmp_path / name / "config.json", config | others)
    for folder in (tmp_path / "sound", tmp_path / "other", tmp_path / "static"):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        finish_adaptation(folder)
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
