import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from balle2017.errors import DivergedError
from balle2017.files import read_json, read_table, sha256_file
from balle2017.model.packing import rounded_weights
from balle2017.model.tensors import load_tensors, save_tensors
from balle2017.training.callbacks import KeepLastNCheckpoints
from balle2017.training.interruption import resume
from balle2017.training.optimizer import PATIENCE, LossScale
from balle2017.training.settings import TrainingSettings
from balle2017.training.trainer import Trainer, initial_gain, learning_rate_at
from helpers import PATIENCE_S, ROOT, last_step, make_picture, run_script, timeless, wait_for
from PIL import Image

TINY = [
    *("--patch_size", 32, "--batch_size", 2, "--num_filters", 4, "--threads", 1),
    *("--epochs", 8, "--steps_per_epoch", 5, "--learning_rate", 0.002, "--val_split", 0.4),
    # Its rounding grid is part of the state.
    *("--quantization", "mixed"),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """An undisturbed run: the pictures it used and the folder it wrote."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "pictures").mkdir()
    for seed in range(6):
        Image.fromarray(make_picture(seed)).save(folder / "pictures" / f"{seed}.png")
    out = folder / "out"
    done = run_script("train", "--data_dir", folder / "pictures", "--save_dir", out, *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "pictures", out, done.stdout


def test_a_run_leaves_model_history_and_record(reference):
    _, out, stdout = reference
    assert "device: CPU, 1 thread(s), precision float32" in stdout
    assert len(re.findall(r"^epoch \d/8 ", stdout, re.M)) == 8
    record = read_json(out / "run.json")
    config = read_json(out / "model" / "config.json")
    assert record["steps"] == 40
    assert record["model_sha256"] == config["model_sha256"]
    # Its entropy coder was fitted to the training images.
    assert config["static_sha256"] != config["model_sha256"]
    assert config["lambda_rd"] == 0.01
    history = read_table(out / "history.csv")
    assert [row["step"] for row in history] == [str(step) for step in range(5, 41, 5)]
    best = min(history, key=lambda row: float(row["val_loss"]))
    assert record["best"]["epoch"] == int(best["epoch"])
    assert record["final"]["step"] == 40
    assert record["test"]["images"] == "validation"
    # The exported weights are those of the best epoch as a model's file holds them.
    assert record["test"]["loss"] == pytest.approx(float(best["val_loss"]), rel=1e-3)
    manifest = out / "dataset" / "manifest.csv"
    assert record["data"]["manifest_sha256"] == sha256_file(manifest)
    assert {"code_sha256", "train_images_sha256", "seed", "threads"} <= record["fingerprint"].keys()
    assert {"device", "cpu", "versions", "seconds"} <= record.keys()
    assert len(re.findall(r"^epoch \d/8 ", (out / "train.log").read_text(), re.M)) == 8


def test_the_loss_in_the_history_is_rate_plus_lambda_distortion(reference):
    for row in read_table(reference[1] / "history.csv"):
        for prefix in ("", "val_"):
            rate, mse = float(row[f"{prefix}bpp"]), float(row[f"{prefix}mse"])
            assert float(row[f"{prefix}loss"]) == pytest.approx(rate + 0.01 * mse, rel=1e-5)


def test_kill_and_restart_end_in_the_same_bits(reference, tmp_path):
    pictures, out, _ = reference
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path, *TINY]
    command = [sys.executable, ROOT / "scripts" / "train.py", *arguments]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = tmp_path / "checkpoints"
    assert wait_for(lambda: last_step(checkpoints) > 0, process)
    process.kill()
    process.wait()
    left = last_step(checkpoints)
    assert not (tmp_path / "model").exists()
    done = run_script("train", *arguments)
    assert done.returncode == 0, done.stderr
    step = int(re.search(r"resumed from step (\d+)", done.stdout).group(1))
    assert step == left
    model = "model/model.safetensors"
    assert (tmp_path / model).read_bytes() == (out / model).read_bytes()
    assert timeless(tmp_path / "history.csv") == timeless(out / "history.csv")


def test_a_damaged_checkpoint_is_passed_over(reference, tmp_path):
    pictures, out, _ = reference
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for path in sorted((out / "checkpoints").glob("*.safetensors"))[:2]:
        (checkpoints / path.name).write_bytes(path.read_bytes())
    newest = max(checkpoints.iterdir())
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 4
    newest.write_bytes(bytes(data))
    done = run_script("train", "--data_dir", pictures, "--save_dir", tmp_path, *TINY)
    assert done.returncode == 0, done.stderr
    assert f"warning: {newest} is damaged" in done.stdout
    assert "checkpoint-000000025" in newest.name
    assert "resumed from step 20 " in done.stdout
    model = "model/model.safetensors"
    assert (tmp_path / model).read_bytes() == (out / model).read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, entries: (arrays, None),
        lambda arrays, entries: (arrays, {k: v for k, v in entries.items() if k != "step"}),
        lambda arrays, entries: (arrays, entries | {"history": "none"}),
        lambda arrays, entries: (arrays, entries | {"fingerprint": [1]}),
        lambda arrays, entries: (arrays, entries | {"best_loss": {}}),
        lambda arrays, entries: ({k: v for k, v in arrays.items() if k != "sums"}, entries),
        lambda arrays, entries: (arrays, entries | {"best_epoch": 1}),
    ],
    ids=["nothing", "step", "history", "fingerprint", "best_loss", "sums", "best"],
)
def test_a_whole_file_that_is_no_checkpoint_is_passed_over(tensorflow, tmp_path, change):
    settings = TrainingSettings(num_filters=8, patch_size=16, batch_size=1)
    trainer = Trainer(settings, "float32")
    checkpoints = KeepLastNCheckpoints(tmp_path)
    trainer.save(checkpoints.path(1), {"a": 1})
    trainer.step = 2
    trainer.save(checkpoints.path(2), {"a": 1})
    arrays, description, _ = load_tensors(checkpoints.path(2))
    save_tensors(checkpoints.path(2), *change(arrays, description))
    lines = []
    resume(trainer, checkpoints, {"a": 1}, False, lines.append)
    assert f"{checkpoints.path(2)} is not a training checkpoint" in lines[0]
    assert "resumed from step 0 " in lines[1]


def test_other_settings_are_refused_by_name_or_restarted(reference, tmp_path):
    pictures, out, _ = reference
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path, *TINY, "--lambda_rd", 0.02]
    arguments += ["--checkpoint_dir", out / "checkpoints"]
    done = run_script("train", *arguments)
    assert done.returncode == 2
    assert "lambda_rd 0.01 -> 0.02" in done.stderr
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (out / "checkpoints").glob("*.safetensors"):
        (copy / path.name).write_bytes(path.read_bytes())
    arguments[-1] = copy
    done = run_script("train", *arguments, "--restart_stale", "--clear_checkpoints")
    assert done.returncode == 0, done.stderr
    assert "discarding checkpoints of other settings" in done.stdout
    assert "resumed" not in done.stdout
    assert not list(copy.glob("*.safetensors"))


@pytest.mark.parametrize("width", ["--num_filters", "--num_latents"])
def test_checkpoints_of_another_width_are_kept(reference, tmp_path, width):
    """They are of other settings, and not damaged: nothing of them fits, but they are sound."""
    pictures, out, _ = reference
    shutil.copytree(out, tmp_path / "out")
    kept = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.safetensors")}
    assert len(kept) > 1
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path / "out", *TINY, width, 5]
    done = run_script("train", *arguments)
    assert done.returncode == 2
    assert f"belongs to a run with other settings ({width[2:]} " in done.stderr
    assert "warning" not in done.stdout
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.safetensors")} == kept


def test_an_epoch_that_was_passed_is_not_exported_without_a_word(reference, tmp_path):
    pictures, out, _ = reference
    shutil.copytree(out, tmp_path / "out")
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path / "out", *TINY]
    done = run_script("train", *arguments, "--export_epochs", 1, 3, 99)
    assert done.returncode == 0, done.stderr
    assert "warning: no model of epoch 1, 3 is exported (export_epochs), because" in done.stdout
    assert "warning: export_epochs names epoch 99, and training has 8\n" in done.stdout
    assert not (tmp_path / "out" / "snapshots").exists()


def test_no_resume_starts_anew_and_old_checkpoints_do_not_win(reference, tmp_path):
    pictures, out, _ = reference
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for path in (out / "checkpoints").glob("*.safetensors"):
        (checkpoints / path.name).write_bytes(path.read_bytes())
    # Of another run in the same folder, and a picture that is not ours.
    old = [tmp_path / "snapshots" / "epoch-000009" / "model.safetensors"]
    old += [tmp_path / "images" / "epoch-0009-0.png", tmp_path / "images" / "own.png"]
    for path in old:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    arguments = ["--data_dir", pictures, "--save_dir", tmp_path, *TINY, "--epochs", 2]
    done = run_script("train", *arguments, "--no-resume")
    assert done.returncode == 0, done.stderr
    assert [path for path in old if path.exists()] == [old[2]]
    assert "resumed" not in done.stdout
    names = sorted(path.name for path in checkpoints.glob("*.safetensors"))
    assert names == ["checkpoint-000000005.safetensors", "checkpoint-000000010.safetensors"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_checkpoints_and_exits_with_3(reference, tmp_path, number):
    pictures, _, _ = reference
    command = [sys.executable, ROOT / "scripts" / "train.py", "--data_dir", pictures]
    command += ["--save_dir", tmp_path, *TINY, "--epochs", "4000"]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            break
    process.send_signal(number)
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert f"interrupted: {number.name}; " in stderr
    step = int(re.search(r"checkpoint at step (\d+) of 20000", stderr).group(1))
    assert (tmp_path / "checkpoints" / f"checkpoint-{step:09d}.safetensors").is_file()


def test_two_runs_in_one_folder(reference, tmp_path):
    import filelock

    pictures, _, _ = reference
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    with filelock.FileLock(checkpoints / "lock"):
        done = run_script("train", "--data_dir", pictures, "--save_dir", tmp_path, *TINY)
    assert done.returncode == 2
    assert f"another process is training in {checkpoints}" in done.stderr
    # The other one may be reading the images.
    assert not (tmp_path / "dataset").exists()


def test_learning_rate_schedule():
    settings = TrainingSettings(
        learning_rate=1.0, epochs=1, steps_per_epoch=100, lr_schedule="cosine", warmup_steps=3
    )
    rates = [learning_rate_at(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 4)
    assert rates[50] == pytest.approx(0.505)
    assert rates[99] == pytest.approx(0.01, abs=1e-3)
    assert rates[3:] == sorted(rates[3:], reverse=True)
    constant = TrainingSettings(learning_rate=0.3)
    assert learning_rate_at(constant, 0) == learning_rate_at(constant, 99_999) == 0.3


def trainer(**settings):
    tiny = {"patch_size": 16, "batch_size": 1, "num_filters": 4} | settings
    return Trainer(TrainingSettings(**tiny), "float32")


def test_learning_rate_factors_reach_their_variables(tensorflow):
    start = tensorflow.constant(0, tensorflow.int64)
    patches = tensorflow.constant(np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), "u1"))
    one = trainer(learning_rate=0.01, gdn_lr_factor=0.1, prior_lr_factor=5)
    before = one.weights()
    one.train_step(start, patches)
    largest = {"gdn": 0.0, "prior": 0.0, "convolution": 0.0}
    for name, value in one.weights().items():
        group = "gdn" if name.endswith(("/beta", "/gamma")) else "convolution"
        group = "prior" if name.startswith("prior") else group
        largest[group] = max(largest[group], np.abs(value - before[name]).max())
    # Adam's first step is the learning rate in every coordinate with a gradient.
    assert largest["convolution"] == pytest.approx(0.01, rel=0.01)
    assert largest["gdn"] == pytest.approx(0.001, rel=0.01)
    assert largest["prior"] == pytest.approx(0.05, rel=0.01)


def test_noise_depends_on_seed_and_step(tensorflow):
    patches = tensorflow.zeros((1, 16, 16, 3), tensorflow.uint8)
    losses, start = {}, trainer().weights()
    for seed in (1, 2):
        one = trainer(seed=seed)
        for step in (0, 1):
            for name, variable in one.variables.items():
                variable.assign(start[name])
            losses[seed, step] = one.train_step(
                tensorflow.constant(step, tensorflow.int64), patches
            ).loss
    assert len(set(losses.values())) == 4


def patches_of(tf, size=16):
    return tf.constant(np.random.default_rng(0).integers(0, 256, (1, size, size, 3), "u1"))


def test_a_loss_that_is_not_finite_ends_the_run(tensorflow):
    one = trainer()
    one.variables["synthesis/conv_2/bias"].assign([np.nan] * 3)
    with pytest.raises(DivergedError, match="the loss became nan at step 0"):
        one.train_step(tensorflow.constant(0, tensorflow.int64), patches_of(tensorflow))


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("analysis/gdn_1/bias", np.nan, "analysis/gdn_1 became NaN"),
        ("synthesis/conv_2/bias", np.inf, "synthesis/conv_2 became Inf"),
        ("prior/bias_1", np.nan, "bits became NaN"),
    ],
)
def test_checked_numerics_name_the_first_tensor(tensorflow, variable, value, named, compiled):
    settings = TrainingSettings(patch_size=16, batch_size=1, num_filters=4)
    one = Trainer(settings, "float32", check_numerics=True, compiled=compiled)
    one.variables[variable].assign(np.full_like(one.variables[variable], value))
    with pytest.raises(DivergedError, match=f"{named} at step 0"):
        one.train_step(tensorflow.constant(0, tensorflow.int64), patches_of(tensorflow))


def test_checking_numerics_changes_no_more_than_rounding(tensorflow):
    results = []
    for check in (False, True):
        tensorflow.keras.utils.set_random_seed(3)
        settings = TrainingSettings(patch_size=16, batch_size=1, num_filters=4)
        one = Trainer(settings, "float32", check_numerics=check)
        for step in range(3):
            one.train_step(tensorflow.constant(step, tensorflow.int64), patches_of(tensorflow))
        results.append(one.weights())
    for name, value in results[0].items():
        np.testing.assert_allclose(value, results[1][name], rtol=1e-4, atol=1e-6, err_msg=name)


def flat(weights):
    return np.concatenate([value.ravel() for value in weights.values()])


@pytest.mark.parametrize(
    ("policy", "loss_tolerance", "share_of_way"),
    [
        ("float32", 2e-5, 0.02),
        ("mixed_bfloat16", 2.0**-11, 0.2),
        ("mixed_float16", 2.0**-11, 0.05),
    ],
)
def test_the_compiled_step_is_the_plain_step(tensorflow, policy, loss_tolerance, share_of_way):
    """XLA, which a GPU's step is compiled with, changes no more than rounding."""
    settings = TrainingSettings(
        **{"patch_size": 32, "batch_size": 2, "num_filters": 8, "quantization": "mixed"},
        **{"clip_norm": 0.5, "average_decay": 0.9, "learning_rate": 0.0003},
        **{"initialization": "cosine", "lambda_rd": 0.01},
    )
    patches = np.random.default_rng(0).integers(0, 256, (6, 2, 32, 32, 3), "u1")
    losses, weights, moved, scales = [], [], [], []
    for compiled in (False, True):
        tensorflow.keras.utils.set_random_seed(3)
        one = Trainer(settings, policy, compiled=compiled)
        before = flat(one.weights())
        # Numbers of steps in which average and rounding grid move.
        for number, batch in enumerate(patches, start=97):
            if one._loss_scale:
                # Far too large for the first step, which is skipped, and small enough for the
                # others: in between, XLA's half precision overflows later.
                one._loss_scale.value.assign(2.0**24 if number == 97 else 2.0**11)
            step = tensorflow.constant(number, tensorflow.int64)
            losses.append(one.train_step(step, tensorflow.constant(batch)).loss)
            if one._loss_scale:
                scales.append(float(one._loss_scale.value))
        weights.append(flat(one.weights()))
        moved.append(np.linalg.norm(weights[-1] - before))
    # Measured: 2e-6 of the loss in float32, 1e-4 in half precision, whose rounding is 2**-11; of
    # the way that the weights went 0.5 % in float32, 1.1 % in float16, and 5 to 9 % in bfloat16
    # on two CPUs, because Adam makes steps of the rounding of gradients that are almost nothing.
    assert losses[6:] == pytest.approx(losses[:6], rel=loss_tolerance)
    assert np.linalg.norm(weights[0] - weights[1]) < share_of_way * moved[0]
    if policy == "mixed_float16":
        assert scales == 2 * [2.0**23, *5 * [2.0**11]]


def test_relative_rates_follow_the_kernels_scale(tensorflow):
    one = trainer(learning_rate=0.01, relative_lr=True, num_filters=8, latent_gain=3.0)
    before = one.weights()
    one.train_step(tensorflow.constant(0, tensorflow.int64), patches_of(tensorflow))
    moved = {
        name: np.abs(value - before[name]).max()
        for name, value in one.weights().items()
        if name.endswith("/kernel")
    }
    first = 1 / np.sqrt(81 * 3)
    scales = {"analysis/conv_0": first, "analysis/conv_1": 1 / np.sqrt(25 * 8)}
    scales |= {"analysis/conv_2": 3 / np.sqrt(25 * 8), "synthesis/conv_2": 4 / np.sqrt(81 * 8)}
    for name, scale in scales.items():
        assert moved[f"{name}/kernel"] == pytest.approx(0.01 * scale / first, rel=0.01), name


def test_gradients_are_clipped_to_the_norm(tensorflow):
    # Adam ignores the scale of equal gradients, so its second moment is looked at.
    norms = []
    for clip_norm in (None, 0.5):
        tensorflow.keras.utils.set_random_seed(3)
        one = trainer(clip_norm=clip_norm)
        one.train_step(tensorflow.constant(0, tensorflow.int64), patches_of(tensorflow))
        moments = one._optimizer.variables
        squares = [v.numpy().sum() for name, v in moments.items() if name.startswith("v/")]
        norms.append(np.sqrt(sum(squares) / 0.001))
    assert norms[0] > 1
    assert norms[1] == pytest.approx(0.5, rel=1e-3)


def test_the_average_of_the_weights_is_what_is_validated(tensorflow):
    one = trainer(average_decay=0.5, learning_rate=0.01)
    seen = []
    for step in range(30):
        one.train_step(tensorflow.constant(step, tensorflow.int64), patches_of(tensorflow))
        if step % 10 == 9:
            seen.append(one.variables["synthesis/conv_1/kernel"].numpy())
    # The first average is the weights themselves; then 1/11 and, as 0.5**10 is less, 0.5**10.
    expected = seen[0]
    for update, value in enumerate(seen[1:], start=1):
        decay = min(0.5**10, update / (update + 10))
        expected = decay * expected + (1 - decay) * value
    actual = one.weights()["synthesis/conv_1/kernel"]
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-7)
    assert not np.array_equal(actual, seen[-1])
    one.validate(np.zeros((1, 16, 16, 3), np.uint8))
    np.testing.assert_array_equal(one._float32_variables["synthesis/conv_1/kernel"], actual)


