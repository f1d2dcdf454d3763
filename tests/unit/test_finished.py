"""An equal training is not done twice: its result comes from where it was kept."""

import shutil

import pytest
from balle2017.files import read_json
from balle2017.training.finished import FILES, keep, restore
from helpers import make_picture, run_script
from PIL import Image

TINY = [
    *("--patch_size", 32, "--batch_size", 2, "--num_filters", 4, "--threads", 1),
    *("--epochs", 2, "--steps_per_epoch", 2, "--val_split", 0.4, "--clear_checkpoints"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished training whose checkpoints were cleared; its arguments and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "pictures").mkdir()
    for seed in range(6):
        Image.fromarray(make_picture(seed)).save(folder / "pictures" / f"{seed}.png")
    arguments = ["--data_dir", folder / "pictures", "--save_dir", folder / "out", *TINY]
    done = run_script("train", *arguments)
    assert done.returncode == 0, done.stderr
    return arguments, folder / "out"


def outputs(folder):
    return {name: (folder / name).read_bytes() for name in FILES}


def delete(folder):
    for name in FILES:
        (folder / name).unlink()


def test_deleted_results_of_an_equal_training_come_back(trained):
    arguments, out = trained
    before = outputs(out)
    delete(out)
    done = run_script("train", *arguments)
    assert "trained before with these settings, code and images" in done.stdout
    assert "epoch 1/2" not in done.stdout
    assert outputs(out) == before


@pytest.mark.parametrize("change", [["--seed", 3], ["--no-resume"], ["--export_epochs", 1]])
def test_another_training_is_done(trained, tmp_path, change):
    arguments, out = trained
    shutil.copytree(out, tmp_path / "out")
    arguments = [tmp_path / "out" if item == out else item for item in arguments]
    done = run_script("train", *arguments, *change)
    assert done.returncode == 0, done.stderr
    assert "epoch 2/2" in done.stdout
    assert "trained before" not in done.stdout


def test_snapshots_of_another_training_are_not_taken(trained, tmp_path):
    arguments, out = trained
    folder = tmp_path / "out"
    arguments = [folder if item == out else item for item in arguments]
    arguments += ["--export_epochs", 1]
    snapshot = folder / "snapshots" / "epoch-000001" / "model.safetensors"
    assert run_script("train", *arguments).returncode == 0
    expected = snapshot.read_bytes()
    done = run_script("train", *arguments)
    assert "trained before" in done.stdout
    kept = tmp_path / "kept"
    shutil.copytree(folder / "checkpoints" / "finished", kept)
    assert run_script("train", *arguments, "--seed", 3, "--restart_stale").returncode == 0
    assert snapshot.read_bytes() != expected
    # The other training was interrupted, so the copy of the first is still there.
    shutil.rmtree(folder / "checkpoints" / "finished")
    shutil.copytree(kept, folder / "checkpoints" / "finished")
    assert run_script("train", *arguments).returncode == 0
    assert snapshot.read_bytes() == expected


def test_a_snapshot_that_is_no_longer_asked_for_may_stay(trained, tmp_path):
    arguments, out = trained
    folder = tmp_path / "out"
    arguments = [folder if item == out else item for item in arguments]
    assert run_script("train", *arguments, "--export_epochs", 1, 2).returncode == 0
    done = run_script("train", *arguments, "--export_epochs", 2)
    assert "trained before" in done.stdout
    assert (folder / "snapshots" / "epoch-000001" / "model.safetensors").exists()


def test_the_place_of_the_images_does_not_matter(trained, tmp_path):
    """Nor do files among them that are no images."""
    arguments, out = trained
    pictures = arguments[arguments.index("--data_dir") + 1]
    shutil.copytree(out, tmp_path / "out")
    shutil.copytree(pictures, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "readme.txt").write_text("hello")
    places = {out: tmp_path / "out", pictures: tmp_path / "elsewhere"}
    arguments = [places.get(item, item) for item in arguments]
    assert "trained before" in run_script("train", *arguments).stdout
    Image.fromarray(make_picture(6)).save(tmp_path / "elsewhere" / "6.png")
    assert "trained before" not in run_script("train", *arguments).stdout


def test_pictures_of_another_training_do_not_stay_beside_a_restored_model(trained, tmp_path):
    arguments, out = trained
    shutil.copytree(out, tmp_path / "out")
    arguments = [tmp_path / "out" if item == out else item for item in arguments]
    picture = tmp_path / "out" / "images" / "epoch-0001-0.png"
    picture.parent.mkdir(exist_ok=True)
    picture.write_bytes(b"of this training")
    assert "trained before" in run_script("train", *arguments).stdout
    assert picture.exists()
    # A training that was interrupted after it wrote its pictures.
    (tmp_path / "out" / "checkpoints" / "checkpoint-000000002.safetensors").write_bytes(b"")
    done = run_script("train", *arguments)
    assert "trained before" in done.stdout
    assert not picture.exists()
    assert outputs(tmp_path / "out") == outputs(out)


def test_a_snapshot_may_be_adapted(trained, tmp_path):
    arguments, out = trained
    folder = tmp_path / "out"
    arguments = [folder if item == out else item for item in arguments]
    arguments += ["--export_epochs", 1]
    assert run_script("train", *arguments).returncode == 0
    snapshot = folder / "snapshots" / "epoch-000001"
    pictures = arguments[arguments.index("--data_dir") + 1]
    done = run_script("adapt", "--model", snapshot, "--images", pictures)
    assert done.returncode == 0, done.stderr
    adapted = (snapshot / "model.safetensors").read_bytes()
    assert "trained before" in run_script("train", *arguments).stdout
    assert (snapshot / "model.safetensors").read_bytes() == adapted


def test_a_training_with_other_packages_is_another(trained, tmp_path):
    _, out = trained
    found = fingerprint(out)
    assert found["versions"] == read_json(out / "run.json")["versions"]
    other = found | {"versions": found["versions"] | {"tensorflow": "2.14.0"}}
    assert restore(out / "checkpoints" / "finished", tmp_path / "new", other) is None


def test_an_equal_training_elsewhere_is_done_once(trained, tmp_path):
    """What counts is settings, code and images, not where the results go."""
    _, out = trained
    record = restore(out / "checkpoints" / "finished", tmp_path, fingerprint(out))
    assert record == read_json(out / "run.json")
    assert outputs(tmp_path) == outputs(out)


def fingerprint(out):
    return read_json(out / "run.json")["fingerprint"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_copies_are_not_used(trained, tmp_path, name, damage):
    _, out = trained
    kept = tmp_path / "finished"
    keep(out, kept)
    if damage == "missing":
        (kept / name).unlink()
    else:
        data = (kept / name).read_bytes()
        (kept / name).write_bytes(data[: len(data) // 2])
    assert restore(kept, tmp_path / "new", fingerprint(out)) is None
    assert not (tmp_path / "new").exists()
