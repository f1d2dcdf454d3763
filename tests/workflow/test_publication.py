"""What of a run is kept for others."""

import filecmp
import re
import shutil

import pandas as pd
import pytest
from balle2017.files import read_json, read_table
from helpers import run_script


def publish(finished, out):
    results = finished.folder / "results" / "tiny"
    return results, run_script(
        *("publish", "--results", results, "--models", out / "models", "--out", out / "results")
    )


def test_models_and_results_are_kept(finished, tmp_path):
    results, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "kept" / "results" / "models.csv")
    assert [row["model"] for row in rows] == ["0.0100-f4-s1", "0.0200-f4-s1"]
    for row in rows:
        source = results / "models" / row["model"]
        target = tmp_path / "kept" / "models" / row["model"].split("-")[0]
        names = ["config.json", "model.safetensors"]
        assert filecmp.cmpfiles(source / "model", target, names, shallow=False)[0] == names
        record = read_json(source / "run.json")
        assert row["model_sha256"] == record["model_sha256"]
        assert row["code_sha256"] == record["fingerprint"]["code_sha256"]
        assert (int(row["latents"]), int(row["steps"]), row["init_from"]) == (6, 2, "")
    kept = tmp_path / "kept" / "results"
    for name in ("rd.csv", "bd_rate.csv", "rd_curve.svg", "summary.txt"):
        assert (kept / name).read_bytes() == (results / name).read_bytes()
    sheets = {path.name for path in (kept / "comparisons").iterdir()}
    assert sheets == {path.name for path in (results / "comparisons").glob("*.png")}


def test_the_hash_is_that_of_the_model_that_is_kept(finished, tmp_path):
    """Also where the model was adapted to other images after the training."""
    model = finished.folder / "results" / "tiny" / "models" / "0.0100-f4-s1" / "model"
    images = finished.folder / "input" / "photographs"
    before = read_json(model / "config.json")["model_sha256"]
    done = run_script("adapt", "--model", model, "--images", images, "--overwrite")
    assert done.returncode == 0, done.stderr
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    row = read_table(tmp_path / "kept" / "results" / "models.csv")[0]
    kept = read_json(tmp_path / "kept" / "models" / "0.0100" / "config.json")
    assert row["model_sha256"] == kept["model_sha256"] != before


def test_a_run_without_its_figures_is_not_published(finished, tmp_path):
    (finished.folder / "results" / "tiny" / "rd_curve.png").unlink()
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 2
    assert "lacks rd_curve.png; run the workflow to its end first" in done.stderr
    assert not (tmp_path / "kept").exists()


def test_models_of_an_earlier_run_do_not_stay_unnoticed(finished, tmp_path):
    earlier = tmp_path / "kept" / "models" / "0.0300"
    earlier.mkdir(parents=True)
    (earlier / "config.json").write_text("{}")
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 2
    assert "models has models that this run has not: 0.0300; delete them" in done.stderr
    assert not (tmp_path / "kept" / "results").exists()


def test_sheets_of_an_earlier_run_are_replaced(finished, tmp_path):
    sheet = tmp_path / "kept" / "results" / "comparisons" / "other.png"
    sheet.parent.mkdir(parents=True)
    sheet.write_bytes(b"")
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert not sheet.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rd, models: rd.drop(rd.index[rd["point"] == 0.02]),
            r"rd\.csv does not have the model in \S+models/0\.0200-f4-s1; delete this folder",
        ),
        (
            lambda rd, models: rd.assign(encoder="model 0123456789abcdef"),
            r"rd\.csv was measured before the model in \S+models/0\.0100-f4-s1 was trained",
        ),
        (
            lambda rd, models: shutil.rmtree(models / "0.0100-f4-s1") or rd,
            r"models lacks 0\.0100-f4-s1, which rd\.csv has",
        ),
    ],
    ids=["a lambda was dropped", "trained again since", "deleted"],
)
def test_tables_are_published_with_the_models_they_are_about(finished, tmp_path, change, message):
    results = finished.folder / "results" / "tiny"
    change(pd.read_csv(results / "rd.csv"), results / "models").to_csv(
        results / "rd.csv", index=False
    )
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert not (tmp_path / "kept").exists()


def test_models_are_not_published_among_those_of_the_run(finished):
    results = finished.folder / "results" / "tiny"
    before = sorted(results.rglob("*"))
    done = run_script("publish", "--results", results, "--models", results / "models")
    assert done.returncode == 2
    assert "where results are written; give another --models" in done.stderr
    assert sorted(results.rglob("*")) == before


def test_tables_of_published_curves_do_not_stay_from_an_earlier_run(finished, tmp_path):
    out = tmp_path / "kept" / "results"
    out.mkdir(parents=True)
    names = ("table.md", "bd_rate_published.csv", "calibration.csv", "published.txt")
    for name in names:
        (out / name).write_text("of other images")
    _, done = publish(finished, tmp_path / "kept")
    assert done.returncode == 0, done.stderr
    assert not [name for name in names if (out / name).exists()]