def test_the_best_weights_are_restored(tensorflow):
    one = trainer(learning_rate=0.01)
    for epoch, loss in enumerate([1.0, 2.0], start=1):
        one.stopping.on_epoch_end(epoch, loss, one.weights())
        one.train_step(tensorflow.constant(epoch - 1, tensorflow.int64), patches_of(tensorflow))
    best = one.stopping.best_weights
    stored = rounded_weights(best, 4)
    for name, variable in one.best_network().named_variables().items():
        np.testing.assert_array_equal(variable, stored[name])
    assert not np.array_equal(
        best["synthesis/conv_1/kernel"], one.variables["synthesis/conv_1/kernel"]
    )


def test_float16_skips_steps_until_the_loss_scale_fits(tensorflow):
    one = Trainer(TrainingSettings(patch_size=16, batch_size=1, num_filters=4), "mixed_float16")
    one._loss_scale.value.assign(2.0**24)
    before = one.weights()
    scales, changed = [], []
    for step in range(24):
        one.train_step(tensorflow.constant(step, tensorflow.int64), patches_of(tensorflow))
        scales.append(float(one._loss_scale.value))
        changed.append(not np.array_equal(one.weights()["prior/bias_0"], before["prior/bias_0"]))
    assert not changed[0]
    assert scales[0] == 2.0**23
    assert changed[-1]
    assert scales[-1] == scales[-2]


