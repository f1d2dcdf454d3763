"""How much each choice in measuring moves a curve: docs/reference measured in other ways.

    uv run python benchmarks/definitions.py

It prints the table of docs/reproducibility.md.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import bjontegaard
import numpy as np
import pandas as pd
from balle2017.decibel import ms_ssim_db, psnr_db
from balle2017.names import MODEL_CODEC
from balle2017.results.aggregation import bd_delta, read_bd, read_images, read_rd
from balle2017.results.published import read_published

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
PUBLISHED = ROOT / "workflow" / "resources" / "published_kodak.csv"
#: Ways to compute a BD-rate, by their names in bjontegaard, other than PCHIP.
OTHER_METHODS = {
    "cubic": "with one cubic polynomial fitted to each curve",
    "akima": "by Akima interpolation",
}


def span(values: pd.Series, unit: str, digits: int = 2) -> str:
    """Return the range of some differences, the smaller amount first."""
    low, high = sorted(values, key=abs)[0], sorted(values, key=abs)[-1]
    return f"{low:+.{digits}f} to {high:+.{digits}f} {unit}"


def bd_rate(curve: pd.DataFrame, anchor: pd.DataFrame, method: str) -> float:
    """Return the BD-rate in percent at equal PSNR, by one of `OTHER_METHODS`."""
    pair = [frame.sort_values("bpp") for frame in (anchor, curve)]
    numbers = [frame[name].to_numpy(float) for frame in pair for name in ("bpp", "psnr_rgb")]
    options = {"method": method, "require_matching_points": False, "min_overlap": 0}
    return float(bjontegaard.bd_rate(*numbers, **options))


def rows(rd: pd.DataFrame, images: pd.DataFrame, bd: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield each other way to measure, and what it changes."""
    ours = rd[rd["codec"] == MODEL_CODEC].sort_values("bpp")
    jpeg = rd[rd["codec"] == "jpeg"].sort_values("bpp")
    published = read_published(PUBLISHED)
    prior = published[published["curve"] == "factorized_prior"]
    by_point = images[images["codec"] == MODEL_CODEC].groupby("point")

    yield "luma PSNR instead of RGB PSNR, our models", span(ours["psnr_y"] - ours["psnr_rgb"], "dB")
    yield "luma PSNR instead of RGB PSNR, JPEG", span(jpeg["psnr_y"] - jpeg["psnr_rgb"], "dB")
    errors = by_point["psnr_rgb"].agg(lambda values: psnr_db(np.mean(255**2 / 10 ** (values / 10))))
    change = errors.to_numpy() - ours["psnr_rgb"].to_numpy()
    yield "PSNR of the mean MSE instead of the mean of the PSNRs", span(pd.Series(change), "dB")
    decibels = by_point["ms_ssim_rgb"].agg(lambda values: np.mean([ms_ssim_db(v) for v in values]))
    change = decibels.to_numpy() - ours["ms_ssim_rgb_db"].to_numpy()
    yield (
        "mean of the MS-SSIM values in dB instead of the mean MS-SSIM, in dB",
        span(pd.Series(change), "dB"),
    )
    change = 100 * (ours["bpp_estimated"] / ours["bpp"] - 1)
    yield "estimated rate instead of the file size", span(change, "%", 3)

    def delta(curve: str, anchor: str) -> float:
        found = bd[(bd["codec"] == curve) & (bd["anchor"] == anchor) & (bd["metric"] == "psnr_rgb")]
        return found["bd_rate_percent"].iloc[0]

    def change_of_rate(frame: pd.DataFrame, anchor: pd.DataFrame = jpeg) -> float:
        return bd_delta(frame, anchor, "psnr_rgb")["bd_rate_percent"]

    yield (
        "JPEG with standard instead of optimized Huffman tables",
        f"{delta('jpeg_plain', 'jpeg'):+.1f} % bits",
    )
    yield (
        "JPEG 2000 with the reversible instead of the irreversible wavelet",
        f"{delta('jpeg2000_plain', 'jpeg2000'):+.1f} % bits",
    )
    whole = change_of_rate(ours)
    for kept in (ours.iloc[[0, len(ours) // 2, -1]], ours.iloc[:3], ours.iloc[-3:]):
        lambdas = ", ".join(f"{value:g}" for value in kept["point"])
        part = change_of_rate(kept)
        yield (
            f"BD-rate against JPEG from lambdas {lambdas} alone",
            f"{part:+.1f} instead of {whole:+.1f} %",
        )
    for name, anchor in (("JPEG", jpeg), ("the published factorized prior", prior)):
        usual = change_of_rate(ours, anchor)
        for method, how in OTHER_METHODS.items():
            value = bd_rate(ours, anchor, method)
            yield (
                f"BD-rate against {name} {how}",
                f"{value:+.2f} instead of {usual:+.2f} %",
            )


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0]).parse_args()
    rd = read_rd(REFERENCE / "rd.csv")
    images = read_images(REFERENCE / "per_image.csv")
    print("| measured differently | change |\n|---|---|")
    for what, changes in rows(rd, images, read_bd(REFERENCE / "bd_rate.csv")):
        print(f"| {what} | {changes} |")


if __name__ == "__main__":
    main()
