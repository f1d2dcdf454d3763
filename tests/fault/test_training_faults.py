"""Training that is killed and started again."""

import random
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, last_step, make_picture, run_script, timeless, wait_for
from PIL import Image

STEPS = 5
LONG = [
    *("--patch_size", 32, "--batch_size", 2, "--num_filters", 4, "--threads", 1),
    *("--epochs", 60, "--steps_per_epoch", STEPS, "--learning_rate", 0.002),
    *("--val_split", 0.4, "--lr_schedule", "cosine", "--average_decay", 0.9),
    *("--early_stopping_patience", 8),
]
MODEL = "model/model.safetensors"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    pictures = folder / "pictures"
    pictures.mkdir()
    for seed in range(6):
        Image.fromarray(make_picture(seed)).save(pictures / f"{seed}.png")
    done = run_script("train", "--data_dir", pictures, "--save_dir", folder / "out", *LONG)
    assert done.returncode == 0, done.stderr
    return pictures, folder / "out"


def test_kills_at_random_moments_change_no_bit(undisturbed, tmp_path):
    pictures, out = undisturbed
    command = [sys.executable, ROOT / "scripts/train.py", "--data_dir", pictures]
    command = [str(word) for word in [*command, "--save_dir", tmp_path, *LONG]]
    checkpoints = tmp_path / "checkpoints"
    rng = random.Random(4)
    kills = 0
    resumed = []
    for _ in range(3):
        before = last_step(checkpoints)
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # Some steps further, and then at any moment: in a step, a validation or a write.
        target = before + STEPS * rng.randint(1, 10)
        if wait_for(lambda target=target: last_step(checkpoints) >= target, process):
            time.sleep(rng.uniform(0, 0.1))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        resumed.append((before, process.stdout.read()))
    done = run_script("train", "--data_dir", pictures, "--save_dir", tmp_path, *LONG)
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    for before, output in resumed[1:]:
        assert before > 0
        assert f"resumed from step {before} " in output
    assert (tmp_path / MODEL).read_bytes() == (out / MODEL).read_bytes()
    assert timeless(tmp_path / "history.csv") == timeless(out / "history.csv")
