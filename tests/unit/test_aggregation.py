import json

import numpy as np
import pandas as pd
import pytest
from balle2017.data.store import MANIFEST_COLUMNS
from balle2017.errors import InputError
from balle2017.files import write_json
from balle2017.results.aggregation import (
    BD_COLUMNS,
    RD_COLUMNS,
    bd_delta,
    bd_per_image,
    bd_table,
    collect,
    collect_images,
    curves,
    extremes_text,
    read_bd,
    read_images,
    read_rd,
    summary_text,
)
from balle2017.results.plotting import plot_images, plot_rd
from balle2017.results.report import summary_sentences
from balle2017.results.style import curve_label, line_style
from balle2017.results.tables import write_frame
from balle2017.results.training_curves import plot_training, read_histories
from balle2017.training.run import HISTORY_COLUMNS
from helpers import ROOT


def curve(codec, rates, offset=0.0, **extra):
    """A curve of 6 dB per doubling of the rate, shifted by `offset` dB."""
    return [
        {"testset": "t", "codec": codec, "point": rate, "bpp": rate, "n_images": 2, **extra}
        | {"psnr_rgb": 30 + 6 * np.log2(rate) + offset, "psnr_y": 30.0}
        | {"ms_ssim_rgb": 1 - 0.05 / rate, "ms_ssim_rgb_db": -10 * np.log10(0.05 / rate)}
        for rate in rates
    ]


OURS = {"filters": 8, "seed": 1}


def frame(*curves):
    return pd.DataFrame([row for rows in curves for row in rows]).reindex(columns=RD_COLUMNS)


def test_bd_rate_of_a_shifted_curve():
    rates = [0.25, 0.5, 1, 2]
    # The same quality at half the rate: 6 dB more at each rate.
    one, anchor = frame(curve("a", rates, 6)), frame(curve("b", rates))
    delta = bd_delta(one, anchor, "psnr_rgb")
    assert delta["bd_rate_percent"] == pytest.approx(-50, abs=0.01)
    assert delta["bd_quality_db"] == pytest.approx(6, abs=0.01)
    assert (delta["overlap_low"], delta["overlap_high"]) == (24, 36)
    assert delta["reason"] == ""
    back = bd_delta(anchor, one, "psnr_rgb")
    assert back["bd_rate_percent"] == pytest.approx(100, abs=0.01)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (frame(curve("a", [0.25, 0.5])), "fewer than 3 points"),
        (frame(curve("a", [0.25, 0.5, 1], 60)), "no overlap in quality"),
        (frame(curve("a", [0.25, 0.5]), curve("a", [0.5], 3)), "two points of one rate"),
        (frame(curve("a", [0.25, 0.5]), curve("a", [1], -30)), "quality does not rise with rate"),
    ],
)
def test_what_cannot_be_had_is_empty_with_its_reason(one, reason):
    delta = bd_delta(one, frame(curve("b", [0.25, 0.5, 1, 2])), "psnr_rgb")
    assert delta["bd_rate_percent"] is None
    assert delta["reason"] == reason


def test_tables_from_summaries(tmp_path):
    write_json(tmp_path / "m1" / "summary.json", curve("balle2017", [0.5], **OURS))
    write_json(tmp_path / "m2" / "summary.json", curve("balle2017", [0.25], **OURS))
    write_json(tmp_path / "jpeg" / "summary.json", curve("jpeg", [0.2, 0.4, 0.8]))
    rd = collect([tmp_path])
    assert list(rd.columns) == RD_COLUMNS
    assert rd["codec"].tolist() == ["balle2017"] * 2 + ["jpeg"] * 3
    assert rd["bpp"].tolist() == [0.25, 0.5, 0.2, 0.4, 0.8]
    bd = bd_table(rd)
    assert len(bd) == 2 * 2
    text = summary_text(rd, bd)
    assert "not defined (fewer than 3 points)" in text


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("rd", RD_COLUMNS),
        ("bd_rate", BD_COLUMNS),
        ("history", HISTORY_COLUMNS),
        ("manifest", MANIFEST_COLUMNS),
    ],
)
def test_every_column_is_documented(table, columns):
    section = (ROOT / "docs/tables.md").read_text().split(f"## {table}.csv")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    documented = {name.strip() for row in rows[2:] for name in row.split(",")}
    assert documented == set(columns)


