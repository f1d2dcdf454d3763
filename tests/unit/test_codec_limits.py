"""Pictures that a codec cannot hold: it lacks them, and the tables say so."""

import io

import numpy as np
import pandas as pd
import pytest
from balle2017.coding.bitstream import MAX_SIDE
from balle2017.errors import CodecLimitError, InputError
from balle2017.files import read_json, read_table, write_json
from balle2017.results import conventional
from balle2017.results.aggregation import (
    bd_delta,
    bd_per_image,
    bd_table,
    collect,
    collect_images,
    read_images,
    read_rd,
    summary_text,
)
from balle2017.results.comparison import compare, draw_sheet
from balle2017.results.conventional import CODECS
from balle2017.results.evaluation import (
    CodecPoint,
    evaluate_images,
    point_text,
    run_evaluation,
    summarize,
)
from balle2017.results.plotting import plot_images, plot_rd, rate_limit
from balle2017.results.published import calibrate
from balle2017.results.report import comparison_data, summary_sentences
from balle2017.results.tables import write_frame
from helpers import ROOT, make_picture, run_script
from PIL import Image

WIDE, SMALL = "wide.png", "small.png"
RATES = [0.25, 0.5, 1, 2]


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture
def two_pictures(tmp_path):
    """Folder with a picture beyond WebP, and a usual one."""
    folder = tmp_path / "two"
    folder.mkdir()
    Image.fromarray(make_picture(1, 8, 17000)).save(folder / WIDE)
    Image.fromarray(make_picture(2)).save(folder / SMALL)
    return folder


def evaluate_codec(images, out, codec, *quality):
    return run_script(
        *("evaluate_codec", "--codec", codec, "--quality", *quality),
        *("--images", images, "--out", out, "--testset", "t"),
    )


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.max_side])
def test_a_side_may_be_as_long_as_the_codec_says(codec):
    codec = CODECS[codec]
    pixels = noise(1, codec.max_side)
    for picture in (pixels, pixels.transpose(1, 0, 2)):
        assert codec.decode(codec.encode(picture, 50)).shape == picture.shape
    for height, width in ((1, codec.max_side + 1), (codec.max_side + 1, 1)):
        with pytest.raises(CodecLimitError, match=f"has at most {codec.max_side} pixels a side"):
            codec.encode(noise(height, width), 50)


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if not codec.max_side])
def test_other_codecs_take_any_side(codec):
    codec = CODECS[codec]
    assert codec.decode(codec.encode(noise(1, 70_000), 1)).shape == (1, 70_000, 3)


@pytest.mark.parametrize(
    ("codec", "quality", "shape"),
    [("jpeg444", 80, (512, 512)), ("jpeg444", 95, (512, 512)), ("jpeg", 90, (8, 65_500))],
)
def test_noise_is_coded_though_its_file_is_large(codec, quality, shape):
    codec, pixels = CODECS[codec], noise(*shape)
    usual = conventional.ImageFile.MAXBLOCK
    assert codec.decode(codec.encode(pixels, quality)).shape == pixels.shape
    assert usual == conventional.ImageFile.MAXBLOCK


@pytest.mark.parametrize("name", CODECS)
def test_files_are_those_of_pillow_alone(name):
    codec, pixels, buffer = CODECS[name], make_picture(1), io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec.format, **codec.options, **codec.quality(2))
    assert codec.encode(pixels, 2) == buffer.getvalue()


def test_errors_of_encoder_and_decoder_are_named(monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("out of tables")

    with pytest.raises(CodecLimitError, match="the WEBP decoder fails: cannot identify"):
        CODECS["webp"].decode(b"RIFF")
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(CodecLimitError, match="the AVIF encoder fails: out of tables"):
        CODECS["avif"].encode(noise(8, 8), 50)


@pytest.mark.parametrize(
    ("codec", "side"), [("webp", 17_000), ("jpeg", 65_501), ("avif", 40_000), ("avif", 70_000)]
)
def test_a_codec_lacks_what_it_cannot_hold(tmp_path, two_pictures, codec, side):
    Image.fromarray(make_picture(1, 1, side)).save(two_pictures / WIDE)
    out = tmp_path / "out"
    stale = out / "bitstreams" / "50" / f"wide{CODECS[codec].suffix}"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"of an earlier picture")
    done = evaluate_codec(two_pictures, out, codec, 50)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 images, without wide.png\n")
    small, wide = read_table(out / "per_image.csv")
    reason = f"{CODECS[codec].format} has at most {CODECS[codec].max_side} pixels a side"
    assert wide["note"] == f"not coded, {reason}"
    assert {name for name, cell in wide.items() if cell} == {
        "point", "image", "width", "height", "pixel_hash", "note"
    }  # fmt: skip
    (summary,) = read_json(out / "summary.json")
    assert (summary["n_images"], summary["lacking"]) == (1, WIDE)
    assert f"1 of 2 images: not coded, {reason}" in summary["note"]
    for measure in ("bpp", "psnr_rgb"):
        assert summary[measure] == float(small[measure])
    assert not stale.exists()


