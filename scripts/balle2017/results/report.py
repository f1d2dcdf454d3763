"""The report: one HTML file that opens offline, with the results and how they came about."""

import base64
import io
import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import altair as alt
import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from balle2017.errors import InputError
from balle2017.results.comparison import Comparison
from balle2017.results.conventional import WEBP_MAX_SIDE
from balle2017.results.plotting import rate_limit
from balle2017.results.seeds import band, lines, without_seed
from balle2017.results.style import AXES, curve_label, curve_styles
from balle2017.results.tables import count_text, curve_names, is_model, lacking_texts

#: Dashes and greys of published curves. Those that figures leave out are light.
_DASHES = [[6, 3], [2, 2], [8, 2, 2, 2], [12, 3], [6, 2, 2, 2, 2, 2]]
_GREYS = ["#555555", "#888888"]
_LIGHT_GREY = "#c4c4c4"


def anchor_labels(bd: pd.DataFrame, published: pd.DataFrame | None) -> dict[str, str]:
    """Return what the anchors of Bjøntegaard deltas are called.

    Args:
        bd: bd_rate.csv, perhaps followed by bd_rate_published.csv.
        published: published curves, as `read_published` returns them.
    """
    labels = {anchor: curve_label(anchor) for anchor in bd["anchor"].unique()}
    if published is not None:
        labels |= dict(zip(published["curve"], published["label"], strict=True))
    return labels


def summary_sentences(
    rd: pd.DataFrame, bd: pd.DataFrame, published: pd.DataFrame | None = None
) -> list[str]:
    """Return the result in words: a sentence for each model, one for each comparison
    that cannot be made, and one for each curve that lacks images.

    The same models trained from several seeds share a sentence. Of the published curves, the
    sentences name those that the figure shows.

    Args:
        rd: the table rd.csv.
        bd: bd_rate.csv, perhaps followed by bd_rate_published.csv.
        published: published curves, as `read_published` returns them.
    """
    names = curve_names(rd)
    labels = anchor_labels(bd, published)
    sentences = []
    ours = bd[(bd["metric"] == "psnr_rgb") & bd["codec"].map(is_model).astype(bool)]
    # A table without rows has no booleans.
    ours = ours[~ours["anchor"].map(is_model).astype(bool)]
    if published is not None:
        ours = ours[~ours["anchor"].isin(published.loc[published["drawn"] == 0, "curve"])]
    ours = ours.assign(models=ours["codec"].map(without_seed))
    for (testset, models), rows in ours.groupby(["testset", "models"]):
        codecs = rows["codec"].unique()
        seeds = len(codecs)
        name = _in_text(curve_label(models, seeds) if seeds > 1 else curve_label(codecs[0]))
        where = _images_text(rd[(rd["testset"] == testset) & names.isin(codecs)])
        known = rows.groupby("anchor").filter(lambda frame: frame["bd_rate_percent"].notna().all())
        means = known.groupby("anchor")["bd_rate_percent"].mean().sort_values()
        amounts: list[str] = []
        for anchor, mean in means.items():
            bits = "" if amounts else "bits "
            amount = f"{abs(mean):.1f} % {'fewer' if mean < 0 else 'more'} {bits}than"
            amounts.append(f"{amount} {labels[anchor]}")
            if seeds > 1:
                range_ = known.loc[known["anchor"] == anchor, "bd_rate_percent"]
                amounts[-1] += f" (seeds: {range_.min():+.1f} to {range_.max():+.1f} %)"
        if amounts:
            span = f"{known['overlap_low'].min():.1f} to {known['overlap_high'].max():.1f} dB"
            low, high = known["overlap_low"].round(1), known["overlap_high"].round(1)
            within = "within " if low.nunique() > 1 or high.nunique() > 1 else ""
            at = f"at equal PSNR ({within}{span})"
            if len(amounts) == 1:
                sentences.append(f"{where}, {name} needs {amounts[0]} {at}.")
            else:
                sentences.append(f"{where} {at}, {name} needs {'; '.join(amounts)}.")
        sentences += [
            f"{where}, {_in_text(curve_label(row.codec))} cannot be compared with "
            f"{labels[row.anchor]}: {row.reason}."
            for row in rows[rows["bd_rate_percent"].isna()].itertuples()
        ]
    sentences += [
        f"On {testset}, {_in_text(curve_label(codec))} {text}; per_image.csv says why."
        for testset, codec, text in lacking_texts(rd)
    ]
    return sentences


