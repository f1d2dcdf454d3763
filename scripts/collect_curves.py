"""Collect published curves into one table, each named after its source."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.errors import InputError
from balle2017.files import check_name


def main(argv: Sequence[str] | None = None) -> None:
    """Collect; print how many points each curve has."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "curves", type=Path, nargs="+", help="CSV files, or JSON files with results of CompressAI"
    )
    parser.add_argument(
        "--source",
        nargs="+",
        required=True,
        help='who published each file, in the same order; "" keeps the names in the file',
    )
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args(argv)
    if len(args.source) != len(args.curves):
        raise InputError(
            f"{len(args.curves)} files and {len(args.source)} sources; give one source per file"
        )
    for source in args.source:
        check_name(source, f"the source {source}", "give another with --source")

    from balle2017.results.published import collect_published
    from balle2017.results.tables import write_frame

    table = collect_published(list(zip(args.curves, args.source, strict=True)))
    for name in table[["codec", "label", "source"]].stack().unique():
        check_name(name, f"the curve {name}", "rename it in its file")
    write_frame(args.out, table)
    for label, points in table.groupby("label", sort=False):
        print(f"{label}: {len(points)} points")


if __name__ == "__main__":
    cli.run(main)