def test_the_model_lacks_what_its_format_cannot_hold(tmp_path, small_model, two_pictures):
    Image.fromarray(make_picture(1, 1, MAX_SIDE + 1)).save(two_pictures / WIDE)
    out = tmp_path / "out"
    done = run_script("evaluate", "--model", small_model, "--images", two_pictures, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "1 images, without wide.png; payload and estimate differ by" in done.stdout
    (summary,) = read_json(out / "summary.json")
    assert (summary["n_images"], summary["lacking"]) == (1, WIDE)
    assert "not coded, 65536x1 is too large: at most 65535 pixels a side" in summary["note"]
    assert [path.name for path in (out / "reconstructions").iterdir()] == [SMALL]


def limited(max_side, out):
    """A codec that gives the pixels themselves, up to some side."""

    def encode(pixels):
        if max(pixels.shape) > max_side:
            raise CodecLimitError("too long")
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue(), 8 * buffer.tell()

    identity = {"testset": "t", "codec": "balle2017", "point": 1, "filters": 8, "seed": 1}
    return CodecPoint(
        *(identity, encode, CODECS["jpeg"].decode, ".x", out),
        keep_reconstructions=True,
        header_bytes=0,
        estimate_bits=float,
    )


def test_a_codec_that_has_no_picture_at_all(tmp_path, two_pictures):
    (summary,) = run_evaluation(two_pictures, [limited(5, tmp_path / "ours")])
    assert (summary["n_images"], summary["lacking"]) == (0, f"{SMALL}; {WIDE}")
    assert summary["bpp"] is summary["psnr_rgb"] is summary["rate_difference"] is None
    assert point_text(summary) == f"balle2017 1: 0 images, without {SMALL}; {WIDE}"
    assert evaluate_codec(two_pictures, tmp_path / "jpeg", "jpeg", 10, 50, 90).returncode == 0
    results = tmp_path / "results"
    scripts_succeed(two_pictures, tmp_path, tmp_path / "ours", results)
    assert list((results / "comparisons").iterdir()) == []
    text = (results / "report.html").read_text(encoding="utf-8")
    assert "Images at about the same file size" not in text
    assert "f8-s1 lacks small.png; wide.png at 1 of its 1 points" in (
        results / "summary.txt"
    ).read_text(encoding="utf-8")
    nothing = read_rd(results / "rd.csv")
    nothing = nothing[nothing["codec"] == "balle2017"]
    with pytest.raises(InputError, match="no codec could code any test image"):
        plot_rd(nothing, tmp_path)


def scripts_succeed(images, evaluations, shown, results):
    """Run what comes after the evaluations."""
    table, bd = results / "rd.csv", results / "bd_rate_per_image.csv"
    run = evaluations / "0.0100-f8-s1" / "run.json"
    texts = dict.fromkeys(("model_sha256", "device", "cpu", "precision_policy"), "")
    settings = {"lambda_rd": 0.01, "num_filters": 8, "num_latents": 8, "seed": 1, "threads": 1}
    numbers = {"steps": 1, "seconds": 1, "best": {"val_loss": 1}}
    write_json(run, texts | numbers | {"settings": settings, "fingerprint": {"init_from": None}})
    steps = [
        ("aggregate", evaluations, "--out", results),
        ("plot", "--rd", table, "--images", results / "per_image.csv", "--out", results),
        (
            *("compare_images", "--images", images, "--evaluation", shown, "--rd", table),
            *("--bd", bd, "--out", results / "comparisons"),
        ),
        (
            *("report", "--results", results, "--images", images, "--evaluation", shown),
            *("--runs", run, "--template", ROOT / "workflow" / "report" / "report.html.j2"),
        ),
    ]
    for step in steps:
        if step[0] == "report":
            (results / "training_curves.svg").write_text("<svg></svg>")
        done = run_script(*step)
        assert (done.returncode, done.stderr) == (0, ""), step[0]
    write_json(run, {})
    done = run_script(*steps[-1])
    assert done.returncode == 2
    assert f"{run} is not a record of a training: settings is missing" in done.stderr


def test_the_results_of_a_picture_beyond_webp_are_complete(tmp_path, two_pictures):
    ours = tmp_path / "ours"
    run_evaluation(two_pictures, [limited(20_000, ours)])
    for codec in ("jpeg", "webp"):
        done = evaluate_codec(two_pictures, tmp_path / codec, codec, 10, 50, 90)
        assert done.returncode == 0, done.stderr
    results = tmp_path / "results"
    scripts_succeed(two_pictures, tmp_path, ours, results)
    rd = read_rd(results / "rd.csv")
    assert dict(zip(rd["codec"], rd["lacking"], strict=True)) == {
        "balle2017": "", "jpeg": "", "webp": WIDE
    }  # fmt: skip
    assert dict(zip(rd["codec"], rd["n_images"], strict=True)) == {
        "balle2017": 2, "jpeg": 2, "webp": 1
    }  # fmt: skip
    pairs = pd.read_csv(results / "bd_rate.csv").set_index(["codec", "anchor", "metric"])
    assert pairs.loc[("webp", "jpeg", "psnr_rgb"), "reason"] == "means over other images"
    images = read_images(results / "per_image.csv")
    lost = images[images["bpp"].isna()]
    assert set(lost["image"] + lost["codec"]) == {f"{WIDE}webp"}
    assert images["bytes"].notna().sum() == 2 * 4 + 3
    assert ".0," not in ",".join(
        pd.read_csv(results / "per_image.csv", dtype=str)["bytes"].dropna()
    )
    text = (results / "summary.txt").read_text(encoding="utf-8")
    assert "t, means over 1 to 2 images" in text
    assert "  webp lacks wide.png at 3 of its 3 points\n" in text
    figure = (results / "rd_curve.svg").read_text(encoding="utf-8")
    assert "mean of 1 to 2 images" in figure
    assert ">WebP (lacks images)<" in figure
    assert ">JPEG 4:2:0<" in figure
    report = (results / "report.html").read_text(encoding="utf-8")
    assert "On t, WebP lacks wide.png at 3 of its 3 points; per_image.csv says why." in report
    assert "WebP: not coded, WEBP has at most 16383 pixels a side" in report
    assert {path.name for path in (results / "comparisons").iterdir()} == {WIDE, SMALL}


def row(image, **measures):
    measured = {"bytes": 10, "bpp": 1.0, "psnr_rgb": 30.0, "ms_ssim_rgb": 0.9, "note": ""}
    return {"image": image, **measured, **measures}


def test_means_are_over_the_coded_pictures():
    lost = [{"image": name, "note": "not coded, too long"} for name in ("z", "c")]
    summary = summarize([row("a"), lost[0], row("b", bpp=3.0, psnr_rgb=40.0), lost[1]])
    assert (summary["bpp"], summary["psnr_rgb"], summary["n_images"]) == (2, 35, 2)
    assert summary["lacking"] == "c; z"
    assert summary["note"] == "2 of 4 images: not coded, too long"
    assert summarize([row("a")])["lacking"] == ""


def test_an_error_on_the_first_pixels_is_not_the_picture_s(tmp_path, two_pictures):
    def encode(pixels):
        if max(pixels.shape) <= 64:
            raise CodecLimitError("too small")
        return usual.encode(pixels)

    usual = limited(20_000, tmp_path)
    point = CodecPoint(usual.identity, encode, usual.decode, ".x", tmp_path)
    ((made,),) = evaluate_images([two_pictures / WIDE], [point])
    assert made["psnr_rgb"] == np.inf


def curve(codec, lacking="", rates=RATES):
    names = [lacking] * len(rates) if isinstance(lacking, str) else lacking
    return [
        {"testset": "t", "codec": codec, "point": rate, "bpp": rate, "psnr_rgb": 30 + 6 * rate}
        | {"ms_ssim_rgb": 0.9, "n_images": 2 if name == "" else 1, "lacking": name}
        for rate, name in zip(rates, names, strict=True)
    ]


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("", "", ""),
        (WIDE, WIDE, ""),
        (WIDE, "", "means over other images"),
        ("", WIDE, "means over other images"),
        (WIDE, SMALL, "means over other images"),
        (["", "", "", WIDE], "", "means over other images"),
        (["", "", "", WIDE], ["", "", "", WIDE], "means over other images"),
    ],
)
def test_only_curves_over_the_same_images_are_compared(one, other, reason):
    delta = bd_delta(*(pd.DataFrame(curve("c", lost)) for lost in (one, other)), "psnr_rgb")
    assert delta["reason"] == reason
    assert delta["bd_rate_percent"] == (None if reason else pytest.approx(0))