def test_the_loss_scale_grows_after_many_finite_steps(tensorflow):
    scale = LossScale(8.0)
    finite = tensorflow.constant(True)
    for _ in range(PATIENCE - 1):
        scale.update(finite)
    assert float(scale.value) == 8
    scale.update(finite)
    assert float(scale.value) == 16
    scale.update(tensorflow.constant(False))
    assert float(scale.value) == 8


def test_the_initial_gain_is_the_best_quantization_step():
    settings = TrainingSettings(lambda_rd=0.02, initialization="cosine")
    gain = initial_gain(settings)
    # At high rate a coefficient costs -log2(step) bits and step**2 / 12 of distortion;
    # there are three to a pixel, and the mean squared error is over the three.
    steps = np.linspace(5, 200, 20001)
    loss = -3 * np.log2(steps) + 0.02 * steps**2 / 12
    assert 256 / gain == pytest.approx(steps[loss.argmin()], rel=1e-3)
    assert initial_gain(TrainingSettings()) == 1
    assert initial_gain(TrainingSettings(latent_gain=7.0, initialization="cosine")) == 7
    # A model to start from is rescaled to it, whatever is said of a start from nothing.
    for start in ({}, {"latent_gain": 7.0}, {"initialization": "cosine"}):
        other = TrainingSettings(lambda_rd=settings.lambda_rd, init_from="models", **start)
        assert initial_gain(other) == gain


def test_a_checkpoint_that_cannot_be_read_is_not_taken_for_a_damaged_one(reference, tmp_path):
    """As when a network's disk is away for a moment: nothing may be deleted."""
    pictures, _, _ = reference
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    path = checkpoints / "checkpoint-000000005.safetensors"
    path.symlink_to(path)
    done = run_script("train", "--data_dir", pictures, "--save_dir", tmp_path, *TINY)
    assert done.returncode == 1
    assert done.stderr.strip() == f"train.py: error: Too many levels of symbolic links: {path}"
    assert path.is_symlink()
