"""Every flag of scripts/train.py has an effect that can be seen from outside."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from balle2017.data.images import read_image
from balle2017.errors import DivergedError, InputError, WorkError
from balle2017.files import read_json, read_table
from balle2017.model.packing import unpack_weights
from balle2017.model.tensors import load_tensors
from helpers import make_picture, run_script
from PIL import Image

SMALL = [
    *("--patch_size", 32, "--batch_size", 1, "--num_filters", 4, "--num_latents", 6),
    *("--threads", 1, "--val_split", 0.5),
]


def weights(folder):
    arrays, _, _ = load_tensors(folder / "model" / "model.safetensors")
    num_filters = read_json(folder / "model" / "config.json")["num_filters"]
    arrays = unpack_weights(arrays, num_filters)
    tables = ("coding/", "adaptive/")
    return {name: value for name, value in arrays.items() if not name.startswith(tables)}


def save_pictures(folder, seeds):
    for seed in seeds:
        Image.fromarray(make_picture(seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return save_pictures(tmp_path_factory.mktemp("pictures"), range(7))


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Pictures to test on, none of which is in `pictures`."""
    return save_pictures(tmp_path_factory.mktemp("tested"), range(20, 24))


@pytest.fixture(scope="module")
def run(pictures, tested, tmp_path_factory):
    """One run with most flags away from their defaults."""
    folder = tmp_path_factory.mktemp("flags")
    done = run_script(
        *("train", "--data_dir", pictures, "--save_dir", folder / "out", *SMALL),
        *("--max_images", 6, "--checkpoint_dir", folder / "elsewhere", "--test_dir", tested),
        *("--epochs", 7, "--steps_per_epoch", 3, "--learning_rate", 0.001, "--seed", 5),
        *("--log_images_every", 3, "--num_images_to_log", 2, "--lambda_rd", 0.03),
        *("--initialization", "cosine", "--precision_policy", "mixed_bfloat16"),
        *("--device", "cpu", "--average_decay", 0.9, "--export_epochs", 1, 7),
    )
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data_dir", "."], "give either --data_dir, or both"),
        (["--max_images", 5], "--max_images is for --data_dir"),
    ],
)
def test_flags_that_would_be_ignored_are_refused(run, tmp_path, flags, message):
    lists = [run[0] / "out" / "dataset" / f"{side}.csv" for side in ("train", "val")]
    given = ["--train_list", lists[0], "--val_list", lists[1], "--save_dir", tmp_path / "out"]
    done = run_script("train", *given, *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_images_are_limited_and_split(run):
    folder, stdout = run
    assert "6 images accepted, 1 skipped" in stdout
    # The hash of the content decides for each image whether it is in the given half.
    assert "1 for training, 5 for validation" in stdout
    assert len(read_table(folder / "out" / "dataset" / "val.csv")) == 5


def test_epochs_have_the_given_number_of_steps(run):
    history = read_table(run[0] / "out" / "history.csv")
    assert [int(row["step"]) for row in history] == [3, 6, 9, 12, 15, 18, 21]


def test_the_last_five_checkpoints_are_kept_where_they_belong(run):
    folder, _ = run
    names = sorted(path.name for path in (folder / "elsewhere").glob("checkpoint-*"))
    assert names == [f"checkpoint-{step:09d}.safetensors" for step in (9, 12, 15, 18, 21)]
    assert not (folder / "out" / "checkpoints").exists()


def test_side_by_side_images(run):
    images = run[0] / "out" / "images"
    names = sorted(path.name for path in images.iterdir())
    assert names == [f"epoch-000{epoch}-{index}.png" for epoch in (3, 6) for index in (0, 1)]
    assert read_image(images / names[0]).shape == (32, 64, 3)


def test_the_model_has_the_given_channels_and_records_its_making(run):
    folder, stdout = run
    config = read_json(folder / "out" / "model" / "config.json")
    assert (config["num_filters"], config["num_latents"]) == (4, 6)
    assert (config["lambda_rd"], config["seed"]) == (0.03, 5)
    assert weights(folder / "out")["analysis/conv_2/kernel"].shape == (25, 24)
    assert "device: CPU, 1 thread(s), precision mixed_bfloat16" in stdout


def test_the_test_result_is_of_the_test_images(run, tested):
    record = read_json(run[0] / "out" / "run.json")
    test = record["test"]
    assert (test["images"], test["count"]) == (str(tested), 4)
    assert test["loss"] == pytest.approx(test["bpp"] + 0.03 * test["mse"], rel=1e-5)
    assert test["psnr"] == pytest.approx(10 * np.log10(255**2 / test["mse"]))
    assert f"dB on 4 image(s) of {tested}" in run[1]


def test_test_images_train_nothing(pictures, tested, tmp_path):
    """Images of --data_dir are kept out of the training; given lists may not have them."""
    both = tmp_path / "both"
    shutil.copytree(tested, both)
    # By its pixels, whatever its name and format.
    Image.fromarray(make_picture(3)).save(both / "copy.bmp")
    arguments = [*SMALL, "--epochs", 1, "--steps_per_epoch", 1, "--log_images_every", 0]
    arguments += ["--save_dir", tmp_path / "out", "--test_dir", both]
    done = run_script("train", "--data_dir", pictures, *arguments)
    assert done.returncode == 0, done.stderr
    assert ", 1 kept out as test images (reasons in" in done.stdout
    dataset = tmp_path / "out" / "dataset"
    names = {
        row["name"] for side in ("train", "val") for row in read_table(dataset / f"{side}.csv")
    }
    assert names == {f"{seed}.png" for seed in range(7)} - {"3.png"}
    lists = tmp_path / "lists"
    split = ("split", "--manifest", dataset / "manifest.csv", "--out", lists, "--val_split", 0.5)
    assert run_script(*split).returncode == 0
    given = ["--train_list", lists / "train.csv", "--val_list", lists / "val.csv"]
    done = run_script("train", *given, *arguments, "--restart_stale")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert re.search(rf"3\.png in \S+ is also a test image in {both}; give split\.py", line)
    assert run_script(*split, "--test_images", both).returncode == 0
    done = run_script("train", *given, *arguments, "--restart_stale")
    assert done.returncode == 0, done.stderr


def test_test_images_that_would_be_lost_are_found_before_the_training(pictures, tested, tmp_path):
    """A mean over the others would be that of another test set."""
    shutil.copytree(tested, tmp_path / "tested")
    tested = tmp_path / "tested"
    # The run's own images lie below the test images, and are none of them.
    arguments = ["--data_dir", pictures, "--save_dir", tested / "run", "--test_dir", tested]
    arguments += [*SMALL, "--epochs", 1, "--steps_per_epoch", 1, "--log_images_every", 1]
    done = run_script("train", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert any((tested / "run" / "images").iterdir())
    lost = tested / "sub" / "late.png"
    lost.parent.mkdir()
    lost.write_bytes((pictures / "0.png").read_bytes())
    done = run_script("train", *arguments)
    assert done.returncode == 2
    assert f"{lost} is in a subfolder" in done.stderr
    # Only decoding shows that it is cut.
    lost.rename(tested / "late.png")
    (tested / "late.png").write_bytes((pictures / "0.png").read_bytes()[:-100])
    done = run_script("train", *arguments, "--no-resume")
    assert done.returncode == 2
    assert re.fullmatch(r"train\.py: error: .*late\.png: truncated.*\n", done.stderr)
    assert "epoch 1" not in done.stdout


def test_tensorboard_has_scalars_and_images(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run[0] / "out" / "tensorboard"), {"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["tensors"])
    assert {"train/loss", "validation/psnr", "learning_rate", "igdn_0"} <= tags
    assert [event.step for event in events.Tensors("validation/loss")] == list(range(3, 22, 3))
    assert [event.step for event in events.Tensors("reconstruction/1")] == [9, 18]


def test_models_of_given_epochs_are_exported(run):
    out = run[0] / "out"
    names = sorted(path.name for path in (out / "snapshots").iterdir())
    assert names == ["epoch-000001", "epoch-000007"]
    record = read_json(out / "run.json")
    digests = [
        read_json(out / "snapshots" / name / "config.json")["model_sha256"] for name in names
    ]
    assert len(set(digests)) == 2
    # Snapshots have no adaptation.
    model = read_json(out / "model" / "config.json")
    assert model["model_sha256"] == record["model_sha256"]
    best = names.index(f"epoch-{record['best']['epoch']:06d}")
    assert digests[best] == model["static_sha256"]


def test_training_starts_from_another_model(run, pictures, tmp_path):
    folder, _ = run
    arguments = ["--data_dir", pictures, *SMALL, "--init_from", folder / "out"]
    # A rate this small changes no weight.
    still = ["--learning_rate", 1e-30, "--epochs", 9, "--steps_per_epoch", 1, "--lambda_rd", 0.03]
    arguments += ["--val_patches_per_image", 2]
    done = run_script(
        "train", "--save_dir", tmp_path, *arguments, *still, "--early_stopping_patience", 2
    )
    assert done.returncode == 0, done.stderr
    source = weights(folder / "out")
    for name, value in weights(tmp_path).items():
        np.testing.assert_allclose(value, source[name], atol=1e-28, err_msg=name)
    assert f"starting from {folder / 'out' / 'model'}, trained for lambda 0.03" in done.stdout
    assert "warning: validation has only 4 patch(es) of 2 image(s), and decides" in done.stdout
    # Nor did the first epoch change what the start was found to give.
    (start,) = re.findall(r"^start  (val_loss .*)$", done.stdout, re.M)
    assert f"  {start}  " in next(
        line for line in done.stdout.splitlines() if line.startswith("epoch 1/9")
    )
    record = read_json(tmp_path / "run.json")
    model = read_json(folder / "out" / "model" / "config.json")["model_sha256"]
    assert record["fingerprint"]["init_from"] == model
    # A validation loss that stays equal ends the run after the patience.
    assert [row["epoch"] for row in read_table(tmp_path / "history.csv")] == ["1", "2", "3"]
    assert "stopping early: no lower validation loss since epoch 1" in done.stdout


def test_a_rate_that_only_rises_is_warned_of(pictures, tmp_path):
    done = run_script(
        *("train", "--data_dir", pictures, "--save_dir", tmp_path, *SMALL, "--epochs", 1),
        *("--steps_per_epoch", 2, "--warmup_steps", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "warning: the learning rate rises over 2 steps" in done.stdout
    assert "start  val_loss" not in done.stdout


def test_a_training_that_could_not_begin_leaves_the_folder_free(tensorflow, tmp_path):
    from balle2017.training.run import RunOptions, TrainingSettings, train

    settings = TrainingSettings(device="cpu", threads=1, seed=7, num_filters=4)
    none = tmp_path / "none.csv"
    for _ in range(2):
        with pytest.raises(InputError, match=r"none\.csv does not exist"):
            train(settings, none, none, RunOptions(tmp_path, tmp_path / "checkpoints"))


def test_a_prior_that_only_validation_finds_broken_is_recorded(
    run, tensorflow, tmp_path, monkeypatch
):
    """With noise in place of rounding, training itself needs no median."""
    from balle2017.training.run import RunOptions, Trainer, TrainingSettings, train

    def broken(*_):
        raise WorkError("the prior is broken: no median")

    monkeypatch.setattr(Trainer, "validate", broken)
    settings = TrainingSettings(
        **{"device": "cpu", "threads": 1, "seed": 7, "num_filters": 4},
        **{"patch_size": 32, "batch_size": 1, "epochs": 1, "steps_per_epoch": 2},
    )
    lists = [run[0] / "out" / "dataset" / f"{name}.csv" for name in ("train", "val")]
    options = RunOptions(tmp_path, tmp_path / "checkpoints")
    for message in ("no median at step 2", "known from the last attempt"):
        with pytest.raises(DivergedError, match=message):
            train(settings, *lists, options)


def test_auto_discards_no_checkpoints_on_another_kind_of_machine(
    run, tensorflow, tmp_path, monkeypatch
):
    from balle2017.errors import InputError
    from balle2017.model import runtime
    from balle2017.training.run import RunOptions, TrainingSettings, train

    settings = TrainingSettings(
        **{"device": "cpu", "threads": 1, "seed": 7, "num_filters": 4, "patch_size": 32},
        **{"batch_size": 1, "epochs": 1, "steps_per_epoch": 1, "precision_policy": "auto"},
    )
    lists = [run[0] / "out" / "dataset" / f"{name}.csv" for name in ("train", "val")]
    options = RunOptions(tmp_path, tmp_path / "checkpoints", restart_stale=True)
    monkeypatch.setattr(runtime, "cpu_model", lambda: ("one", frozenset()))
    train(settings, *lists, options, lambda line: None)
    before = sorted((tmp_path / "checkpoints").iterdir())
    monkeypatch.setattr(runtime, "cpu_model", lambda: ("another", frozenset({"avx512_bf16"})))
    message = r"was trained in float32, but precision_policy auto means mixed_bfloat16 on this"
    with pytest.raises(InputError, match=message):
        train(settings, *lists, options, lambda line: None)
    assert sorted((tmp_path / "checkpoints").iterdir()) == before


@pytest.mark.parametrize("pretended", [None, ("some CPU", frozenset({"amx_bf16"}))])
def test_the_record_has_the_cpu_and_what_auto_was_on_it(
    run, tensorflow, tmp_path, monkeypatch, pretended
):
    from balle2017.model import runtime
    from balle2017.training.run import RunOptions, TrainingSettings, train

    if pretended is not None:
        monkeypatch.setattr(runtime, "cpu_model", lambda: pretended)
    settings = TrainingSettings(
        **{"device": "cpu", "threads": 1, "seed": 7, "num_filters": 4, "patch_size": 32},
        **{"batch_size": 1, "epochs": 1, "steps_per_epoch": 1, "precision_policy": "auto"},
    )
    lists = [run[0] / "out" / "dataset" / f"{name}.csv" for name in ("train", "val")]
    lines = []
    train(settings, *lists, RunOptions(tmp_path, tmp_path / "checkpoints"), lines.append)
    record = read_json(tmp_path / "run.json")
    policy = runtime.resolve_policy("auto", "CPU")
    assert policy == "mixed_bfloat16" or pretended is None
    assert record["precision_policy"] == record["fingerprint"]["precision_policy"] == policy
    assert record["settings"]["precision_policy"] == "auto"
    assert f"device: CPU, 1 thread(s), precision {policy}" in lines
    if pretended is None:
        names = re.findall("^model name.*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        assert record["cpu"] in names
    else:
        assert record["cpu"] == pretended[0]


def test_a_model_of_another_shape_is_refused(run, pictures, tmp_path):
    done = run_script(
        *("train", "--data_dir", pictures, "--save_dir", tmp_path, *SMALL),
        *("--num_filters", 5, "--init_from", run[0] / "out"),
    )
    assert done.returncode == 2
    model = run[0] / "out"
    assert f"init_from is {model / 'model'}: the model has 4 filters and 6 latents" in done.stderr


def test_a_run_that_diverged_fails_at_once_the_next_time(pictures, tmp_path):
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path, *SMALL]
    arguments += ["--epochs", 9, "--steps_per_epoch", 4, "--learning_rate", 1e30]
    done = run_script("train", *arguments)
    assert done.returncode == 1
    assert "lower learning_rate or set clip_norm" in done.stderr
    assert not (tmp_path / "model").exists()
    again = run_script("train", *arguments)
    assert again.returncode == 1
    assert "known from the last attempt, see " in again.stderr
    assert "diverged.json" in again.stderr


@pytest.mark.parametrize(("lambda_rd", "kept"), [(0.01, True), (0.02, False)])
def test_few_images_keep_the_entropy_coder_of_the_start(
    adapted_model, pictures, tmp_path, lambda_rd, kept
):
    """A fit to a handful would be worse; for another lambda the old one does not suit."""
    done = run_script(
        *("train", "--data_dir", pictures, "--save_dir", tmp_path, "--init_from", adapted_model),
        *("--patch_size", 32, "--batch_size", 1, "--num_filters", 8, "--threads", 1),
        *("--lambda_rd", lambda_rd, "--epochs", 1, "--steps_per_epoch", 2),
        *("--learning_rate", 0.001, "--log_images_every", 0),
    )
    assert done.returncode == 0, done.stderr
    assert ("images are too few to fit the entropy coder" in done.stdout) == kept
    before, after = (
        load_tensors(folder / "model.safetensors")[0]
        for folder in (adapted_model, tmp_path / "model")
    )
    adaptive = [name for name in before if name.startswith("adaptive/")]
    assert len(adaptive) > 5
    same = [np.array_equal(before[name], after[name]) for name in adaptive]
    assert all(same) == kept
    assert any(
        not np.array_equal(before[name], after[name])
        for name in before
        if not name.startswith("adaptive/")
    )