def test_a_point_without_numbers_does_not_count(tmp_path):
    # Nothing at the highest rate: the others can be compared.
    rows = curve("a", ["", "", "", f"{SMALL}; {WIDE}"])
    rows[3] |= {"bpp": None, "psnr_rgb": None, "ms_ssim_rgb": None, "n_images": 0}
    write_json(tmp_path / "summary.json", rows + curve("b"))
    rd = collect([tmp_path])
    bd = bd_table(rd)
    quality = bd[bd["metric"] == "psnr_rgb"]
    assert set(quality["reason"]) == {""}
    assert set(quality["points"]) == {3, 4}
    text = summary_text(rd, bd)
    assert "t, means over 2 images" in text
    assert "nan" not in text
    plot_rd(rd, tmp_path)


def test_results_without_any_error_are_drawn(tmp_path):
    rows = [point | {"psnr_rgb": None, "ms_ssim_rgb": None} for point in curve("a")]
    write_json(tmp_path / "summary.json", rows)
    rd = collect([tmp_path])
    assert "nan" not in summary_text(rd, bd_table(rd)).lower()
    plot_rd(rd, tmp_path)
    assert ">a<" in (tmp_path / "rd_curve.svg").read_text(encoding="utf-8")


def test_published_curves_are_over_all_images():
    published = pd.DataFrame(curve("x")).assign(curve="jpeg420", ms_ssim_rgb_db=10.0)
    published = published.drop(columns="lacking")
    lost = pd.DataFrame(curve("jpeg_plain", WIDE)).assign(ms_ssim_rgb_db=10.0)
    assert bd_delta(lost, published, "psnr_rgb")["reason"] == "means over other images"
    assert calibrate(lost, published).empty
    assert len(calibrate(lost.assign(lacking=""), published)) == 2


