"""The profile for SLURM, on a real one: jobs that are cancelled, requeued, starved, told to end."""

import contextlib
import re
import shutil
import subprocess

import psutil
import pytest
from helpers import PATIENCE_S, last_step, timeless, wait_for
from workflow_tools import TINY, trainings

STEPS = 5


def long_training(epochs: int) -> dict:
    """A training whose epochs take a fraction of a second."""
    return TINY["training"] | {
        "epochs": epochs,
        "steps_per_epoch": STEPS,
        "early_stopping_patience": epochs,
    }


@pytest.fixture
def submit(workflow):
    """Start the workflow on the cluster, as the profile has it; in the end nothing of it runs."""
    options = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "5"]
    options += ["--slurm-keep-successful-logs", "--profile", "profiles/slurm"]
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(workflow.started(*options, *arguments))
    subprocess.run(["scancel", "--user=root"], check=True)


def output_of(workflow, process: subprocess.Popen) -> str:
    """Wait for the end; return what Snakemake printed."""
    process.wait(timeout=PATIENCE_S)
    output = (workflow.folder / "output.txt").read_text()
    assert process.returncode == 0, output
    return output


def results(workflow, models: list[str]) -> list:
    """Return weights and history of models."""
    found = []
    for name in models:
        folder = workflow.folder / "results" / "tiny" / "models" / name
        weights = (folder / "model" / "model.safetensors").read_bytes()
        found.append((weights, timeless(folder / "history.csv")))
    return found


def expected(workflow, models: list[str]) -> list:
    """Train on this machine, without SLURM; return the results and remove them."""
    workflow.run("train")
    found = results(workflow, models)
    # With the copies of the results that trainings keep.
    shutil.rmtree(workflow.folder / "work" / "train")
    shutil.rmtree(workflow.folder / "results")
    shutil.rmtree(workflow.folder / "logs")
    return found


def job_of(lambda_name: str) -> str:
    """Return the number of the running job that trains for a lambda."""
    command = ["squeue", "-h", "-t", "R", "-o", "%i %k"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (job,) = re.findall(rf"^(\d+) rule_train_model_wildcards_{lambda_name}", listing, re.M)
    return job


def gpu_of(process: psutil.Process) -> str | None:
    return process.environ().get("CUDA_VISIBLE_DEVICES")


def test_trainings_that_are_cut_off_end_with_the_same_bits(workflow, submit):
    models = ["0.0100-f4-s1", "0.0200-f4-s1"]
    workflow.configure(training=long_training(100))
    before = expected(workflow, models)
    process = submit()
    work = workflow.folder / "work" / "train" / "tiny"
    assert wait_for(lambda: all(last_step(work / m) > STEPS for m in models), process)
    running = trainings(workflow.folder)
    assert len(running) == 2
    assert {gpu_of(one) for one in running} == {"0", "1"}
    subprocess.run(["scancel", job_of("0.0100")], check=True)
    subprocess.run(["scontrol", "requeue", job_of("0.0200")], check=True)
    psutil.wait_procs(running, timeout=PATIENCE_S)
    step = last_step(work / models[0])
    assert wait_for(lambda: last_step(work / models[0]) > step, process)
    # What SLURM sends to a job at its time limit, before it kills it.
    subprocess.run(["scancel", "--signal=TERM", job_of("0.0100")], check=True)
    output = output_of(workflow, process)
    assert output.count("Trying to restart job") == 2
    logs = workflow.folder / "logs" / "tiny"
    for name in models:
        log = (logs / "train_model" / f"{name}.log").read_text()
        assert int(re.search(r"resumed from step (\d+) ", log).group(1)) > STEPS
        assert (workflow.folder / "results/tiny/photographs" / name / "summary.json").is_file()
    assert results(workflow, models) == before
    assert "BD-rate of balle2017-f4-s1 against jpeg" in output
    # What is light runs here, what is heavy in jobs.
    submitted = {path.name for path in (workflow.folder / "logs" / "slurm").iterdir()}
    heavy = ("extract_archive", "train_model", "evaluate_model", "evaluate_codec")
    assert submitted == {f"rule_{name}" for name in heavy}


def test_a_training_out_of_memory_gets_more(workflow, submit):
    workflow.configure(lambdas=[0.01])
    profile = workflow.folder / "profiles" / "slurm" / "config.yaml"
    text = profile.read_text()
    assert "mem_mb: 4000 * attempt\n    # A training" in text
    profile.write_text(text.replace("4000 * attempt\n    # A", "500 * attempt\n    # A"))
    process = submit("train")
    output = output_of(workflow, process)
    assert output.count("Trying to restart job") in (1, 2)
    logs = sorted(
        (workflow.folder / "logs" / "slurm").rglob("*.log"), key=lambda log: int(log.stem)
    )
    memory = [
        int(re.search(r"mem_mb=(\d+)", log.read_text()).group(1))
        for log in logs
        if log.parts[-3] == "rule_train_model"
    ]
    assert memory == [500 * attempt for attempt in range(1, len(memory) + 1)]
    assert len(memory) > 1
    assert (workflow.folder / "results/tiny/models/0.0100-f4-s1/run.json").is_file()