def models(*points):
    """Rows of models: lambda, filters, seed and rate of each."""
    return [
        row | {"filters": filters, "seed": seed, "point": point}
        for point, filters, seed, rate in points
        for row in curve("balle2017", [rate])
    ]


def test_a_map_of_widths_is_one_curve(tmp_path):
    points = models((0.01, 8, 1, 0.5), (0.02, 16, 1, 1), (0.005, 8, 1, 0.25))
    write_json(tmp_path / "summary.json", points + curve("jpeg", [0.2, 0.4, 0.8, 1.6]))
    rd = collect([tmp_path])
    assert [name for _, name, _ in curves(rd)] == ["balle2017-f8-16-s1", "jpeg"]
    assert rd["bpp"].tolist() == [0.25, 0.5, 1, 0.2, 0.4, 0.8, 1.6]
    text = summary_text(rd, bd_table(rd))
    assert "BD-rate of balle2017-f8-16-s1 against jpeg" in text
    assert text.splitlines()[1].split() == [
        "codec", "point", "filters", "bpp", "PSNR", "dB", "MS-SSIM"
    ]  # fmt: skip
    assert curve_label("balle2017-f8-16-s1") == "Ballé 2017, 8 and 16 filters"
    adaptive = "balle2017_adaptive-f8-s2"
    assert curve_label(adaptive) == "Ballé 2017, 8 filters, adaptive coder, seed 2"


def test_widths_and_seeds_of_the_same_lambdas_are_curves_of_their_own(tmp_path):
    grid = [(0.01 * step, width, seed) for seed in (1, 2) for width in (8, 16) for step in (1, 2)]
    write_json(tmp_path / "summary.json", models(*((*point, 50 * point[0]) for point in grid)))
    rd = collect([tmp_path])
    names = [f"balle2017-f{width}-s{seed}" for width in (16, 8) for seed in (1, 2)]
    assert [name for _, name, _ in curves(rd)] == names
    assert all(len(rows) == 2 for _, _, rows in curves(rd))
    assert "filters     seed" in summary_text(rd, bd_table(rd))


def test_a_folder_without_evaluation_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no evaluation"):
        collect([tmp_path])
    write_json(tmp_path / "summary.json", [{"x": 1}])
    with pytest.raises(InputError, match="lacks bpp, codec"):
        collect([tmp_path])
    write_json(tmp_path / "summary.json", [])
    with pytest.raises(InputError, match="have no point"):
        collect([tmp_path])


def test_the_figure_is_the_same_every_time(tmp_path):
    rd = frame(curve("balle2017", [0.2, 0.4, 0.8], **OURS), curve("jpeg", [0.1, 0.9]))
    for name in ("a", "b"):
        plot_rd(rd, tmp_path / name)
    for suffix in ("png", "svg"):
        first, second = ((tmp_path / n / f"rd_curve.{suffix}").read_bytes() for n in "ab")
        assert first == second
    text = (tmp_path / "a" / "rd_curve.svg").read_text(encoding="utf-8")
    assert "Ballé 2017, 8 filters" in text
    assert "JPEG 4:2:0" in text


def test_a_figure_without_a_point_is_refused(tmp_path):
    with pytest.raises(InputError, match="no point has a rate of"):
        plot_rd(frame(curve("jpeg", [0.1, 0.9])), tmp_path, max_bpp=0.05)


def test_the_figure_needs_a_choice_among_test_sets(tmp_path):
    rd = frame(curve("jpeg", [0.1, 0.9]))
    both = pd.concat([rd, rd.assign(testset="u")])
    with pytest.raises(InputError, match="choose a test set with --testset: t, u"):
        plot_rd(both, tmp_path)


def images_of(codec, points, offsets, **extra):
    """summary.json and per_image.csv of a codec, each image shifted by its offset in dB."""
    summary, rows = [], []
    for point in curve(codec, points, **extra):
        summary.append(point)
        for image, offset in offsets.items():
            quality = {"psnr_rgb": point["psnr_rgb"] + offset, "ms_ssim_rgb": point["ms_ssim_rgb"]}
            rows.append({"point": point["point"], "image": image, "bpp": point["bpp"]} | quality)
    return summary, rows


