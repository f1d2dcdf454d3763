"""The rate-distortion figure: what fits where, and its form for papers."""

import re
import zlib

import numpy as np
import pandas as pd
import pytest
import yaml
from balle2017.errors import InputError
from balle2017.names import MODEL_CODECS
from balle2017.pipeline.experiment import check_config, convert_strings
from balle2017.pipeline.typed import keep_texts
from balle2017.results import plotting
from balle2017.results.aggregation import RD_COLUMNS
from balle2017.results.plotting import PAPER_WIDTHS, SCREEN, paper_look, plot_rd
from balle2017.results.published import read_published
from balle2017.results.style import curve_label, curve_styles
from helpers import ROOT, run_script
from matplotlib.backends.backend_agg import FigureCanvasAgg

PUBLISHED = ROOT / "workflow" / "resources" / "published_kodak.csv"
SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


RATES = np.array([0.2, 0.4, 0.8, 1.6])


def rows(codec, psnr, **identity):
    """A curve of rd.csv."""
    measures = {"bpp": RATES, "psnr_rgb": psnr, "ms_ssim_rgb": 0.95, "ms_ssim_rgb_db": psnr / 2}
    names = {"testset": "t", "codec": codec, "point": RATES, "n_images": 2, "lacking": ""}
    return pd.DataFrame(names | measures | {"filters": pd.NA, "seed": pd.NA} | identity)


def table(names):
    """rd.csv of both coders, and of codecs by name."""
    curves = [
        rows(codec, 30 + index + 3 * np.log2(RATES), filters=128, seed=1)
        for index, codec in enumerate(("balle2017", "balle2017_adaptive"))
    ]
    curves += [rows(name, 28 - index / 2 + 3 * np.log2(RATES)) for index, name in enumerate(names)]
    rd = pd.concat(curves, ignore_index=True)
    return rd.astype({"filters": "Int64", "seed": "Int64"})


CODECS = ["jpeg", "jpeg_plain", "jpeg2000", "jpeg2000_plain", "webp", "avif", "jpegxl"]
LONG = ["a codec with a very long name, in the version of last year", "jpeg"]


def test_names_that_begin_with_an_underscore_are_in_the_legend():
    published = read_published(PUBLISHED)
    published.loc[published["curve"] == "bpg444", "label"] = "_bpg"
    figure = plotting._draw_rd(table(["_mine"]), 2, published, SCREEN)
    (legend,) = figure.legends
    assert {"_bpg", "_mine"} < {text.get_text() for text in legend.get_texts()}


@pytest.mark.parametrize("names", [[], ["jpeg"], CODECS, LONG], ids=len)
@pytest.mark.parametrize(
    "look",
    [SCREEN, paper_look("one"), paper_look("two"), paper_look("5")],
    ids=["screen", "one", "two", "5 inches"],
)
def test_the_legend_is_inside_and_covers_no_panel(names, look):
    figure = plotting._draw_rd(table(names), 2, read_published(PUBLISHED), look)
    FigureCanvasAgg(figure).draw()
    (legend,) = figure.legends
    box, page = legend.get_window_extent(), figure.bbox
    assert figure.get_size_inches()[0] == look.width
    if names is not LONG or look.width > 4:
        assert page.x0 <= box.x0 < box.x1 <= page.x1
    assert page.y0 <= box.y0
    for axis in figure.axes:
        assert box.y1 <= axis.get_tightbbox().y0
        # The panels keep their height, whatever the legend has.
        assert axis.get_window_extent().height > 0.6 * look.panel_height * figure.dpi
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == len(set(texts)) == 2 + len(names) + 3


def test_no_two_of_the_usual_curves_have_one_colour():
    ours = [f"{codec}-f128-s1" for codec in MODEL_CODECS]
    styles = curve_styles([*ours, *CODECS])
    assert len({colour for colour, _ in styles.values()}) == len(styles) == 11
    assert [curve_label(name) for name in ours] == [
        "Ballé 2017, 128 filters",
        "Ballé 2017, 128 filters, adaptive coder",
        "Ballé 2017, 128 filters, refined",
        "Ballé 2017, 128 filters, refined, adaptive coder",
    ]


@pytest.fixture
def drawn(tmp_path):
    """The PDF, as bytes, of some width."""

    def draw(width, folder="a"):
        rd = table(CODECS).assign(encoder="", note="").reindex(columns=RD_COLUMNS)
        rd.to_csv(tmp_path / "rd.csv", index=False)
        done = run_script(
            *("plot", "--rd", tmp_path / "rd.csv", "--out", tmp_path / folder),
            *("--width", width, "--published", PUBLISHED),
        )
        assert (done.returncode, done.stderr) == (0, "")
        return (tmp_path / folder / "rd_curve.pdf").read_bytes()

    return draw


@pytest.mark.parametrize(("width", "inches"), [*PAPER_WIDTHS.items(), ("5.5", 5.5)])
def test_the_pdf_has_the_width_of_a_column_its_fonts_and_no_date(drawn, width, inches):
    data = drawn(width)
    (box,) = re.findall(rb"/MediaBox \[ *([-\d. ]+)\]", data)
    left, _, right, _ = map(float, box.split())
    assert (right - left) / 72 == pytest.approx(inches, abs=0.01)
    assert b"CreationDate" not in data
    # Fonts of type 42 are embedded as TrueType; type 3 is what publishers refuse.
    assert data.count(b"/FontFile2") == data.count(b"/FontDescriptor /FontName") >= 1
    assert b"/Type3" not in data
    # Text is text: a size in points is set for it.
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.S)
    content = b"".join(part for part in map(inflate, streams) if b" Tf" in part)
    sizes = {float(size) for size in re.findall(rb"/F\d+ ([\d.]+) Tf", content)}
    assert min(sizes) >= 7
    assert drawn(width, "b") == data


def inflate(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


@pytest.mark.parametrize("width", ["three", "1", "20", "-3", "nan", ""])
def test_other_widths_are_refused(tmp_path, width):
    with pytest.raises(InputError, match="it must be one, two or a number of inches from 2 to 20"):
        plot_rd(table([]), tmp_path, width=width)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("typed", ["one", "two", "5", "5.5", "'7.16'"])
def test_the_config_takes_names_and_numbers(typed):
    text = (
        f"plot: {{width: {typed}}}\nexperiment: e\ntrain_archive: a\ntest_images: b\nlambdas: [1]"
    )
    config = keep_texts(yaml.safe_load(text), yaml.load(text, yaml.BaseLoader), SCHEMA)
    config = convert_strings(config, SCHEMA)
    check_config(config, SCHEMA)
    assert paper_look(config["plot"]["width"]).width >= 3.5


@pytest.mark.parametrize("typed", ["three", "1", "21", "0.5", "[one]"])
def test_the_config_refuses_other_widths(typed):
    text = (
        f"plot: {{width: {typed}}}\nexperiment: e\ntrain_archive: a\ntest_images: b\nlambdas: [1]"
    )
    config = convert_strings(
        keep_texts(yaml.safe_load(text), yaml.load(text, yaml.BaseLoader), SCHEMA), SCHEMA
    )
    with pytest.raises(InputError, match=r"plot.width is .*; it must be one, two, or a number of"):
        check_config(config, SCHEMA)
