"""The reference command on real images, with a training too short to be good."""

import os

import pandas as pd
import pytest
from balle2017.files import read_json

SHORT = [
    "model={num_filters: 8, num_latents: 12}",
    "training={epochs: 1, steps_per_epoch: 30, patch_size: 64, batch_size: 4}",
    # The maps of the experiment stay: every codec it has is measured, most at one quality.
    "evaluation={codecs: {jpeg: [20, 50], jpeg_plain: [50], jpeg2000: [1], jpeg2000_plain: [1],"
    " webp: [50], avif: [50]}}",
    "lambdas=[0.0067, 0.0250]",
]


@pytest.mark.slow
def test_nested_archive_to_kodak_table(fresh, data_dir):
    archive = os.path.relpath(data_dir / "imagenet_sample_train.tar", fresh.folder)
    kodak = os.path.relpath(data_dir / "kodak", fresh.folder)
    fresh.run(
        *("--config", f"train_archive={archive}", f"kodak={kodak}", *SHORT),
        config="experiments/reference.yaml",
    )
    results = fresh.folder / "results" / "reference"
    # All models of a run see the same pictures, and no Kodak image is among them.
    manifests = {
        read_json(path)["data"]["manifest_sha256"] for path in results.glob("models/*/run.json")
    }
    assert len(manifests) == 1
    assert read_json(results / "split" / "split.json")["kept_out"] == []
    rd = pd.read_csv(results / "rd.csv")
    assert (rd["n_images"] == 24).all()
    ours = rd[rd["codec"] == "balle2017"]
    assert sorted(ours["point"]) == [0.0067, 0.025]
    for _, row in ours.iterrows():
        folder = results / "kodak" / f"{row['point']:.4f}-f8-s1"
        table = pd.read_csv(folder / "per_image.csv")
        sizes = [
            (folder / "bitstreams" / name).with_suffix(".b17").stat().st_size
            for name in table["image"]
        ]
        bpp = [size * 8 / (768 * 512) for size in sizes]
        assert row["bpp"] == pytest.approx(sum(bpp) / 24)
        assert row["bpp_payload"] == pytest.approx(row["bpp_estimated"], rel=0.01)
        assert read_json(folder / "summary.json")[0]["rate_difference"] < 0.01