def write_images(folder, summary, rows):
    write_json(folder / "summary.json", summary)
    pd.DataFrame(rows).to_csv(folder / "per_image.csv", index=False)


def test_the_best_and_the_worst_image_are_named(tmp_path):
    points = [0.25, 0.5, 1, 2]
    ours = images_of("balle2017", points, {"a": 6.0, "b": -6.0, "c": 0.0}, **OURS)
    write_images(tmp_path / "ours", *ours)
    write_images(tmp_path / "jpeg", *images_of("jpeg", points, dict.fromkeys("abc", 0.0)))
    images = collect_images([tmp_path])
    assert len(images) == 2 * 4 * 3
    bd = bd_per_image(images)
    assert bd["anchor"].unique().tolist() == ["jpeg"]
    values = bd[bd["metric"] == "psnr_rgb"].set_index("image")["bd_rate_percent"]
    assert values.to_dict() == pytest.approx({"a": -50, "b": 100, "c": 0}, abs=0.01)
    text = extremes_text(bd)
    assert "best and worst image of balle2017-f8-s1 against jpeg: a -50.0 %" in text
    assert "b +100.0 %" in text


def test_an_image_without_error_is_no_point_of_its_curve(tmp_path):
    summary, rows = images_of("jpeg", [0.5, 1], {"a.png": 0.0})
    rows[1] |= {"psnr_rgb": float("inf"), "ms_ssim_rgb": 1.0}
    write_images(tmp_path, summary, rows)
    images = collect_images([tmp_path])
    assert images["psnr_rgb"].isna().tolist() == [False, True]
    assert images["ms_ssim_rgb_db"].isna().tolist() == [False, True]


@pytest.mark.parametrize("fewer", ["balle2017", "jpeg"])
def test_points_of_different_images_are_not_compared(tmp_path, fewer):
    for codec, identity in (("balle2017", OURS), ("jpeg", {})):
        names = dict.fromkeys(["a.png"] if codec == fewer else ["a.png", "b.png"], 0.0)
        write_images(tmp_path / codec, *images_of(codec, [0.5, 1], names, **identity))
    message = f"on t, {fewer} at 0.5 has no row for b.png, and others have; evaluate all of them"
    with pytest.raises(InputError, match=message):
        collect_images([tmp_path])
    # Another test set is compared with nothing of this one.
    rows = images_of(fewer, [0.5, 1], {"a.png": 0.0}, **(OURS if fewer == "balle2017" else {}))
    write_images(tmp_path / fewer, [row | {"testset": "u"} for row in rows[0]], rows[1])
    assert set(collect_images([tmp_path])["testset"]) == {"t", "u"}


@pytest.mark.parametrize(("column", "others"), [("width", 32), ("pixel_hash", "0123")])
def test_images_of_one_name_that_differ_are_not_compared(tmp_path, column, others):
    known = {"width": 64, "height": 48, "pixel_hash": "abcd"}
    for codec, value in (("webp", known[column]), ("jpeg", others)):
        summary, rows = images_of(codec, [0.5, 1], {"a.png": 0.0, "b.png": 0.0})
        rows = [row | known | ({column: value} if row["image"] == "b.png" else {}) for row in rows]
        write_images(tmp_path / codec, summary, rows)
    with pytest.raises(InputError, match=r"on t, b\.png is another image in some evaluations"):
        collect_images([tmp_path])


@pytest.mark.parametrize("rate", ["0", "-1", "inf"])
def test_a_rate_that_can_not_be_is_named(tmp_path, rate):
    table = frame(curve("jpeg", [1])).astype({"bpp": object})
    table.loc[0, "bpp"] = rate
    table.to_csv(tmp_path / "rd.csv", index=False)
    with pytest.raises(InputError, match=rf"rd\.csv: jpeg has the bpp {rate}; it must be more"):
        read_rd(tmp_path / "rd.csv")


