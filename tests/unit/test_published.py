import json
import shutil

import numpy as np
import pandas as pd
import pytest
from balle2017.errors import InputError
from balle2017.pipeline.curves import curve_files
from balle2017.results.aggregation import RD_COLUMNS, bd_delta, read_bd, read_rd
from balle2017.results.plotting import plot_rd
from balle2017.results.published import (
    COUNTERPARTS,
    bd_against_published,
    calibrate,
    collect_published,
    published_text,
    rate_over,
    read_published,
)
from balle2017.results.report import chart_html, summary_sentences
from balle2017.results.tables import write_frame
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
    assert published["curve"].nunique() == published["label"].nunique() == 8
    drawn = published.loc[published["drawn"], "curve"]
    assert set(drawn) == {"factorized_prior", "hyperprior", "bpg444"}
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
    text = published_text(calibration, bd, published)
    assert "balle2017-f128-s1 against the published factorized prior: +" in text
    assert "jpeg_plain minus the published jpeg420, PSNR: mean +0.25 dB" in text


def written(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["x,0.1,30,9", "x,0.2,32,9"], "its first row has more cells than its header"),
        (["x,0.1,30", "x,0.2,32,9"], "Expected 3 fields in line 4, saw 4"),
    ],
)
def test_a_row_that_is_longer_than_the_header_is_an_error(tmp_path, rows, message):
    path = written(tmp_path / "t.csv", "# one", "codec,bpp,psnr_rgb", *rows)
    with pytest.raises(
        InputError, match=rf"{path} is not a table of published curves: .*{message}"
    ):
        read_published(path)


def test_only_whole_lines_are_comments(tmp_path):
    head = "codec,label,source,bpp,psnr_rgb"
    rows = ["x,C# codec,Team #1,0.1,30", "x,C# codec,Team #1,0.2,32"]
    path = written(tmp_path / "t.csv", "\ufeff# about", "# more", head, rows[0], "#", rows[1])
    table = read_published(path)
    assert table["label"].tolist() == ["C# codec"] * 2
    assert table["source"].tolist() == ["Team #1"] * 2
    assert table["psnr_rgb"].tolist() == [30, 32]
    again = tmp_path / "again.csv"
    write_frame(again, collect_published([(path, "Group #2")]))
    assert read_published(again)["source"].tolist() == ["Group #2"] * 2
    path = written(tmp_path / "t.csv", head, '"#1",,,0.1,30')
    with pytest.raises(InputError, match="a curve whose name begins with #; give it another name"):
        read_published(path)


def test_points_outside_the_published_range_do_not_count(published):
    rd = points(published, "jpeg420", "jpeg_plain").assign(bpp=50.0)
    assert calibrate(rd, published).empty


def test_a_point_is_held_to_the_curve_at_its_psnr(published):
    curve = published[published["curve"] == "factorized_prior"]
    first = curve.iloc[2]
    assert rate_over(curve, 1.2 * first["bpp"], first["psnr_rgb"]) == pytest.approx(20)
    for outside in (curve["psnr_rgb"].min() - 0.1, curve["psnr_rgb"].max() + 0.1):
        assert np.isnan(rate_over(curve, 1.0, outside))


def test_between_its_points_a_curve_is_interpolated_by_pchip():
    curve = pd.DataFrame({"psnr_rgb": [32.0, 30.0, 31.0], "bpp": np.exp([3.0, 0.0, 1.0])})
    # Fritsch & Butland: slopes 1/2 at 30 dB and 4/3 at 31 dB, and a cubic between the points.
    log_rate = (0 + 1) / 2 + (1 / 2 - 4 / 3) / 8
    assert rate_over(curve, 0.9 * np.exp(log_rate), 30.5) == pytest.approx(-10)


@pytest.mark.parametrize("column", ["label", "drawn"])
def test_a_curve_has_one_label_and_is_drawn_or_not(tmp_path, column):
    path = tmp_path / "curves.csv"
    path.write_text(f"codec,{column},bpp,psnr_rgb\na,1,0.1,30\na,0,0.2,31\n")
    with pytest.raises(InputError, match=f"the curve a has more than one {column}"):
        read_published(path)