def test_a_table_of_earlier_versions_lacks_nothing(tmp_path):
    write_json(
        tmp_path / "summary.json",
        [
            {name: cell for name, cell in point.items() if name != "lacking"}
            for point in curve("jpeg")
        ],
    )
    rd = collect([tmp_path])
    assert set(rd["lacking"]) == {""}
    write_frame(tmp_path / "rd.csv", rd.drop(columns="lacking"))
    assert set(read_rd(tmp_path / "rd.csv")["lacking"]) == {""}


def test_an_image_that_a_codec_lacks_has_no_delta_and_a_panel(tmp_path):
    for codec, extra in (("balle2017", {"filters": 8, "seed": 1}), ("jpeg", {})):
        points = [point | extra for point in curve(codec)]
        rows = [
            {"point": point["point"], "image": image, "bytes": 9, "bpp": point["bpp"]}
            | {"psnr_rgb": point["psnr_rgb"], "ms_ssim_rgb": None}
            for point in points
            for image in (SMALL, WIDE, "none.png")
        ]
        for lost in rows:
            if lost["image"] == "none.png" or (codec, lost["image"]) == ("jpeg", WIDE):
                lost |= dict.fromkeys(("bytes", "bpp", "psnr_rgb"))
        write_json(tmp_path / codec / "summary.json", points)
        pd.DataFrame(rows).to_csv(tmp_path / codec / "per_image.csv", index=False)
    images = collect_images([tmp_path])
    deltas = bd_per_image(images).dropna(subset=["bd_rate_percent"])
    assert set(deltas["image"]) == {SMALL}
    assert rate_limit(images[images["image"] == "none.png"]) == 1
    plot_images(images, tmp_path)
    text = (tmp_path / "rd_per_image.svg").read_text(encoding="utf-8")
    assert all(f">{name}<" in text for name in (SMALL, WIDE, "none.png"))


def test_a_sheet_shows_why_a_codec_is_missing(tmp_path, two_pictures):
    run_evaluation(two_pictures, [limited(20_000, tmp_path / "ours")])
    rd = collect([tmp_path / "ours"])
    bd = pd.DataFrame(columns=["codec", "metric", "image", "bd_rate_percent"])
    sheets = {sheet.image: sheet for sheet in compare(two_pictures, tmp_path / "ours", rd, bd)}
    captions = [panel.caption(sheets[WIDE].original) for panel in sheets[WIDE].panels]
    assert captions[2] == "WebP\nnot coded, WEBP has at most 16383 pixels a side"
    assert (sheets[WIDE].panels[2].pixels == 255).all()
    draw_sheet(sheets[WIDE], tmp_path / "sheet.png")
    data = comparison_data(sheets.values())
    kinds = {entry["image"]: entry["versions"][0]["source"][:15] for entry in data}
    assert kinds == {WIDE: "data:image/png;", SMALL: "data:image/webp"}
    assert [version["title"] for version in data[0]["versions"]][3] == "WebP"


def test_the_report_counts_the_images_of_the_model(tmp_path):
    rows = [point | {"filters": 8, "seed": 1} for point in curve("balle2017", WIDE)]
    rd = pd.DataFrame(rows + curve("jpeg")).assign(
        ms_ssim_rgb_db=10.0, bpp_payload=None, n_images=lambda t: t["n_images"].astype("Int64")
    )
    sentences = summary_sentences(rd, bd_table(rd))
    start = "On 1 image (t), Ballé 2017 (8 filters) cannot be compared with JPEG 4:2:0"
    assert f"{start}: means over other images." in sentences
