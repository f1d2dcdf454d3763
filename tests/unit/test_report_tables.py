"""What a person reads of the tables: few columns, rounded, codecs by their names."""

import json

import pandas as pd
import pytest
from balle2017.errors import InputError
from balle2017.results import report
from balle2017.results.aggregation import bd_per_image, bd_table
from balle2017.results.seeds import bd_seeds, seed_table

RATES = (0.2, 0.4, 0.8, 1.6)


def curve(codec, factor, filters=None, seed=None):
    return [
        {"testset": "t", "codec": codec, "point": rate, "filters": filters, "seed": seed}
        | {"bpp": rate * factor, "psnr_rgb": 30.123456 + 6 * rate, "ms_ssim_rgb": 0.91234567}
        | {"ms_ssim_rgb_db": 10 + rate, "encode_s": 0.126, "decode_s": None, "n_images": 2}
        for rate in RATES
    ]


def table(*rows):
    frame = pd.DataFrame([row for part in rows for row in part])
    return frame.astype({"filters": "Int64", "seed": "Int64"})


RD = table(
    curve("jpeg", 2),
    curve("balle2017", 1, 8, 1),
    curve("balle2017", 1.5, 8, 2),
    curve("balle2017_adaptive", 0.8, 8, 1),
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"<html></html>", "is not an SVG figure"),
        (b"<svg>\xff</svg>", "is not an SVG figure"),
    ],
)
def test_a_figure_that_is_none_is_named(tmp_path, content, message):
    path = tmp_path / "training_curves.svg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} {message}"):
        report.inline_svg(path)


@pytest.mark.parametrize("content", [b"{% if %}", b"{{ unknown }}", b"\xff"])
def test_a_template_that_is_none_is_named(tmp_path, content):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=f"--template is {path}, which is not a file"):
            report.render(path, {})
    path = tmp_path / "template"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path} is not a template of the report: "):
        report.render(path, {})


def test_points():
    shown = report.points_table(RD)
    assert list(shown.iloc[4]) == [
        "Ballé 2017, 8 filters", "0.2", "0.200", "31.32", "0.9123", "0.126", ""
    ]  # fmt: skip


def test_deltas_are_of_models_against_other_codecs():
    bd = bd_table(RD)
    shown = report.deltas_table(bd, report.anchor_labels(bd, None))
    assert shown["curve"].tolist() == [
        "Ballé 2017, 8 filters",
        "Ballé 2017, 8 filters, seed 2",
        "Ballé 2017, 8 filters, adaptive coder",
    ]
    assert set(shown["compared with"]) == {"JPEG 4:2:0"}
    assert shown["rate difference at equal PSNR"].tolist() == ["-50.0 %", "-25.0 %", "-60.0 %"]


def test_without_other_codecs_or_models_there_are_no_deltas():
    for codec in ("jpeg", "balle2017"):
        bd = bd_table(RD[RD["codec"] == codec])
        assert len(report.deltas_table(bd, report.anchor_labels(bd, None))) == 0


def test_seeds():
    assert len(report.seeds_table(seed_table(RD[RD["seed"] != 2]))) == 0
    shown = report.seeds_table(seed_table(RD))
    assert list(shown.iloc[0])[:6] == [
        "Ballé 2017, 8 filters",
        "0.2",
        "2",
        "0.2500",
        "0.2000",
        "0.3000",
    ]
    bd = bd_table(RD)
    (row,) = report.bd_seeds_table(bd_seeds(bd), report.anchor_labels(bd, None)).values.tolist()
    assert row == ["Ballé 2017, 8 filters", "JPEG 4:2:0", "2", "-37.5 %", "-50.0 %", "-25.0 %"]


def test_images_have_a_column_for_each_model():
    images = pd.concat([RD.assign(image=name) for name in ("b.png", "a.png")])
    shown = report.images_table(bd_per_image(images))
    assert shown["image"].tolist() == ["a.png", "b.png"]
    assert list(shown.columns)[1:] == [
        "Ballé 2017, 8 filters",
        "Ballé 2017, 8 filters, seed 2",
        "Ballé 2017, 8 filters, adaptive coder",
    ]
    assert set(shown["Ballé 2017, 8 filters, seed 2"]) == {"-25.0 %"}


def test_a_sentence_names_the_rate_and_where_it_holds():
    seeds, adaptive = report.summary_sentences(RD, bd_table(RD))
    assert seeds == (
        "On 2 images (t), Ballé 2017 (8 filters, 2 seeds) needs 37.5 % fewer bits than JPEG 4:2:0 "
        "(seeds: -50.0 to -25.0 %) at equal PSNR (31.3 to 39.7 dB)."
    )
    assert adaptive == (
        "On 2 images (t), Ballé 2017 (8 filters, adaptive coder) needs 60.0 % fewer bits than "
        "JPEG 4:2:0 at equal PSNR (31.3 to 39.7 dB)."
    )


def test_a_sentence_lists_several_codecs_from_the_most_saved_to_the_least():
    rd = table(curve("jpeg", 2), curve("webp", 0.8), curve("balle2017", 1, 8, 1))
    (sentence,) = report.summary_sentences(rd, bd_table(rd))
    assert sentence == (
        "On 2 images (t) at equal PSNR (31.3 to 39.7 dB), Ballé 2017 (8 filters) needs "
        "50.0 % fewer bits than JPEG 4:2:0; 25.0 % more than WebP."
    )


def test_bands_leave_the_axes_as_they_are():
    """An area has a scale of its own, which begins at zero."""
    spec = json.JSONDecoder().raw_decode(report.chart_html(RD, None).split("spec = ")[1])[0]
    for panel in spec["hconcat"]:
        scales = [json.dumps(layer["encoding"]["y"]["scale"]) for layer in panel["layer"]]
        assert len(scales) == 3
        assert len(set(scales)) == 1