def test_the_figure_names_published_curves(published, tmp_path):
    rd = points(published, "jpeg420", "jpeg").assign(n_images=24)
    plot_rd(rd, tmp_path, published=published)
    text = (tmp_path / "rd_curve.svg").read_text(encoding="utf-8")
    assert "factorized prior, published" in text
    assert "BPG 4:4:4, published" in text


def test_another_table_is_refused(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a table of published curves"):
        read_published(tmp_path / "x.csv")
    with pytest.raises(InputError, match=r"missing\.csv does not exist"):
        read_published(tmp_path / "missing.csv")


@pytest.mark.parametrize(
    ("codec", "qualities", "tolerance"),
    [
        ("jpeg_plain", (10, 50, 90), 0.2),
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
    assert f"{codec} minus the published {COUNTERPARTS[codec]}" in done.stdout
    calibration = calibrate(read_rd(tmp_path / "rd.csv"), published)
    assert len(calibration) == 2
    assert (calibration["points"] == len(qualities)).all()
    assert calibration["largest_difference_db"].abs().max() < tolerance


CSV = "codec,bpp,psnr_rgb,ms_ssim_rgb\nnew,0.2,30,0.9\nnew,0.4,32,0.95\nnew,0.8,35,0.98\n"
JSON = {
    "name": "bmshj2018-factorized",
    "description": "Inference (ans)",
    "results": {
        "psnr-rgb": [26.9, 28.2, 29.6],
        "ms-ssim-rgb": [0.91, 0.94, 0.96],
        "bpp": [0.12, 0.19, 0.29],
        "encoding_time": [0.03, 0.02, 0.04],
    },
}


@pytest.fixture
def theirs(tmp_path):
    """Two files of others: a CSV, and a JSON file of CompressAI."""
    (tmp_path / "new.csv").write_text(CSV)
    (tmp_path / "factorized.json").write_text(json.dumps(JSON))
    return tmp_path / "new.csv", tmp_path / "factorized.json"


def collect(files, sources, out):
    return run_script("collect_curves", *files, "--source", *sources, "--out", out)


def test_curves_of_others_are_named_after_their_source(theirs, tmp_path):
    out = tmp_path / "published.csv"
    done = collect([TABLE, *theirs], ["", "Smith 2024, table 3", "CompressAI"], out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "new, Smith 2024, table 3: 3 points" in done.stdout
    table = read_published(out)
    names = {"new (Smith 2024, table 3)", "bmshj2018-factorized (CompressAI)", "factorized_prior"}
    assert names <= set(table["curve"])
    new = table[table["curve"] == "bmshj2018-factorized (CompressAI)"]
    assert new["bpp"].tolist() == JSON["results"]["bpp"]
    assert new["psnr_rgb"].tolist() == JSON["results"]["psnr-rgb"]
    assert new["ms_ssim_rgb"].tolist() == JSON["results"]["ms-ssim-rgb"]
    # What is collected is such a table itself.
    again = collect([out], [""], tmp_path / "again.csv")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again.csv").read_bytes() == out.read_bytes()


def test_they_are_drawn_and_compared_and_never_in_our_table(published, theirs, tmp_path):
    rd = points(published, "jpeg420", "jpeg").assign(n_images=24)
    ours = points(published, "factorized_prior", "balle2017", filters=128, seed=1)
    rd = pd.concat([rd, ours.assign(n_images=24)])
    write_frame(tmp_path / "rd.csv", rd)
    before = (tmp_path / "rd.csv").read_bytes()
    table = tmp_path / "published.csv"
    assert collect(theirs, ["Smith 2024", "CompressAI"], table).returncode == 0
    done = run_script(
        *("compare_published", "--rd", tmp_path / "rd.csv", "--published", table),
        *("--out", tmp_path),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "BD-rate of balle2017-f128-s1 against new, Smith 2024: " in done.stdout
    bd = read_bd(tmp_path / "bd_rate_published.csv")
    row = bd.query("codec == 'balle2017-f128-s1' and anchor == 'new (Smith 2024)'").iloc[0]
    anchor = read_published(table).query("curve == 'new (Smith 2024)'")
    curve = read_rd(tmp_path / "rd.csv").query("codec == 'balle2017'")
    expected = bd_delta(curve, anchor, "psnr_rgb")["bd_rate_percent"]
    assert row["bd_rate_percent"] == pytest.approx(expected)
    done = run_script(
        *("plot", "--rd", tmp_path / "rd.csv", "--published", table, "--out", tmp_path)
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "rd_curve.svg").read_text(encoding="utf-8")
    assert "new, Smith 2024" in text
    assert "bmshj2018-factorized, CompressAI" in text
    assert (tmp_path / "rd.csv").read_bytes() == before
    others = read_published(table)
    spec = json.JSONDecoder().raw_decode(chart_html(rd, others).split("spec = ")[1])[0]
    encoding = spec["hconcat"][0]["layer"][0]["encoding"]
    looks = [
        (label, colour, tuple(dash))
        for label, colour, dash in zip(
            encoding["color"]["scale"]["domain"],
            encoding["color"]["scale"]["range"],
            encoding["strokeDash"]["scale"]["range"],
            strict=True,
        )
    ]
    assert encoding["strokeDash"]["scale"]["domain"] == [label for label, _, _ in looks]
    assert len({look[1:] for look in looks}) == len(looks) == 4
    sentences = summary_sentences(rd, bd, others)
    assert any("than new, Smith 2024" in sentence for sentence in sentences)
    assert "new, Smith 2024" in chart_html(rd, others)


@pytest.mark.parametrize("name", ["balle2017-f128-s1", "balle2017", "balle2017-f8 (x-s1)"])
def test_a_curve_of_others_may_have_the_name_of_ours(published, tmp_path, name):
    """As the results of another copy of this program have."""
    rd = points(published, "factorized_prior", "balle2017", filters=128, seed=1)
    rd = rd.assign(n_images=24).astype({"filters": "Int64", "seed": "Int64"})
    (tmp_path / "x.csv").write_text(CSV.replace("new", name))
    others = read_published(tmp_path / "x.csv", "theirs-f1")
    bd = bd_against_published(rd, others)
    assert f"{name}, theirs-f1" in " ".join(summary_sentences(rd, bd, others))
    plot_rd(rd, tmp_path, published=others)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "codec,bpp\nnew,1\n", "not a table of published curves: it lacks psnr_rgb"),
        ("x.csv", "codec,bpp,psnr_rgb\n", "holds no point of a curve"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,0,30\n", "new has the bpp 0; it must be more than 0"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,,30\n", "new has the bpp nan; it must be more than 0"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,1,much\n", "new has the psnr_rgb much; it must be"),
        ("x.csv", "codec,bpp,ms_ssim_rgb\nnew,1,13\n", "from 0 to 1, and not in dB"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,1,1e308\n", "has the psnr_rgb 1e+308; it must be from"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,True,30\n", "bpp has values that are not numbers"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,1,True\n", "new has the psnr_rgb True; it must be"),
        ("x.csv", "codec,bpp,psnr_rgb,drawn\nnew,1,30,yes\n", "new has drawn yes; it must be 0"),
        ("x.csv", "codec,bpp,psnr_rgb\nnew,1,30\nnew,1.0,30\n", "the same point twice, at 1.0 bpp"),
        ("x.csv", "codec,bpp,psnr_rgb\n ,1,30\n", "a curve without a name in the column codec"),
        (
            "x.csv",
            "codec,label,bpp,psnr_rgb\na,X,1,30\nb,X,2,33\n",
            "the curves a (me) and b (me) have the same label, X, me; change one",
        ),
        ("x.json", "[]", "holds no results as CompressAI writes them"),
        ("x.json", "{", "holds no results as CompressAI writes them"),
        ("x.json", '{"results": {"bpp": [1]}}', "it lacks bpp, or psnr-rgb and ms-ssim-rgb"),
        ("x.json", '{"bpp": [1, 2], "psnr-rgb": [30]}', "holds no results as CompressAI writes"),
        ("x.json", '{"bpp": [1], "psnr-rgb": [Infinity]}', "x has the psnr_rgb inf; it must be"),
        ("x.json", '{"bpp": [true], "psnr-rgb": [30]}', "x has the bpp True; it must be more than"),
    ],
)
def test_a_file_that_cannot_be_meant_is_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    done = collect([tmp_path / name], ["me"], tmp_path / "out.csv")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out.csv").exists()


def test_rounded_rates_may_be_equal(tmp_path):
    path = written(tmp_path / "t.csv", "codec,bpp,psnr_rgb", "x,0.1,30", "x,0.1,30.2")
    assert read_published(path)["psnr_rgb"].tolist() == [30, 30.2]


def test_a_json_without_a_name_is_called_like_its_file(tmp_path):
    (tmp_path / "x.json").write_text('{"name": null, "bpp": [1], "psnr-rgb": [30]}')
    assert read_published(tmp_path / "x.json")["curve"].tolist() == ["x"]


def test_what_is_measured_may_not_be_called_like_what_was_published(published):
    """The report could not tell them apart."""
    external = {"evaluation": {"curves": None, "external": {"bpg444": {}}}}
    table = ROOT / "workflow/resources/published_kodak.csv"
    with pytest.raises(InputError, match=r"evaluation\.external\.bpg444 has the name of a publ"):
        curve_files({"test_images": "kodak"} | external, str(table))
    assert curve_files({"test_images": "builtin"} | external, str(table)) == []
    rd = points(published, "bpg444", "bpg444").assign(n_images=24)
    with pytest.raises(InputError, match="bpg444 is measured here and published"):
        bd_against_published(rd, published)


def test_a_measure_may_be_missing(published, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"bpp": [0.1, 0.5, 1], "psnr-rgb": [28, 33, 36]}))
    others = read_published(tmp_path / "x.json", "me")
    assert others["label"].unique().tolist() == ["x, me"]
    assert others["ms_ssim_rgb_db"].isna().all()
    rd = points(published, "jpeg420", "jpeg").assign(n_images=24)
    plot_rd(rd, tmp_path, published=others)
    bd = bd_against_published(rd, others).set_index("metric")
    assert bd.loc["ms_ssim_rgb_db", "reason"] == "fewer than 3 points"
    assert not np.isnan(bd.loc["psnr_rgb", "bd_rate_percent"])


def test_two_curves_of_one_name_need_two_sources(theirs, tmp_path):
    other = tmp_path / "ms_ssim.json"
    shutil.copy(theirs[1], other)
    done = collect([theirs[1], other], ["CompressAI", "CompressAI"], tmp_path / "out.csv")
    assert done.returncode == 2
    assert "ms_ssim.json has the curve bmshj2018-factorized (CompressAI), and so has" in done.stderr
    done = collect([theirs[1], other], ["CompressAI", "CompressAI, MS-SSIM"], tmp_path / "out.csv")
    assert done.returncode == 0, done.stderr
    done = collect([theirs[1], other], ["CompressAI"], tmp_path / "out.csv")
    assert "2 files and 1 sources; give one source per file" in done.stderr


def config(test_images, curves):
    return {"test_images": test_images, "evaluation": {"curves": curves, "external": {}}}


def test_the_published_curves_are_there_on_kodak_alone(theirs):
    name, file = "table.csv", str(theirs[0])
    new = {"file": file, "source": "me"}
    assert curve_files(config("kodak", None), name) == [(name, "")]
    assert curve_files(config("builtin", None), name) == []
    assert curve_files(config("input/kodak", None), name) == []
    assert curve_files(config("kodak", []), name) == []
    assert curve_files(config("kodak", [new]), name) == [(file, "me")]
    assert curve_files(config("kodak", [{"file": "published"}, new]), name) == [
        (name, ""),
        (file, "me"),
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"file": "published"}, r"curves\[0\].file is published; use it only with test_images"),
        (
            {"file": "nowhere.csv", "source": "me"},
            "nowhere.csv, which is not a file; give a CSV or",
        ),
        ({"file": "FILE"}, r"evaluation.curves\[0\].source must be given; say who published"),
        ({"file": "FILE", "source": " "}, "source must be given"),
    ],
)
def test_mistakes_about_curves_are_found_before_the_run(theirs, entry, message):
    if entry["file"] == "FILE":
        entry = entry | {"file": str(theirs[0])}
    with pytest.raises(InputError, match=message):
        curve_files(config("builtin", [entry]), "table.csv")
    good = {"file": str(theirs[0]), "source": "me"}
    with pytest.raises(InputError, match="has a file twice"):
        curve_files(config("builtin", [good, good]), "table.csv")


