"""Collect evaluations into rd.csv, bd_rate.csv and a summary for the terminal."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.files import write_bytes


def main(argv: Sequence[str] | None = None) -> None:
    """Aggregate; print the summary."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "result_dir", type=Path, nargs="+", help="folders with evaluations, or summary.json files"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    args = parser.parse_args(argv)

    from balle2017.aggregation import bd_table, collect, summary_text, write_frame

    rd = collect(args.result_dir)
    bd = bd_table(rd)
    text = summary_text(rd, bd)
    write_frame(args.out / "rd.csv", rd)
    write_frame(args.out / "bd_rate.csv", bd)
    write_bytes(args.out / "summary.txt", text.encode())
    print(text, end="")


if __name__ == "__main__":
    cli.run(main)