#: Values by which a person may spoil a cell, and what must be said.
NO_MEASUREMENTS = [
    *(("rd", column, value, f"jpeg has the {column} {value}; it must be")
      for column in ("psnr_rgb", "ms_ssim_rgb", "ms_ssim_rgb_db", "psnr_y", "encode_s")
      for value in ("inf", "-inf", "1e+308")),
    ("rd", "point", "inf", "jpeg has the point inf; it must be a finite number"),
    ("rd", "psnr_rgb", "True", "psnr_rgb has values that are not numbers"),
    ("rd", "n_images", "True", "n_images has a value that is no whole number"),
    ("rd", "seed", "99999999999999999999", "seed has a value that is no whole number"),
    ("rd", "seed", "18446744073709551615", "seed has a value that is no whole number"),
    ("rd", "filters", "-1", "filters has a value that is no whole number"),
    ("per_image", "bytes", "99999999999999999999", "bytes has a value that is no whole number"),
    *(("per_image", "bpp", value, f"a of jpeg has the bpp {value}; it must be more than 0")
      for value in ("0", "-1", "inf")),
    ("per_image", "bpp", "True", "bpp has values that are not numbers"),
    ("per_image", "ms_ssim_rgb", "inf", "a of jpeg has the ms_ssim_rgb inf; it must be from 0"),
    ("per_image", "psnr_rgb", "-inf", "a of jpeg has the psnr_rgb -inf; it must be from 0"),
    ("bd", "bd_rate_percent", "inf", "a of x has the bd_rate_percent inf; it must be"),
]  # fmt: skip
READ = {"rd": read_rd, "per_image": read_images, "bd": lambda path: read_bd(path, per_image=True)}


def edited(path, kind, column=None, value=None, times=1):
    """A table of one row, with another value in a column, and the row several times."""
    rd = frame(curve("jpeg", [1]))
    table = {
        "rd": rd,
        "per_image": rd.assign(image="a", bytes=9),
        "bd": pd.DataFrame([{"testset": "t", "codec": "x", "anchor": "jpeg", "metric": "psnr_rgb"}])
        .reindex(columns=BD_COLUMNS)
        .assign(image="a"),
    }[kind]
    table = table if column is None else table.assign(**{column: value})
    pd.concat([table] * times).to_csv(path, index=False)


@pytest.mark.parametrize(("kind", "column", "value", "message"), NO_MEASUREMENTS)
def test_what_cannot_be_measured_is_named(tmp_path, kind, column, value, message):
    path = tmp_path / "x.csv"
    edited(path, kind, column, value)
    with pytest.raises(InputError, match=f"{path}.*{message}".replace("+", r"\+")) as error:
        READ[kind](path)
    assert "\n" not in str(error.value)
    # An empty cell is infinite, or was not measured.
    if column not in ("point", "bytes"):
        edited(path, kind, column, "")
        READ[kind](path)


@pytest.mark.parametrize("kind", READ)
def test_a_row_that_is_there_twice_is_named(tmp_path, kind):
    path = tmp_path / "x.csv"
    edited(path, kind)
    assert len(READ[kind](path)) == 1
    edited(path, kind, times=2)
    with pytest.raises(InputError, match=r"x\.csv has two rows for testset t, codec "):
        READ[kind](path)


def test_deltas_of_one_curve_are_told_apart(tmp_path):
    path = tmp_path / "x.csv"
    edited(path, "bd", times=2)
    with pytest.raises(InputError, match="codec x, anchor jpeg, metric psnr_rgb; remove one"):
        read_bd(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("bpp", value) for value in (0, -1, float("nan"))),
        *(("psnr_rgb", value) for value in (float("nan"), 1e299)),
        *(("point", float("nan")), ("ms_ssim_rgb", 13), ("encode_s", float("nan"))),
    ],
)
def test_a_mean_that_cannot_be_is_named(tmp_path, column, value):
    (row,) = curve("jpeg", [1])
    (tmp_path / "summary.json").write_text(json.dumps([row | {column: value}]))
    with pytest.raises(InputError, match=rf"summary\.json is .*{column} has an invalid value"):
        collect([tmp_path])
    (tmp_path / "summary.json").write_text(json.dumps([row | {"psnr_rgb": None}]))
    assert collect([tmp_path])["psnr_rgb"].isna().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bpp": 0}, r"a\.png has the bpp 0.*; it must be more than 0"),
        ({"ms_ssim_rgb": float("inf")}, r"a\.png has the ms_ssim_rgb inf; it must be from 0"),
        ({}, r"has two rows for point 1.*, image a\.png; remove one"),
    ],
)
def test_an_edited_table_beside_a_summary_is_named(tmp_path, change, message):
    summary, (row,) = images_of("jpeg", [1], {"a.png": 0.0})
    write_images(tmp_path, summary, [row | change] * (1 if change else 2))
    with pytest.raises(InputError, match=rf"per_image\.csv.*{message}"):
        collect_images([tmp_path])