def parse_json_file(path, metric):
    """What CompressAI's plot tool takes from a file (compressai/utils/plot)."""
    content = json.loads(path.read_text())
    results = content["results"]
    values = np.array(results[f"{metric}-rgb"])
    values = -10 * np.log10(1 - values) if metric == "ms-ssim" else values
    return content["name"], results["bpp"], values


@pytest.fixture
def exported(published, tmp_path):
    """Folder of the curves of an rd.csv; and that table."""
    ours = points(published, "factorized_prior", "balle2017", filters=128, seed=1)
    jpeg = points(published, "jpeg420", "jpeg").iloc[::-1]
    # A point without any error has no PSNR.
    perfect = jpeg.iloc[:1].assign(point=100, bpp=9.0, psnr_rgb=np.nan)
    rd = pd.concat([ours, jpeg, perfect]).assign(encoder="an encoder", encode_s=0.5)
    rd.loc[rd["codec"] == "balle2017", "encoder"] = [f"model {n}" for n in range(len(ours))]
    write_frame(tmp_path / "rd.csv", rd)
    done = run_script("export_curves", "--rd", tmp_path / "rd.csv", "--out", tmp_path / "exported")
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path / "exported", rd


def test_without_a_curve_to_export_the_folder_is_empty(published, tmp_path):
    rd = points(published, "jpeg420", "jpeg").assign(psnr_rgb=np.nan, encoder="an encoder")
    write_frame(tmp_path / "rd.csv", rd)
    done = run_script("export_curves", "--rd", tmp_path / "rd.csv", "--out", tmp_path / "exported")
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "exported").iterdir()) == []


