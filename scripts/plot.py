"""Draw the rate-distortion curves of rd.csv."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.errors import InputError


def main(argv: Sequence[str] | None = None) -> None:
    """Plot; print where the figure is."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--rd", type=Path, required=True, help="rd.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figure")
    parser.add_argument("--testset", help="test set to draw, if the table has several")
    parser.add_argument("--max_bpp", type=float, metavar="F", help="right end of the rate axis")
    args = parser.parse_args(argv)

    import pandas as pd
    from balle2017.aggregation import RD_COLUMNS
    from balle2017.plotting import plot_rd

    try:
        rd = pd.read_csv(args.rd, dtype={"filters": "Int64", "seed": "Int64"})
    except FileNotFoundError:
        raise InputError(f"table {args.rd} does not exist") from None
    except ValueError as error:
        raise InputError(f"{args.rd} is no table of results: {error}") from None
    missing = set(RD_COLUMNS) - set(rd.columns)
    if missing:
        raise InputError(f"{args.rd} is no table of results: it lacks {', '.join(sorted(missing))}")
    plot_rd(rd, args.out, args.testset, args.max_bpp)
    print(f"{args.out / 'rd_curve.png'} and rd_curve.svg")


if __name__ == "__main__":
    cli.run(main)
