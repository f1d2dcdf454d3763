"""The documented names of the package: there for others, and dragging nothing in."""

import subprocess
import sys

import pytest
from balle2017.closure import import_closure
from helpers import ROOT

NAMES = {
    "balle2017.data": [
        "extract_tar",
        "extract_zip",
        "load_image_paths",
        "preprocess_image",
        "create_train_val_datasets",
    ],
    "balle2017.model": ["BalleEncoder", "BalleDecoder", "Balle2017FactorizedPrior"],
    "balle2017.losses": ["compute_rate_distortion_loss"],
    "balle2017.callbacks": ["KeepLastNCheckpoints", "ImageLoggingCallback", "EarlyStopping"],
}


@pytest.mark.parametrize("face", NAMES)
def test_documented_names_can_be_imported(face):
    for name in NAMES[face]:
        namespace = {}
        exec(f"from {face} import {name}", namespace)
        assert namespace[name].__name__ == name
        assert namespace[name].__doc__


@pytest.mark.parametrize("face", NAMES)
def test_an_unknown_name_is_an_import_error(face):
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        exec(f"from {face} import nothing", {})


@pytest.mark.parametrize("face", NAMES)
def test_a_face_loads_and_depends_on_nothing(face, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"import {face}\n")
    names = {path.stem for path in import_closure(script)}
    assert names <= {"__init__", "faces", face.split(".")[1]}
    program = f"import sys, {face}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"tensorflow", "numpy", "PIL", "pandas"} & set(done.stdout.split())
