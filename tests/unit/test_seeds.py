"""Several seeds of the same models: means, ranges, and how they are shown."""

import json

import numpy as np
import pandas as pd
import pytest
from balle2017.results.aggregation import bd_table
from balle2017.results.plotting import plot_images, plot_rd
from balle2017.results.report import chart_html
from balle2017.results.seeds import band, bd_seeds, bd_seeds_text, lines, seed_table

RATES = np.array([0.2, 0.4, 0.8, 1.6])


def rows(codec, bpp, psnr, **identity):
    """A curve of rd.csv."""
    return pd.DataFrame(
        {
            "testset": "t",
            "codec": codec,
            "point": RATES,
            "filters": pd.Series([pd.NA] * len(bpp), dtype="Int64"),
            "seed": pd.Series([pd.NA] * len(bpp), dtype="Int64"),
            "bpp": bpp,
            "psnr_rgb": psnr,
            "ms_ssim_rgb": 0.9 + 0.02 * np.log2(bpp / 0.2),
            "ms_ssim_rgb_db": 10 + np.log2(bpp / 0.2),
            "n_images": 2,
            "lacking": "",
        }
        | identity
    )


@pytest.fixture
def rd():
    """Three seeds of 128 filters, one of 64, and JPEG: each seed needs 1 % more rate."""
    curves = [
        rows(
            "balle2017", RATES * (1 + 0.01 * seed), 30 + 3 * np.log2(RATES), filters=128, seed=seed
        )
        for seed in (1, 2, 3)
    ]
    curves.append(rows("balle2017", RATES, 29 + 3 * np.log2(RATES), filters=64, seed=1))
    curves.append(rows("jpeg", RATES, 28 + 3 * np.log2(RATES)))
    return pd.concat(curves, ignore_index=True).astype({"filters": "Int64", "seed": "Int64"})


def test_points_have_mean_and_range(rd):
    table = seed_table(rd)
    assert set(table["curve"]) == {"balle2017-f128"}
    assert table["seeds"].tolist() == [3] * 4
    assert table["point"].tolist() == RATES.tolist()
    assert table["bpp_mean"].to_numpy() == pytest.approx(1.02 * RATES)
    assert table["bpp_low"].to_numpy() == pytest.approx(1.01 * RATES)
    assert table["bpp_high"].to_numpy() == pytest.approx(1.03 * RATES)
    assert table["psnr_rgb_low"].equals(table["psnr_rgb_high"])
    # Without several seeds the table is there and has no rows.
    single = rd[rd["seed"].isna() | (rd["seed"] == 1)]
    empty = seed_table(single)
    assert len(empty) == 0
    assert list(empty.columns) == list(table.columns)
    assert len(seed_table(rd[rd["seed"] == 9])) == 0


def test_deltas_have_mean_and_range(rd):
    bd = bd_table(rd)
    table = bd_seeds(bd).set_index(["codec", "anchor", "metric"])
    each = bd[(bd["anchor"] == "jpeg") & bd["codec"].str.startswith("balle2017-f128")]
    each = each[each["metric"] == "psnr_rgb"]["bd_rate_percent"]
    found = table.loc[("balle2017-f128", "jpeg", "psnr_rgb")]
    assert found["seeds"] == 3
    assert found["bd_rate_percent_mean"] == pytest.approx(each.mean())
    assert (found["bd_rate_percent_low"], found["bd_rate_percent_high"]) == (each.min(), each.max())
    # 2 dB at 3 dB a doubling, and 1 to 3 % more: the deltas are what was put in.
    expected = [100 * (2 ** (-2 / 3) * (1 + 0.01 * seed) - 1) for seed in (1, 2, 3)]
    assert sorted(each) == pytest.approx(expected, abs=0.02)
    assert bd_seeds_text(bd, "jpeg", "jpeg, PSNR") == (
        f"  BD-rate of balle2017-f128 against jpeg, PSNR: {np.mean(expected):+.1f} % on average "
        f"over 3 seeds, {expected[0]:+.1f} to {expected[2]:+.1f} %\n"
    )
    assert bd_seeds_text(bd_table(rd[~rd["seed"].isin([2, 3])]), "jpeg", "x") == ""


