"""Models that start from other models: of the base lambda, or from a folder."""

import shutil

from balle2017.files import read_json, read_table
from workflow_tools import TINY


def model_folder(workflow, name, experiment="tiny"):
    return workflow.folder / "results" / experiment / "models" / name


def log_of(workflow, name, experiment="tiny"):
    return (workflow.folder / "logs" / experiment / "train_model" / f"{name}.log").read_text()


def test_other_lambdas_start_from_the_base(finished):
    base = read_json(model_folder(finished, "0.0100-f4-s1") / "run.json")
    finished.configure(fine_tuning={"base_lambda": 0.01, "epochs": 2, "learning_rate": 0.001})
    # The base's own training has not changed.
    assert finished.planned("train")["train_model"] == 1
    finished.run("train")
    start = "starting from results/tiny/models/0.0100-f4-s1/model, trained for lambda 0.01"
    assert start in log_of(finished, "0.0200-f4-s1")
    tuned = model_folder(finished, "0.0200-f4-s1")
    record = read_json(tuned / "run.json")
    assert record["fingerprint"]["init_from"] == base["model_sha256"]
    assert record["settings"]["learning_rate"] == 0.001
    assert [row["epoch"] for row in read_table(tuned / "history.csv")] == ["1", "2"]
    # Another base trains what starts from it again.
    finished.configure(
        fine_tuning={"base_lambda": 0.01, "epochs": 2, "learning_rate": 0.001},
        training=TINY["training"] | {"steps_per_epoch": 3},
    )
    assert finished.planned("train")["train_model"] == 2


def test_models_start_from_the_nearest_of_a_folder(finished):
    finished.configure(
        experiment="other",
        lambdas=[0.011, 0.5],
        model=TINY["model"] | {"num_latents": {"default": None, "0.5": 4}},
        training=TINY["training"] | {"init_from": "results/tiny/models"},
    )
    finished.run("train")
    # Where the number of latents is left open, it is that of the start.
    for name, source, latents in (("0.0110", "0.0100", 6), ("0.5000", "0.0200", 4)):
        start = f"starting from results/tiny/models/{source}-f4-s1/model"
        assert start in log_of(finished, f"{name}-f4-s1", "other")
        folder = model_folder(finished, f"{name}-f4-s1", "other")
        assert read_json(folder / "model" / "config.json")["num_latents"] == latents


def test_another_model_in_the_place_of_the_start_trains_again(finished):
    finished.configure(
        experiment="other",
        lambdas=[0.011],
        training=TINY["training"] | {"init_from": "input/start"},
    )
    for name in ("0.0100-f4-s1", "0.0200-f4-s1"):
        shutil.rmtree(finished.folder / "input" / "start", ignore_errors=True)
        shutil.copytree(model_folder(finished, name) / "model", finished.folder / "input" / "start")
        finished.run("train")
        record = read_json(model_folder(finished, "0.0110-f4-s1", "other") / "run.json")
        start = read_json(model_folder(finished, name) / "model" / "config.json")
        assert record["fingerprint"]["init_from"] == start["model_sha256"]
        assert finished.planned("train") == {}


def test_a_new_start_is_found_whatever_the_target(finished):
    """Snakemake looks which records are there before it asks for the inputs of a job by name."""
    finished.configure(
        experiment="other",
        lambdas=[0.011],
        training=TINY["training"] | {"init_from": "results/tiny/models"},
    )
    target = "results/other/rd.csv"
    assert finished.planned(target)["train_model"] == 1