@pytest.mark.parametrize("losses", [("3", ""), ("3", "0"), ("3", "-1"), ("3", "inf"), ("inf", "3")])
def test_a_validation_loss_that_is_no_unit_is_named(tmp_path, losses):
    rows = "".join(f"{step},1,1,{loss},1,30\n" for step, loss in enumerate(losses))
    path = tmp_path / "history.csv"
    path.write_text(f"step,loss,bpp,val_loss,val_bpp,val_psnr\n{rows}")
    with pytest.raises(InputError, match=r"history\.csv: row [12] has the val_loss .*more than 0"):
        read_histories([path])


def test_a_model_without_a_seed_is_named(tmp_path):
    table = frame(curve("balle2017", [1], **OURS)).assign(seed=None)
    table.to_csv(tmp_path / "rd.csv", index=False)
    with pytest.raises(InputError, match=r"rd\.csv: balle2017 has filters, and no seed"):
        read_rd(tmp_path / "rd.csv")


def test_an_evaluation_without_its_images_is_named(tmp_path):
    write_json(tmp_path / "summary.json", curve("jpeg", [1]))
    with pytest.raises(InputError, match=r"per_image\.csv does not exist"):
        collect_images([tmp_path])


def test_every_image_has_its_panel(tmp_path):
    points = [0.25, 0.5, 1]
    names = dict.fromkeys([f"{index}.png" for index in range(6)], 0.0)
    write_images(tmp_path / "ours", *images_of("balle2017", points, names, **OURS))
    write_images(tmp_path / "jpeg", *images_of("jpeg", points, names))
    images = collect_images([tmp_path])
    write_frame(tmp_path / "per_image.csv", images)
    plot_images(read_images(tmp_path / "per_image.csv"), tmp_path)
    text = (tmp_path / "rd_per_image.svg").read_text(encoding="utf-8")
    for label in (*names, "Ballé 2017, 8 filters", "JPEG 4:2:0"):
        assert text.count(f">{label}<") == 1
    with pytest.raises(InputError, match="not a table of images"):
        read_images(tmp_path / "ours" / "summary.json")


def test_names_are_text_whatever_they_look_like(tmp_path):
    names = ["null", "NA", "True", "1e5", "007", "nan", "-", "2024-05-01"]
    rd = pd.concat([frame(curve("jpeg", [0.5, 1])).assign(testset=name) for name in names])
    write_frame(tmp_path / "rd.csv", rd.assign(note="", encoder="1.10"))
    read = read_rd(tmp_path / "rd.csv")
    assert read["testset"].tolist() == rd["testset"].tolist()
    assert set(read["encoder"]) == {"1.10"}
    assert set(read["note"]) == {""}
    assert read["point"].tolist() == rd["point"].tolist()
    write_frame(tmp_path / "bd.csv", bd_table(rd))
    bd = read_bd(tmp_path / "bd.csv")
    assert set(bd["testset"]) <= set(names)
    for name in names:
        plot_rd(read, tmp_path / "plots", testset=name)
        assert f"{name}, means over 2 images" in summary_text(read, bd)


@pytest.mark.parametrize("name", ["price_$5_and_$6.png", "a$b.png", "$.png", r"$\frac$", "x_{y}^z"])
def test_a_name_in_a_figure_is_no_formula(tmp_path, name):
    points = [0.25, 0.5, 1]
    write_images(tmp_path / "ours", *images_of("balle2017", points, {name: 0.0}, **OURS))
    plot_images(collect_images([tmp_path]).assign(testset="$t$"), tmp_path)
    plot_rd(frame(curve("jpeg", points)).assign(testset=name), tmp_path)
    for figure in ("rd_per_image.svg", "rd_curve.svg"):
        assert f">{name}" in (tmp_path / figure).read_text(encoding="utf-8")


