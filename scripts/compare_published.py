"""Compare rd.csv with published curves of the same test set."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.files import check_name, write_bytes


def main(argv: Sequence[str] | None = None) -> None:
    """Compare; print the differences."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--rd", type=Path, required=True, help="rd.csv")
    parser.add_argument("--published", type=Path, required=True, help="table of published curves")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--testset", help="test set to compare, where the table has several")
    args = parser.parse_args(argv)

    from balle2017.results.aggregation import read_rd
    from balle2017.results.published import (
        bd_against_published,
        calibrate,
        published_text,
        read_published,
    )
    from balle2017.results.seeds import bd_seeds_text
    from balle2017.results.tables import choose_testset, write_frame

    rd = choose_testset(read_rd(args.rd), args.testset)
    published = read_published(args.published)
    for name in published[["curve", "label", "source"]].stack().unique():
        check_name(name, f"the curve {name}", f"rename it in {args.published}")
    calibration, bd = calibrate(rd, published), bd_against_published(rd, published)
    text = bd_seeds_text(bd, "factorized_prior", "the published factorized prior")
    text += published_text(calibration, bd, published)
    write_frame(args.out / "calibration.csv", calibration)
    write_frame(args.out / "bd_rate_published.csv", bd)
    write_bytes(args.out / "published.txt", text.encode())
    print(text, end="")


if __name__ == "__main__":
    cli.run(main)
