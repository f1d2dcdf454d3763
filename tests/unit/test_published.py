import numpy as np
import pandas as pd
import pytest
from balle2017.errors import InputError
from balle2017.results.aggregation import RD_COLUMNS, read_rd
from balle2017.results.plotting import plot_rd
from balle2017.results.published import (
    COUNTERPARTS,
    LABELS,
    bd_against_published,
    calibrate,
    published_text,
    read_published,
)
from helpers import ROOT, run_script

TABLE = ROOT / "workflow" / "resources" / "published_kodak.csv"


@pytest.fixture(scope="module")
def published():
    return read_published(TABLE)


def points(published, curve, codec, shift=0.0, **extra):
    """Rows of rd.csv on a published curve, `shift` dB above it."""
    rows = published[published["curve"] == curve].iloc[::3]
    quality = {name: rows[name] + shift for name in ("psnr_rgb", "ms_ssim_rgb_db")}
    return rows.assign(testset="kodak", codec=codec, point=rows["bpp"], **quality, **extra).reindex(
        columns=RD_COLUMNS
    )


def test_the_table_has_eight_rising_curves(published):
    assert set(published["curve"]) == set(LABELS)
    for _, curve in published.groupby("curve"):
        assert (np.diff(curve["bpp"]) > 0).all()
        assert len(curve) >= 8
        assert curve["psnr_rgb"].is_monotonic_increasing
        assert curve["ms_ssim_rgb"].between(0.5, 1).all()


def test_a_curve_above_the_published_one_is_off_by_that_much(published):
    rd = pd.concat(
        [
            points(published, "jpeg420", "jpeg_plain", 0.25),
            points(published, "jpeg420", "jpeg", 9),
            points(published, "factorized_prior", "balle2017", -0.5, filters=128, seed=1),
        ]
    )
    rd["filters"], rd["seed"] = rd["filters"].astype("Int64"), rd["seed"].astype("Int64")
    calibration = calibrate(rd, published)
    assert calibration["codec"].tolist() == ["jpeg_plain"] * 2
    assert calibration["mean_difference_db"].to_numpy() == pytest.approx([0.25, 0.25])
    assert calibration["largest_difference_db"].to_numpy() == pytest.approx([0.25, 0.25])
    bd = bd_against_published(rd, published)
    row = bd.query("codec.str.startswith('balle') and anchor == 'factorized_prior'").iloc[0]
    assert 5 < row["bd_rate_percent"] < 15
    text = published_text(calibration, bd)
    assert "balle2017-f128-s1 against the published factorized prior: +" in text
    assert "jpeg_plain and the published jpeg420: +0.25 dB on average" in text


def test_points_outside_the_published_range_do_not_count(published):
    rd = points(published, "jpeg420", "jpeg_plain").assign(bpp=50.0)
    assert calibrate(rd, published).empty


def test_the_figure_names_published_curves(published, tmp_path):
    rd = points(published, "jpeg420", "jpeg").assign(n_images=24)
    plot_rd(rd, tmp_path, published=published)
    text = (tmp_path / "rd_curve.svg").read_text(encoding="utf-8")
    assert "factorized prior, published" in text
    assert "BPG 4:4:4, published" in text


def test_another_table_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no table of published curves"):
        read_published(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"missing\.csv does not exist"):
        read_published(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("codec", "qualities", "tolerance"),
    [
        ("jpeg_plain", (10, 30, 50, 70, 90), 0.2),
        pytest.param("jpeg2000_plain", (0.25, 1, 2), 0.05, marks=pytest.mark.slow),
    ],
)
def test_measurements_on_kodak_are_the_published_ones(
    kodak_dir, published, tmp_path, codec, qualities, tolerance
):
    """The whole chain from files to means gives what others got with the same codec."""
    done = run_script(
        *("evaluate_codec", "--codec", codec, "--quality", *qualities),
        *("--images", kodak_dir, "--testset", "kodak", "--out", tmp_path / codec),
    )
    assert done.returncode == 0, done.stderr
    done = run_script("aggregate", tmp_path, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_script(
        *("compare_published", "--rd", tmp_path / "rd.csv", "--published", TABLE),
        *("--out", tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert f"{codec} and the published {COUNTERPARTS[codec]}" in done.stdout
    calibration = calibrate(read_rd(tmp_path / "rd.csv"), published)
    assert len(calibration) == 2
    assert (calibration["points"] == len(qualities)).all()
    assert calibration["largest_difference_db"].abs().max() < tolerance