def test_one_test_set_is_compared(published, tmp_path):
    """The curves were measured on one; the same codec does better or worse on others."""
    kodak = points(published, "jpeg420", "jpeg_plain").assign(n_images=24)
    write_frame(tmp_path / "rd.csv", pd.concat([kodak, kodak.assign(testset="other")]))
    arguments = ["compare_published", "--rd", tmp_path / "rd.csv", "--published", TABLE]
    arguments += ["--out", tmp_path]
    done = run_script(*arguments)
    assert done.returncode == 2
    assert "choose a test set with --testset: kodak, other" in done.stderr
    assert run_script(*arguments, "--testset", "kodak").returncode == 0
    assert set(read_bd(tmp_path / "bd_rate_published.csv")["testset"]) == {"kodak"}


def test_two_curves_of_one_file_name_are_named(published, tmp_path):
    rd = points(published, "jpeg420", "jpeg").assign(encoder="an encoder")
    both = [rd.assign(testset="set", codec="x-jpeg"), rd.assign(testset="set-x")]
    write_frame(tmp_path / "rd.csv", pd.concat(both))
    done = run_script("export_curves", "--rd", tmp_path / "rd.csv", "--out", tmp_path / "exported")
    assert done.returncode == 2
    assert "rd.csv: x-jpeg on set and jpeg on set-x would both be written to" in done.stderr
    assert not (tmp_path / "exported").exists()


