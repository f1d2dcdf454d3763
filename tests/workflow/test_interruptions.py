"""Training jobs that are killed or terminated, and that Snakemake tries again."""

import re
import shutil
import signal
import subprocess
import sys

import psutil
import pytest
from helpers import PATIENCE_S, last_step, timeless, wait_for
from workflow_tools import TINY, trainings

STEPS = 5
MODEL = "results/tiny/models/0.0100-f4-s1"


@pytest.mark.parametrize(
    "sent", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_snakemake_retries_and_the_model_is_the_same(fresh, sent):
    training = {"epochs": 60, "steps_per_epoch": STEPS, "early_stopping_patience": 60}
    fresh.configure(lambdas=[0.01], training=TINY["training"] | training)
    weights = fresh.folder / MODEL / "model" / "model.safetensors"
    fresh.run("train")
    expected, history = weights.read_bytes(), timeless(fresh.folder / MODEL / "history.csv")
    shutil.rmtree(fresh.folder / MODEL)
    # With the copy of its result that a training keeps.
    shutil.rmtree(fresh.folder / "work" / "train")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "train"]
    process = subprocess.Popen(
        [*command, "--configfile", "tiny.yaml"],
        cwd=fresh.folder,
        env=fresh.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    checkpoints = fresh.folder / "work/train/tiny/0.0100-f4-s1"
    for target in (2 * STEPS, 8 * STEPS):
        assert wait_for(lambda target=target: last_step(checkpoints) >= target, process)
        for one in trainings(fresh.folder):
            one.send_signal(sent)
        psutil.wait_procs(trainings(fresh.folder), timeout=PATIENCE_S)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, output
    log = (fresh.folder / "logs/tiny/train_model/0.0100-f4-s1.log").read_text()
    step = int(re.search(r"resumed from step (\d+) ", log).group(1))
    assert step >= 8 * STEPS
    assert weights.read_bytes() == expected
    assert timeless(fresh.folder / MODEL / "history.csv") == history