def test_a_seed_without_a_value_leaves_no_mean(rd):
    """Neither a mean over the others nor a range that hides one."""
    rd.loc[(rd["seed"] == 2) & (rd["point"] == 0.4), ["psnr_rgb", "ms_ssim_rgb"]] = np.nan
    table = seed_table(rd).set_index("point")
    assert pd.isna(table.loc[0.4, "psnr_rgb_mean"])
    assert pd.isna(table.loc[0.4, "psnr_rgb_low"])
    assert table.loc[0.4, "bpp_mean"] == pytest.approx(0.408)
    (mean,) = [line for line in lines(rd) if line.name == "balle2017-f128"]
    assert mean.points["psnr_rgb"].isna().sum() == 1


def test_points_of_one_seed_are_no_mean(rd):
    """Neither where the other seeds lack a lambda, nor on a test set that only one has seen."""
    rd = rd[~((rd["seed"] == 2) & (rd["point"] == 0.4))]
    rd = rd[~((rd["seed"] == 3) & (rd["point"] == 0.4))]
    other = rd[(rd["seed"] == 1) & (rd["filters"] == 128)].assign(testset="other")
    table = seed_table(pd.concat([rd, other], ignore_index=True))
    assert set(table["testset"]) == {"t"}
    assert table["point"].tolist() == [0.2, 0.8, 1.6]
    assert table["seeds"].tolist() == [3, 3, 3]
    (mean,) = [line for line in lines(rd) if line.seeds]
    assert mean.points["point"].tolist() == [0.2, 0.8, 1.6]
    assert [line.name for line in lines(other)] == ["balle2017-f128-s1"]


def test_a_figure_draws_one_line_for_all_seeds(rd):
    drawn = {line.name: line for line in lines(rd)}
    assert set(drawn) == {"balle2017-f128", "balle2017-f64-s1", "jpeg"}
    assert len(drawn["balle2017-f128"].seeds) == 3
    assert drawn["balle2017-f128"].points["bpp"].to_numpy() == pytest.approx(1.02 * RATES)
    assert drawn["jpeg"].seeds == []


def test_seeds_without_a_common_point_are_lines_of_their_own(rd):
    rd.loc[rd["seed"] > 1, "point"] += rd["seed"].astype(float)
    drawn = {line.name: line for line in lines(rd) if "f128" in line.name}
    assert sorted(drawn) == [f"balle2017-f128-s{seed}" for seed in (1, 2, 3)]
    assert all(len(line.points) == 4 and not line.seeds for line in drawn.values())


def test_the_band_is_the_range_at_equal_rate(rd):
    (mean,) = [line for line in lines(rd) if line.seeds]
    edges = band(mean.seeds, "psnr_rgb")
    assert edges.bpp[0] == 1.03 * RATES[0]
    assert edges.bpp[-1] == 1.01 * RATES[-1]
    for quality, seed in ((edges.high, 1), (edges.low, 3)):
        line = np.interp(edges.bpp, RATES * (1 + seed / 100), 30 + 3 * np.log2(RATES))
        assert quality == pytest.approx(line)
    one = [frame.head(1) for frame in mean.seeds]
    assert band(one, "psnr_rgb") is None
    apart = [mean.seeds[0].head(2), mean.seeds[1].tail(2)]
    assert band(apart, "psnr_rgb") is None


def test_figures_and_chart_name_the_mean(rd, tmp_path):
    plot_rd(rd, tmp_path)
    text = (tmp_path / "rd_curve.svg").read_text(encoding="utf-8")
    label = "Ballé 2017, 128 filters, 3 seeds"
    assert text.count(f">{label}<") == 1
    assert "seed 2" not in text
    assert "FillBetweenPolyCollection" in text
    chart = chart_html(rd, None)
    assert json.dumps(label).strip('"') in chart
    assert '"type": "area"' in chart
    images = pd.concat([rd.assign(image=name) for name in ("a.png", "b.png")])
    plot_images(images.drop(columns=["n_images", "lacking"]), tmp_path)
    assert label in (tmp_path / "rd_per_image.svg").read_text(encoding="utf-8")
