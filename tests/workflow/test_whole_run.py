import hashlib
import json
import zipfile

import pandas as pd
import pytest
from balle2017.coding.bitstream import HEADER_BYTES
from balle2017.files import read_table
from balle2017.results.aggregation import RD_COLUMNS
from file_server import CONTENT, serve


def test_archive_to_table(finished):
    results = finished.folder / "results" / "tiny"
    rd = pd.read_csv(results / "rd.csv")
    assert list(rd.columns) == RD_COLUMNS
    assert sorted(rd["codec"]) == ["balle2017"] * 2 + ["balle2017_adaptive"] * 2 + ["jpeg"] * 3
    static, adaptive = (rd[rd["codec"] == name] for name in ("balle2017", "balle2017_adaptive"))
    assert sorted(static["point"]) == sorted(adaptive["point"]) == [0.01, 0.02]
    # Same pixels, at most as many bytes.
    both = static.merge(adaptive, on="point", suffixes=("", "_adaptive"))
    assert (both["psnr_rgb"] == both["psnr_rgb_adaptive"]).all()
    assert (both["bpp"] >= both["bpp_adaptive"]).all()
    assert (rd["n_images"] == 2).all()
    for name in ("rd_curve.png", "rd_curve.svg", "bd_rate.csv", "per_image.csv", "report.html"):
        assert (results / name).stat().st_size > 0


def test_rates_come_from_the_files_on_disk(finished):
    results = finished.folder / "results" / "tiny"
    rd = pd.read_csv(results / "rd.csv")
    pixels = 600 * 800
    for _, row in rd.iterrows():
        ours = row["codec"].startswith("balle2017")
        if ours:
            folder = results / "photographs" / f"{row['point']:.4f}-f4-s1"
            folder /= "adaptive/bitstreams" if "adaptive" in row["codec"] else "bitstreams"
        else:
            folder = results / "photographs" / "codecs" / "jpeg" / "bitstreams"
            folder = folder / f"{row['point']:g}"
        sizes = [path.stat().st_size for path in folder.glob("[!.]*")]
        assert len(sizes) == 2
        assert row["bpp"] == pytest.approx(sum(sizes) * 8 / (2 * pixels))
        if ours:
            payload = sum(sizes) - 2 * HEADER_BYTES
            assert row["bpp_payload"] == pytest.approx(payload * 8 / (2 * pixels))


def test_a_model_carries_its_settings(finished):
    run = finished.folder / "results" / "tiny" / "models" / "0.0200-f4-s1" / "run.json"
    settings = json.loads(run.read_text())["settings"]
    assert (settings["lambda_rd"], settings["num_filters"], settings["epochs"]) == (0.02, 4, 1)
    assert settings["precision_policy"] == "float32"


def test_checkpoints_are_cleared_after_the_export(finished):
    assert not list((finished.folder / "work").rglob("checkpoint-*.safetensors"))


def test_the_terminal_shows_the_results(finished):
    lines = finished.output.splitlines()
    header = next(i for i, line in enumerate(lines) if "PSNR dB" in line)
    rd = pd.read_csv(finished.folder / "results" / "tiny" / "rd.csv")
    for line, (_, row) in zip(lines[header + 1 :], rd.iterrows(), strict=False):
        codec, point, bpp = line.split()[:3]
        assert (codec, float(point)) == (row["codec"], row["point"])
        assert float(bpp) == pytest.approx(row["bpp"], abs=5e-5)
    assert "results/tiny/rd_curve.png" in finished.output
    assert "results/tiny/report.html" in finished.output


def test_paths_may_have_spaces_and_quotes(fresh):
    (fresh.folder / "input" / "archive.tar").rename(fresh.folder / "input" / "my 'best' one.tar")
    (fresh.folder / "input" / "photographs").rename(fresh.folder / "input" / "test set")
    fresh.configure(train_archive="input/my 'best' one.tar", test_images="input/test set")
    results = "results/tiny"
    fresh.run("split", f"{results}/test-set/codecs/jpeg/summary.json")
    assert len(read_table(fresh.folder / results / "test-set/codecs/jpeg/per_image.csv")) == 6


def test_an_archive_from_the_web_and_prepared_images(fresh):
    with serve() as server:
        fresh.configure(
            train_archive=f"{server.url}/archive.tar",
            train_archive_sha256=hashlib.sha256(CONTENT).hexdigest(),
            data={"min_size": 32, "val_split": 0.3, "downscale": [0.7, 0.9], "max_images": 6},
        )
        fresh.run("split")
        (manifest,) = fresh.folder.glob("results/datasets/archive-*/manifest.csv")
        rows = [row for row in read_table(manifest) if row["status"] == "accepted"]
        assert len(rows) == 6
        assert all(0.7 <= float(row["scale"]) <= 0.9 for row in rows)
        assert "Nothing to be done" in fresh.run("split")
        fresh.configure(
            train_archive=f"{server.url}/archive.tar",
            train_archive_sha256=hashlib.sha256(CONTENT).hexdigest(),
            data={"min_size": 33, "val_split": 0.3},
        )
        fresh.run("split")
    # Other settings make another dataset from the same download.
    assert len(list(fresh.folder.glob("results/datasets/archive-*/manifest.csv"))) == 2
    assert server.ranges == [None]


def test_no_image_is_on_two_sides(finished):
    results = finished.folder / "results" / "tiny" / "split"
    sides = [
        {row["pixel_hash"] for row in read_table(results / f"{side}.csv")}
        for side in ("train", "val")
    ]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 8


def test_snakemake_reports_with_captions_and_categories(finished):
    finished.run("--report", "workflow.html")
    text = (finished.folder / "workflow.html").read_text(encoding="utf-8")
    for category in ("Curves", "Tables", "Training", "Pictures", "Report"):
        assert f'"{category}"' in text
    for caption in (
        "means over the test images",
        "the nearest file",
        "Thin lines (loss and rate only)",
    ):
        assert caption in text
    for name in ("rd_curve.svg", "training_curves.svg", "bd_rate.csv", "100.png"):
        assert name in text


def test_a_test_set_may_be_an_archive(fresh):
    archive = fresh.folder / "input" / "my tests.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for index, seed in enumerate((100, 101)):
            path = fresh.folder / "input" / "photographs" / f"{seed}.png"
            file.write(path, f"{index}/a picture.png")
    fresh.configure(test_images="input/my tests.zip")
    summary = "results/tiny/my-tests/codecs/jpeg/summary.json"
    fresh.run(summary)
    rows = read_table((fresh.folder / summary).with_name("per_image.csv"))
    assert {row["image"] for row in rows} == {"a-picture.png", "a-picture-2.png"}
    assert "Nothing to be done" in fresh.run(summary)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("broken.png", path.read_bytes()[:1000])
    output = fresh.run(summary, status=1)
    assert "broken.png: truncated: " in output


def test_a_folder_that_is_called_kodak_is_not_held_to_published_curves(fresh):
    (fresh.folder / "input" / "photographs").rename(fresh.folder / "input" / "kodak")
    fresh.configure(test_images="input/kodak")
    assert "compare_published" not in fresh.planned()
