"""What a second run does: only what a change makes necessary."""

import os
import shutil
import time

import pytest
from helpers import make_picture
from PIL import Image
from workflow_tools import TINY, write_archive

AFTER_EVALUATION = dict.fromkeys(
    ["aggregate", "export_curves", "plot", "compare_images", "report"], 1
)
EVERYTHING_AFTER_TRAINING = {"evaluate_model": 2, "plot_training": 1, **AFTER_EVALUATION}


def test_a_finished_pipeline_does_nothing(finished):
    assert "Nothing to be done" in finished.run()


@pytest.mark.parametrize("backwards", [False, True])
def test_touching_reruns_nothing(finished, backwards):
    """Whichever order a file system lists files in: each is a second younger than the last."""
    everything = [
        path
        for path in sorted(finished.folder.rglob("*"), reverse=backwards)
        if ".snakemake" not in path.parts and not path.is_symlink()
    ]
    assert len(everything) > 200
    start = time.time() + 1
    for second, path in enumerate(everything):
        os.utime(path, (start + second, start + second))
    assert finished.planned() == {}


def test_adding_a_lambda_trains_one_model(finished):
    models = finished.folder / "results" / "tiny" / "models"
    before = {path: path.stat().st_mtime_ns for path in models.rglob("model.safetensors")}
    assert len(before) == 2
    finished.configure(lambdas=[0.01, 0.02, 0.04])
    assert finished.planned() == {
        "train_model": 1,
        "evaluate_model": 1,
        "plot_training": 1,
        **AFTER_EVALUATION,
    }
    finished.run()
    after = {path: path.stat().st_mtime_ns for path in models.rglob("model.safetensors")}
    assert len(after) == 3
    assert before.items() <= after.items()
    assert len((finished.folder / "results" / "tiny" / "rd.csv").read_text().splitlines()) == 10


def test_a_plot_option_only_plots(finished):
    finished.configure(plot={"max_bpp": 3})
    # The report shows the configuration.
    assert finished.planned() == {"plot": 1, "report": 1}


def test_editing_the_plot_only_plots(finished):
    finished.edit("scripts/balle2017/results/plotting.py")
    assert finished.planned() == {"plot": 1, "report": 1}


def test_editing_the_template_only_writes_the_report(finished):
    finished.edit("workflow/report/report.html.j2")
    assert finished.planned() == {"report": 1}


def test_editing_a_metric_never_retrains(finished):
    finished.edit("scripts/balle2017/results/metrics.py")
    expected = {"evaluate_codec": 1, "evaluate_model": 2, **AFTER_EVALUATION}
    assert finished.planned() == expected


def test_editing_the_reader_of_archives_trains_nothing(finished):
    """Snakemake plans before it knows what will come out; an equal training is not repeated."""
    models = finished.folder / "results" / "tiny" / "models"
    before = {path: path.read_bytes() for path in models.rglob("*.safetensors")}
    assert before
    for name in ("archives", "extraction"):
        finished.edit(f"scripts/balle2017/data/{name}.py")
    finished.run()
    logs = list((finished.folder / "logs" / "tiny" / "train_model").glob("*.log"))
    assert len(logs) == len(before)
    for log in logs:
        text = log.read_text()
        assert "trained before with these settings, code and images" in text
        assert "epoch 1/" not in text
    assert {path: path.read_bytes() for path in models.rglob("*.safetensors")} == before
    assert finished.planned() == {}


@pytest.mark.parametrize(
    ("path", "rerun"),
    [
        ("results/conventional.py", {"evaluate_codec"}),
        ("results/aggregation.py", {"aggregate"}),
        ("results/comparison.py", {"compare_images", "report"}),
        ("results/report.py", {"report"}),
        ("results/style.py", {"plot", "plot_training", "compare_images", "report"}),
        ("coding/tiles.py", {"evaluate_model"}),
        ("pipeline/sources.py", set()),
        ("data/testset.py", set()),
    ],
)
def test_editing_what_training_does_not_import_trains_nothing(finished, path, rerun):
    finished.edit(f"scripts/balle2017/{path}")
    planned = finished.planned()
    assert rerun <= planned.keys()
    assert not {"extract_archive", "split_images", "train_model"} & planned.keys()
    assert planned.keys() <= {*EVERYTHING_AFTER_TRAINING, "evaluate_codec"}


def test_editing_the_model_retrains_all(finished):
    finished.edit("scripts/balle2017/model/network.py")
    assert finished.planned() == {"train_model": 2, **EVERYTHING_AFTER_TRAINING}


def test_a_training_setting_retrains_all(finished):
    finished.configure(training=TINY["training"] | {"learning_rate": 0.0002})
    assert finished.planned() == {"train_model": 2, **EVERYTHING_AFTER_TRAINING}


def test_editing_the_page_only_writes_the_report(finished):
    finished.edit("workflow/report/report.html.j2")
    assert finished.planned() == {"report": 1}


def test_writing_out_a_default_reruns_nothing(finished):
    finished.configure(training=TINY["training"] | {"flip": True}, plot={"max_bpp": None})
    assert finished.planned() == {}


def test_a_replaced_archive_reruns_everything(finished):
    write_archive(finished.folder / "input" / "archive.tar", range(20, 29))
    assert finished.planned() == {
        "extract_archive": 1,
        "split_images": 1,
        "train_model": 2,
        **EVERYTHING_AFTER_TRAINING,
    }
    finished.run()
    lists = finished.folder / "results" / "tiny" / "split"
    names = [(lists / f"{side}.csv").read_text() for side in ("train", "val")]
    assert "28.png" in "".join(names)
    assert "Nothing to be done" in finished.run()


def test_a_replaced_test_image_splits_again_because_it_must_stay_out(finished):
    path = finished.folder / "input" / "photographs" / "100.png"
    Image.fromarray(make_picture(300, 600, 800)).save(path)
    assert finished.planned() == {
        "split_images": 1,
        "train_model": 2,
        "evaluate_codec": 1,
        **EVERYTHING_AFTER_TRAINING,
    }


def test_a_deleted_model_is_trained_again_to_the_same_bytes(finished):
    model = finished.folder / "results" / "tiny" / "models" / "0.0100-f4-s1" / "model"
    before = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").unlink()
    # Nor is there the copy that a training keeps of its result.
    shutil.rmtree(finished.folder / "work" / "train")
    assert finished.planned("train") == {"train": 1, "train_model": 1}
    finished.run("train")
    assert (model / "model.safetensors").read_bytes() == before


def test_one_lambda_alone(fresh):
    output = fresh.run("results/tiny/models/0.0200-f4-s1/run.json")
    assert "train_model" in output
    models = fresh.folder / "results" / "tiny" / "models"
    assert [path.name for path in models.iterdir()] == ["0.0200-f4-s1"]
    assert not (fresh.folder / "results" / "tiny" / "rd.csv").exists()


def test_stages_are_targets(fresh):
    stages = {}
    for stage in ("extract", "split", "train", "evaluate", "aggregate", "plot", "report"):
        jobs = fresh.planned(stage)
        stages[stage] = set(jobs) - {stage} if stage in ("extract", "split", "train") else set(jobs)
    assert stages["extract"] == {"extract_archive"}
    assert stages["split"] == stages["extract"] | {"split_images"}
    assert stages["train"] == stages["split"] | {"train_model"}
    assert stages["evaluate"] == stages["train"] | {"evaluate_model", "evaluate_codec"}
    assert stages["aggregate"] == stages["evaluate"] | {"aggregate"}
    assert stages["plot"] == stages["aggregate"] | {"plot"}
    assert stages["report"] == stages["plot"] | {"plot_training", "report"}