def _in_text(label: str) -> str:
    """Return the label of a curve with its properties in brackets, to stand in a sentence."""
    name, _, properties = label.partition(", ")
    return f"{name} ({properties})" if properties else name


def _images_text(rows: pd.DataFrame) -> str:
    """Return on how many images of which test set the rows of a curve are."""
    return f"On {count_text(rows)} ({rows['testset'].iloc[0]})"


def chart_html(rd: pd.DataFrame, published: pd.DataFrame | None) -> str:
    """Return the interactive rate-distortion chart as a piece of HTML with its scripts.

    Hovering over a point shows its numbers. A click on the legend shows that curve alone.
    """
    drawn = {curve_label(line.name, len(line.seeds)): line for line in lines(rd)}
    styles = curve_styles(line.name for line in drawn.values())
    label_of = {line.name: label for label, line in drawn.items()}
    colours = {label_of[name]: colour for name, (colour, _) in styles.items()}
    table = pd.concat([line.points.assign(curve=label) for label, line in drawn.items()])
    table = table.assign(published=False)
    dashes = {label: [1, 0] for label in drawn}
    if published is not None:
        table = pd.concat([table, published.assign(curve=published["label"], published=True)])
        others = published.drop_duplicates("label")
        others = others.sort_values("drawn", ascending=False, kind="stable")
        in_figure = zip(others["label"], others["drawn"], strict=True)
        for index, (label, is_drawn) in enumerate(in_figure):
            dashes[label] = _DASHES[index % len(_DASHES)]
            grey = _GREYS[index // len(_DASHES) % len(_GREYS)]
            colours[label] = grey if is_drawn else _LIGHT_GREY
    shown = ["curve", "published", "point", "bpp", "psnr_rgb", "ms_ssim_rgb", "ms_ssim_rgb_db"]
    # Altair knows nothing of pandas' NA.
    table = table[shown].astype(object).where(table[shown].notna(), None)
    legend = alt.selection_point(fields=["curve"], bind="legend")
    # One legend for colours and dashes.
    legend_look = alt.Legend(
        title="Click to show one curve, shift-click to add",
        labelLimit=300,
        titleLimit=300,
        symbolType="stroke",
        symbolSize=700,
        symbolStrokeWidth=2,
    )
    limit = rate_limit(rd)
    panels = []
    for metric, title in AXES.items():
        visible = rd.loc[rd["bpp"] <= limit, metric].dropna()
        if visible.empty:
            continue
        domain = [float(np.floor(visible.min() - 1)), float(np.ceil(visible.max() + 1))]
        # The bands need the same scales: an area's own would begin at zero.
        rate = alt.X("bpp:Q", title="bits per pixel", scale=alt.Scale(domain=[0, limit]))
        quality = alt.Scale(domain=domain, zero=False)
        base = alt.Chart(table).encode(
            x=rate,
            y=alt.Y(f"{metric}:Q", title=title, scale=quality),
            color=alt.Color(
                "curve:N",
                scale=alt.Scale(domain=list(colours), range=list(colours.values())),
                legend=legend_look,
            ),
            opacity=alt.when(legend).then(alt.value(1)).otherwise(alt.value(0.05)),
            tooltip=[
                alt.Tooltip("curve:N", title="curve"),
                alt.Tooltip("point:Q", title="lambda or quality"),
                alt.Tooltip("bpp:Q", format=".4f"),
                alt.Tooltip("psnr_rgb:Q", title="PSNR", format=".2f"),
                alt.Tooltip("ms_ssim_rgb:Q", title="MS-SSIM", format=".4f"),
            ],
        )
        dash = alt.StrokeDash(
            "curve:N",
            scale=alt.Scale(domain=list(colours), range=[dashes[label] for label in colours]),
            legend=legend_look,
        )
        curves = base.mark_line(clip=True).encode(strokeDash=dash)
        # Published curves have many points, which are small.
        points = base.mark_point(clip=True, filled=True).encode(
            size=alt.when("datum.published").then(alt.value(12)).otherwise(alt.value(60))
        )
        ranges = [
            alt.Chart(pd.DataFrame(edges._asdict()).assign(curve=label))
            .mark_area(clip=True, opacity=0.25, color=colours[label])
            .encode(x=rate, y=alt.Y("low:Q", title=title, scale=quality), y2="high:Q")
            for label, line in drawn.items()
            if line.seeds and (edges := band(line.seeds, metric)) is not None
        ]
        panels.append(alt.layer(*ranges, curves, points).properties(width=440, height=380))
    with warnings.catch_warnings():
        # One selection for both panels is what is wanted.
        warnings.filterwarnings("ignore", message="Automatically deduplicated selection")
        chart = alt.hconcat(*panels).add_params(legend)
        return chart.to_html(
            fullhtml=False,
            inline=True,
            output_div="rd_chart",
            embed_options={"renderer": "svg", "actions": False},
        )


def _data_uri(pixels: np.ndarray) -> str:
    """Return an image as a data URI, without loss."""
    buffer = io.BytesIO()
    kind = "png" if max(pixels.shape) > WEBP_MAX_SIDE else "webp"
    Image.fromarray(pixels).save(buffer, kind, lossless=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def comparison_data(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Return what the slider shows: the versions of each image, with captions."""
    data = []
    for comparison in comparisons:
        original = comparison.original
        versions = [{"title": "original", "caption": "original", "source": _data_uri(original)}]
        for panel in comparison.panels:
            caption = panel.caption(original).replace("\n", ": ")
            source = _data_uri(panel.pixels)
            versions.append({"title": panel.title, "caption": caption, "source": source})
        height, width, _ = original.shape
        data.append(
            {"image": comparison.image, "width": width, "height": height, "versions": versions}
        )
    return data


def inline_svg(path: Path) -> str:
    """Return an SVG figure without the lines that only a separate file needs.

    Raises:
        InputError: it does not exist, or is no SVG figure.
    """
    try:
        text = path.read_text(encoding="utf-8")
        return text[text.index("<svg") :]
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except ValueError:
        raise InputError(f"{path} is not an SVG figure; draw it again") from None


def _numbers(table: pd.DataFrame, columns: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    """Return some columns of a table as text.

    Args:
        table: any.
        columns: for each of its columns, in the order wanted, the heading and the format.
    """

    def text(value: Any, form: str) -> str:
        return "" if pd.isna(value) else form.format(value)

    return pd.DataFrame(
        {
            heading: [text(value, form) for value in table[column]]
            for column, (heading, form) in columns.items()
        }
    )


def points_table(rd: pd.DataFrame) -> pd.DataFrame:
    """Return the report's view of rd.csv: a row for each point of each curve."""
    columns = {
        "label": ("codec", "{}"),
        "point": ("lambda or quality", "{:g}"),
        "bpp": ("bits per pixel", "{:.3f}"),
        "psnr_rgb": ("PSNR (dB)", "{:.2f}"),
        "ms_ssim_rgb": ("MS-SSIM", "{:.4f}"),
        "encode_s": ("encode (s)", "{:.3f}"),
        "decode_s": ("decode (s)", "{:.3f}"),
    }
    return _numbers(rd.assign(label=curve_names(rd).map(curve_label)), columns)


def deltas_table(bd: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the report's view of bd_rate.csv: each model against each other codec.

    Args:
        bd: bd_rate.csv, perhaps followed by bd_rate_published.csv.
        labels: what anchors are called.
    """
    ours = bd[bd["codec"].map(is_model).astype(bool) & ~bd["anchor"].map(is_model).astype(bool)]
    if ours.empty:
        return pd.DataFrame()
    values = ["bd_rate_percent", "bd_quality_db"]
    wide = ours.pivot(index=["codec", "anchor"], columns="metric", values=values)
    wide.columns = [f"{value}_{metric}" for value, metric in wide.columns]
    wide = wide.reset_index().sort_values(["codec", "bd_rate_percent_psnr_rgb"])
    named = wide.assign(codec=wide["codec"].map(curve_label), anchor=wide["anchor"].map(labels))
    columns = {
        "codec": ("curve", "{}"),
        "anchor": ("compared with", "{}"),
        "bd_rate_percent_psnr_rgb": ("rate difference at equal PSNR", "{:+.1f} %"),
        "bd_rate_percent_ms_ssim_rgb_db": ("rate difference at equal MS-SSIM", "{:+.1f} %"),
        "bd_quality_db_psnr_rgb": ("PSNR difference at equal rate", "{:+.2f} dB"),
    }
    return _numbers(named, columns)


def seeds_table(seeds: pd.DataFrame) -> pd.DataFrame:
    """Return the report's view of seeds.csv: mean, lowest and highest."""
    columns = {
        "curve": ("curve", "{}"),
        "point": ("lambda", "{:g}"),
        "seeds": ("seeds", "{}"),
        "bpp_mean": ("bits per pixel", "{:.4f}"),
        "bpp_low": ("from", "{:.4f}"),
        "bpp_high": ("to", "{:.4f}"),
        "psnr_rgb_mean": ("PSNR (dB)", "{:.2f}"),
        "psnr_rgb_low": ("from ", "{:.2f}"),
        "psnr_rgb_high": ("to ", "{:.2f}"),
    }
    return _numbers(seeds.assign(curve=seeds["curve"].map(curve_label)), columns)


def bd_seeds_table(bd: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the report's view of bd_rate_seeds.csv, at equal PSNR.

    Args:
        bd: as `bd_seeds` returns it.
        labels: what anchors are called.
    """
    bd = bd[bd["metric"] == "psnr_rgb"]
    named = bd.assign(codec=bd["codec"].map(curve_label), anchor=bd["anchor"].map(labels))
    columns = {
        "codec": ("curve", "{}"),
        "anchor": ("compared with", "{}"),
        "seeds": ("seeds", "{}"),
        "bd_rate_percent_mean": ("rate difference at equal PSNR, mean", "{:+.1f} %"),
        "bd_rate_percent_low": ("from", "{:+.1f} %"),
        "bd_rate_percent_high": ("to", "{:+.1f} %"),
    }
    return _numbers(named, columns)


def calibration_table(calibration: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return the report's view of calibration.csv.

    Args:
        calibration: the table.
        labels: what published curves are called.
    """
    named = calibration.assign(
        codec=calibration["codec"].map(curve_label),
        published=calibration["published"].map(labels),
        metric=calibration["metric"].map(AXES),
    )
    columns = {
        "codec": ("measured here", "{}"),
        "published": ("published", "{}"),
        "metric": ("metric", "{}"),
        "points": ("points", "{}"),
        "mean_difference_db": ("mean difference", "{:+.2f} dB"),
        "largest_difference_db": ("largest difference", "{:+.2f} dB"),
    }
    return _numbers(named, columns)


def images_table(bd: pd.DataFrame) -> pd.DataFrame:
    """Return the report's view of bd_rate_per_image.csv: models against JPEG, at equal PSNR."""
    ours = bd[(bd["metric"] == "psnr_rgb") & bd["codec"].map(is_model).astype(bool)]
    wide = ours.pivot(index="image", columns="codec", values="bd_rate_percent").reset_index()
    columns = {"image": ("image", "{}")}
    columns |= {name: (curve_label(name), "{:+.1f} %") for name in wide.columns if name != "image"}
    return _numbers(wide, columns)


def render(template: Path, content: dict[str, Any]) -> str:
    """Return the page.

    Args:
        template: the Jinja template.
        content: its variables.

    Raises:
        InputError: there is no such file, or it is no template for these variables.
    """
    if not template.is_file():
        raise InputError(f"--template is {template}, which is not a file")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template.parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["json"] = lambda value: json.dumps(value, indent=2, sort_keys=True)
    try:
        return environment.get_template(template.name).render(content)
    except (jinja2.TemplateError, UnicodeDecodeError) as error:
        raise InputError(f"{template} is not a template of the report: {error}") from None