def test_our_curves_have_the_form_of_compressai(exported, tmp_path):
    folder, rd = exported
    assert sorted(path.name for path in folder.iterdir()) == [
        "balle2017-f128-s1.json",
        "jpeg.json",
    ]
    name, rates, psnrs = parse_json_file(folder / "jpeg.json", "psnr")
    expected = rd[(rd["codec"] == "jpeg") & rd["psnr_rgb"].notna()].sort_values("bpp")
    assert name == "JPEG 4:2:0"
    assert rates == expected["bpp"].tolist()
    assert psnrs.tolist() == expected["psnr_rgb"].tolist()
    _, _, decibels = parse_json_file(folder / "jpeg.json", "ms-ssim")
    assert decibels == pytest.approx(expected["ms_ssim_rgb_db"].to_numpy(float))
    results = json.loads((folder / "jpeg.json").read_text())["results"]
    assert results["encoding_time"] == [0.5] * len(expected)
    assert "decoding_time" not in results
    described = {
        path.stem: json.loads(path.read_text())["description"] for path in folder.iterdir()
    }
    assert described["jpeg"] == "an encoder"
    assert described["balle2017-f128-s1"].startswith("model 0; model 1; model 2")
    again = read_published(folder / "jpeg.json", "us")
    assert again["psnr_rgb"].tolist() == expected["psnr_rgb"].tolist()
