"""Grids of models: what is planned, how jobs share GPUs and cores, and what a failure stops."""

import re
import time

import pytest
from helpers import pretend_gpus
from workflow_tools import TINY, trainings


def test_a_hundred_models_are_planned(fresh):
    """Planned in about four seconds; ten are the bound, which no test should time."""
    fresh.configure(
        lambdas=[0.01 * step for step in range(1, 6)],
        seeds=list(range(1, 11)),
        model=TINY["model"] | {"num_filters": [4, 8]},
    )
    jobs = fresh.planned()
    assert jobs["train_model"] == jobs["evaluate_model"] == 100


TWO_OF_BOTH = {"seeds": [1, 2], "model": TINY["model"] | {"num_filters": [4, 6]}}


def test_adding_a_seed_and_a_width_retrains_nothing(finished):
    finished.configure(**TWO_OF_BOTH)
    jobs = finished.planned()
    assert jobs["train_model"] == jobs["evaluate_model"] == 8 - 2


@pytest.mark.slow
def test_every_seed_and_width_is_a_curve(finished):
    finished.configure(**TWO_OF_BOTH)
    finished.run("aggregate")
    rd = (finished.folder / "results/tiny/rd.csv").read_text().splitlines()
    header = rd[0].split(",")
    ours = [dict(zip(header, row.split(","), strict=True)) for row in rd if ",balle2017," in row]
    assert {(row["filters"], row["seed"]) for row in ours} == {
        (width, seed) for width in "46" for seed in "12"
    }
    bd = (finished.folder / "results/tiny/bd_rate.csv").read_text()
    for width in (4, 6):
        for seed in (1, 2):
            assert f",balle2017-f{width}-s{seed},jpeg," in bd


def test_a_width_for_each_lambda_is_one_curve(finished):
    finished.configure(model=TINY["model"] | {"num_filters": {"default": 4, 0.02: 6}})
    assert finished.planned()["train_model"] == 1
    finished.run("aggregate")
    assert ",balle2017-f4-6-s1,jpeg," in (finished.folder / "results/tiny/bd_rate.csv").read_text()


def test_a_model_that_fails_stops_no_other_and_is_named(fresh):
    # This lambda's loss overflows.
    fresh.configure(lambdas=[0.01, 1e37, 0.02])
    output = fresh.run(status=1)
    assert output.count("note: lambdas has 1e+37; usual values are") == 1
    failed = f"{10**37}.0000-f4-s1"
    log = f"logs/tiny/train_model/{failed}.log"
    assert f"not finished: train_model {failed}; log: {log}" in output
    last = (fresh.folder / log).read_text().splitlines()[-1]
    assert f"its last line: {last}" in output
    assert "run the same command again to continue" in output
    for name in ("0.0100-f4-s1", "0.0200-f4-s1"):
        assert (fresh.folder / "results/tiny/photographs" / name / "summary.json").is_file()
        assert f"train_model {name}" not in output


@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_concurrent_trainings_get_gpus_of_their_own(fresh, monkeypatch, tmp_path, count):
    names = [f"GPU-{index}" for index in range(count)]
    pretend_gpus(tmp_path, names, monkeypatch)
    fresh.configure(lambdas=[0.01, 0.02, 0.03])
    output = fresh.run("train", "--cores", "4")
    assert re.search(rf'Provided resources: .*"gpu", {count}\)', output)
    logs = [log.read_text() for log in (fresh.folder / "logs/tiny/train_model").glob("*.log")]
    taken = [re.search(r"took GPU (\S+) of ", log).group(1) for log in logs]
    assert len(taken) == 3
    assert set(taken) == set(names)
    # As many at a time as there are GPUs, so nobody waited.
    assert not any("waiting for one" in log for log in logs)


@pytest.mark.parametrize(
    ("threads", "together"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)]
)
def test_trainings_share_the_cores(fresh, threads, together):
    training = TINY["training"] | {"threads": threads, "epochs": 20, "early_stopping_patience": 20}
    fresh.configure(training=training)
    with fresh.started("train", "--cores", "2") as process:
        most = 0
        while process.poll() is None:
            most = max(most, len(trainings(fresh.folder)))
            time.sleep(0.2)
    assert process.returncode == 0
    assert most == together