def test_training_curves_show_every_model(tmp_path):
    columns = ["step", "loss", "bpp", "val_loss", "val_bpp", "val_psnr"]
    for name in ("0.0100-f8-s1", "0.1000-f8-s1"):
        (tmp_path / name).mkdir()
        table = pd.DataFrame([[10, 9, 1, 3, 0.9, 20], [20, 4, 0.8, 2, 0.8, 25]], columns=columns)
        table.to_csv(tmp_path / name / "history.csv", index=False)
    histories = read_histories(sorted(tmp_path.glob("*/history.csv")))
    plot_training(histories, tmp_path)
    text = (tmp_path / "training_curves.svg").read_text(encoding="utf-8")
    assert "0.0100-f8-s1" in text
    assert "0.1000-f8-s1" in text
    (tmp_path / "x.csv").write_text("a\n1\n")
    with pytest.raises(InputError, match="not a history of a training"):
        read_histories([tmp_path / "x.csv"])
    (tmp_path / "x.csv").write_text(",".join(columns))
    with pytest.raises(InputError, match=r"x\.csv has no epoch"):
        read_histories([tmp_path / "x.csv"])


def test_histories_of_two_experiments_have_two_names(tmp_path):
    columns = ["step", "loss", "bpp", "val_loss", "val_bpp", "val_psnr"]
    paths = [tmp_path / name / "models/0.0100-f8-s1/history.csv" for name in ("one", "two")]
    for loss, path in enumerate(paths):
        path.parent.mkdir(parents=True)
        pd.DataFrame([[10, loss, 1, 3, 0.9, 20]], columns=columns).to_csv(path, index=False)
    histories = read_histories(paths)
    assert list(histories) == ["one/models/0.0100-f8-s1", "two/models/0.0100-f8-s1"]
    assert [history["loss"][0] for history in histories.values()] == [0, 1]
    assert list(read_histories([paths[1], paths[1]])) == ["0.0100-f8-s1"]


def test_no_two_of_many_lines_look_alike():
    assert len({line_style(index) for index in range(144)}) == 144


def test_a_point_of_any_number_of_digits_keeps_its_images(tmp_path):
    # pandas reads this one with another last bit, unless told not to.
    point = 0.0010334003012077778
    summary, rows = images_of("balle2017", [1], {"a.png": 0.0}, **OURS)
    summary[0]["point"] = rows[0]["point"] = point
    write_images(tmp_path, summary, rows)
    images = collect_images([tmp_path])
    assert images["point"].tolist() == [point]
    write_frame(tmp_path / "all.csv", images)
    assert read_images(tmp_path / "all.csv")["point"].tolist() == [point]


def test_images_of_another_evaluation_are_refused(tmp_path):
    summary, _ = images_of("jpeg", [0.5], {"a.png": 0.0})
    _, rows = images_of("jpeg", [0.5, 1], {"a.png": 0.0})
    write_images(tmp_path, summary, rows)
    with pytest.raises(InputError, match=r"has points that the summary\.json beside it lacks"):
        collect_images([tmp_path])


@pytest.mark.parametrize("content", ["filters\nwide\n", "a,b\n1,2,3\n4,5,6,7\n", ""])
def test_what_is_no_table_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(InputError, match=r"x\.csv is not a table of results: .+") as error:
        read_rd(tmp_path / "x.csv")
    assert "\n" not in str(error.value)


def test_one_curve_measured_twice_is_refused(tmp_path):
    for name in ("a", "b"):
        write_json(tmp_path / name / "summary.json", curve("balle2017", [0.5], **OURS))
    with pytest.raises(InputError, match=r"two evaluations have balle2017 at 0\.5 on t"):
        collect([tmp_path])


def test_one_curve_has_nothing_to_be_compared_with(tmp_path):
    rd = frame(curve("balle2017", [0.25, 0.5, 1], **OURS))
    write_frame(tmp_path / "bd.csv", bd_table(rd))
    assert summary_sentences(rd, read_bd(tmp_path / "bd.csv")) == []
