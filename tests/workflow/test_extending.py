"""The changes that docs/extending.md shows work as it says."""

import re
import subprocess

import pandas as pd
import pytest
import yaml
from balle2017.files import read_json
from helpers import ROOT
from workflow_tools import TINY, write_archive


def blocks(section, language):
    """Return the code blocks of a section of the page."""
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    text = page.split(f"## A {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def apply(workflow, section):
    """Change a workflow's files as the page says."""
    (change,) = blocks(section, "diff")
    done = subprocess.run(
        ["git", "apply", "-"], cwd=workflow.folder, input=change, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def results(workflow, experiment="tiny"):
    return workflow.folder / "results" / experiment


def test_a_codec_is_measured_without_the_models(finished):
    apply(finished, "codec")
    (text,) = blocks("codec", "yaml")
    codecs = TINY["evaluation"]["codecs"] | yaml.safe_load(text)["evaluation"]["codecs"]
    finished.configure(evaluation={"codecs": codecs})
    planned = finished.planned()
    assert planned["evaluate_codec"] == len(codecs)
    assert not {"train_model", "evaluate_model"} & planned.keys()
    finished.run("aggregate")
    rd = pd.read_csv(results(finished) / "rd.csv").set_index("codec")
    assert sorted(rd.loc["jpeg_progressive", "point"]) == [30, 60, 90]
    assert rd.loc["jpeg_progressive", "encoder"].str.contains("progressive=True").all()


def test_a_metric_is_in_both_tables(finished):
    apply(finished, "metric")
    planned = finished.planned()
    assert planned["evaluate_model"] == len(TINY["lambdas"])
    assert "train_model" not in planned
    finished.run("aggregate")
    images = pd.read_csv(results(finished) / "per_image.csv")
    assert images["largest_error"].between(1, 255).all()
    rd = pd.read_csv(results(finished) / "rd.csv")
    jpeg = rd[rd["codec"] == "jpeg"].iloc[0]
    of_point = images[(images["codec"] == "jpeg") & (images["point"] == jpeg["point"])]
    assert jpeg["largest_error"] == pytest.approx(of_point["largest_error"].mean())


def test_a_dataset_needs_no_code(fresh):
    """Laid over config.yaml as it is, but for a short training."""
    (text,) = blocks("dataset", "yaml")
    write_archive(fresh.folder / "input" / "archive.tar", range(8), 130, 150)
    short = {"training": {"epochs": 1, "steps_per_epoch": 2}}
    (fresh.folder / "mine.yaml").write_text(
        yaml.safe_dump(yaml.safe_load(text) | short), encoding="utf-8"
    )
    fresh.run("train", config="mine.yaml")
    split = read_json(results(fresh, "mine") / "split" / "split.json")
    assert sorted(split["kept_out"]) == ["photographs:100.png", "photographs:101.png"]
    assert split["train"]["images"] + split["val"]["images"] == 8
    record = read_json(results(fresh, "mine") / "models" / "0.0130-f128-s1" / "run.json")
    start = read_json(ROOT / "pretrained" / "0.0130" / "config.json")
    assert record["fingerprint"]["init_from"] == start["model_sha256"]


def test_a_variant_is_trained_and_recorded(finished):
    apply(finished, "model variant")
    finished.configure(
        lambdas=[0.01],
        model=TINY["model"] | {"num_filters": 16, "initialization": "pure_cosine"},
    )
    finished.run("train")
    record = read_json(results(finished) / "models" / "0.0100-f16-s1" / "run.json")
    assert record["settings"]["initialization"] == "pure_cosine"
