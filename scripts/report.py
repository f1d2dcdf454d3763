"""Write the report of an experiment: one HTML file that opens offline."""

import json
from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.errors import InputError
from balle2017.files import write_bytes


def main(argv: Sequence[str] | None = None) -> None:
    """Write; print where the report is."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--results", type=Path, required=True, help="folder with rd.csv and the other tables"
    )
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with the original images"
    )
    parser.add_argument(
        "--evaluation",
        type=Path,
        required=True,
        help="folder with the evaluation of the model to show",
    )
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="run.json files")
    parser.add_argument("--published", type=Path, help="table of published curves")
    parser.add_argument("--testset", help="test set to show, where the tables have several")
    parser.add_argument("--config", default="{}", help="configuration, as JSON")
    parser.add_argument("--template", type=Path, required=True, help="Jinja template")
    args = parser.parse_args(argv)
    try:
        config = json.loads(args.config)
    except ValueError as error:
        raise InputError(f"--config is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"--config is {args.config}; it must be a map")

    import pandas as pd
    from balle2017.results import report
    from balle2017.results.aggregation import read_bd, read_rd
    from balle2017.results.comparison import compare
    from balle2017.results.publication import read_run
    from balle2017.results.published import read_calibration, read_published
    from balle2017.results.seeds import bd_seeds, seed_table
    from balle2017.results.tables import choose_testset

    rd = choose_testset(read_rd(args.results / "rd.csv"), args.testset)

    def of_testset(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["testset"] == rd["testset"].iloc[0]]

    bd = of_testset(read_bd(args.results / "bd_rate.csv"))
    bd_images = of_testset(read_bd(args.results / "bd_rate_per_image.csv", per_image=True))
    published = None
    if args.published is not None:
        published = read_published(args.published)
        calibration = of_testset(read_calibration(args.results / "calibration.csv"))
        bd = pd.concat([bd, of_testset(read_bd(args.results / "bd_rate_published.csv"))])
    runs = {path.parent.name: read_run(path) for path in args.runs}
    labels = report.anchor_labels(bd, published)
    seeds, bd_of_seeds = seed_table(rd), bd_seeds(bd)
    tables = {
        "Points of the curves": (report.points_table(rd), ["rd.csv"]),
        "Against other codecs (Bjøntegaard deltas)": (
            report.deltas_table(bd, labels),
            ["bd_rate.csv"],
        ),
        "Mean and range over seeds": (report.seeds_table(seeds), ["seeds.csv"]),
        "BD-rate over seeds": (report.bd_seeds_table(bd_of_seeds, labels), ["bd_rate_seeds.csv"]),
        "BD-rate against JPEG for each image, at equal PSNR": (
            report.images_table(bd_images),
            ["bd_rate_per_image.csv", "per_image.csv"],
        ),
    }
    if published is not None:
        tables["Against other codecs (Bjøntegaard deltas)"][1].append("bd_rate_published.csv")
        tables["Our measurements against published ones"] = (
            report.calibration_table(calibration, labels),
            ["calibration.csv"],
        )
    content = {
        "experiment": config.get("experiment", args.results.name),
        "sentences": report.summary_sentences(rd, bd, published),
        "chart": report.chart_html(rd, published),
        "comparisons": report.comparison_data(compare(args.images, args.evaluation, rd, bd_images)),
        "tables": [(title, table, files) for title, (table, files) in tables.items() if len(table)],
        "published": published is not None,
        "images_figure": report.inline_svg(args.results / "rd_per_image.svg"),
        "training_figure": report.inline_svg(args.results / "training_curves.svg"),
        "config": config,
        "runs": runs,
    }
    out = args.results / "report.html"
    write_bytes(out, report.render(args.template, content).encode())
    print(out)


if __name__ == "__main__":
    cli.run(main)
