"""GPUs that are not there: what nvidia-smi would say is all that is needed."""

import os
import subprocess
import sys

import pytest
from balle2017.training import claims
from helpers import PATIENCE_S, ROOT, pretend_gpus

NAMES = ["GPU-aaaa-1", "GPU-bbbb-2"]

HOLD = """
import os, sys
from balle2017.training import claims
with claims.claimed_gpu("auto", lambda line: print(line, flush=True)):
    print("has", os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with two GPUs, and locks of its own."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))
    return pretend_gpus(tmp_path, NAMES, monkeypatch)


class Holder:
    """A process that holds a GPU until it is told to end, or killed."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(timeout=PATIENCE_S) == 0


@pytest.mark.parametrize("killed", [False, True])
def test_processes_get_different_gpus_and_the_third_waits(killed):
    first, second = Holder(), Holder()
    for one in (first, second):
        assert one.line().startswith("took GPU ")
    devices = {one.line().removeprefix("has ") for one in (first, second)}
    assert devices == set(NAMES)
    third = Holder()
    assert third.line() == f"all GPUs are taken ({', '.join(NAMES)}); waiting for one"
    if killed:
        first.process.kill()
        first.process.wait(timeout=PATIENCE_S)
    else:
        first.end()
    assert third.line().startswith("took GPU ")
    assert third.line().removeprefix("has ") in devices
    second.end()
    third.end()


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, dict(zip(NAMES, NAMES, strict=True))),
        ("1", {"1": NAMES[1]}),
        ("1,0", {"1": NAMES[1], "0": NAMES[0]}),
        ("GPU-b", {"GPU-b": NAMES[1]}),
        ("0,7,1", {"0": NAMES[0]}),
        ("0,GPU-c,1", {"0": NAMES[0]}),
        ("MIG-x", {"MIG-x": "MIG-x"}),
        ("", {}),
        ("-1", {}),
    ],
)
def test_the_choice_of_the_user_holds(monkeypatch, visible, found):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert claims.find_gpus() == found


def test_a_number_and_a_name_are_the_same_gpu(monkeypatch):
    holder = Holder()
    assert holder.line() == f"took GPU {NAMES[0]} of {', '.join(NAMES)}"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    lines = []
    with claims.claimed_gpu("gpu", lines.append):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert lines == ["took GPU 1 of 0, 1"]
    holder.end()


def test_slurm_jobs_of_one_gpu_and_the_cpu_are_left_alone(monkeypatch):
    lines = []
    with claims.claimed_gpu("cpu", lines.append):
        assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with claims.claimed_gpu("auto", lines.append):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert lines == []


def test_the_gpus_of_an_allocation_are_shared_out(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    holder = Holder()
    assert holder.line() == "took GPU 0 of 0, 1"
    with claims.claimed_gpu("auto", lambda line: None):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    holder.end()


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 9\n", "no program"])
def test_a_driver_that_fails_means_no_gpus(machine, script):
    machine.write_text(script)
    assert claims.find_gpus() == {}
