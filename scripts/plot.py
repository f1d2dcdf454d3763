"""Draw the rate-distortion curves: the means, and on request each image."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Plot; print where the figure is."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--rd", type=Path, required=True, help="rd.csv")
    parser.add_argument("--images", type=Path, help="per_image.csv, to draw each image too")
    parser.add_argument("--out", type=Path, required=True, help="folder for the figure")
    parser.add_argument("--testset", help="test set to draw, where the table has several")
    parser.add_argument("--published", type=Path, help="table of published curves to draw too")
    parser.add_argument(
        "--max_bpp",
        type=float,
        metavar="F",
        help="right end of the rate axis (default: 1.15 times the largest rate of the models)",
    )
    parser.add_argument(
        "--width", default="two", help="width of the PDF: one or two columns, or a number of inches"
    )
    args = parser.parse_args(argv)

    from balle2017.results.aggregation import read_images, read_rd
    from balle2017.results.plotting import plot_images, plot_rd
    from balle2017.results.published import read_published

    published = read_published(args.published) if args.published else None
    plot_rd(read_rd(args.rd), args.out, args.testset, args.max_bpp, published, args.width)
    print(f"{args.out / 'rd_curve.png'}, rd_curve.svg and rd_curve.pdf")
    if args.images is not None:
        plot_images(read_images(args.images), args.out, args.testset, args.max_bpp)
        print(f"{args.out / 'rd_per_image.png'} and rd_per_image.svg")


if __name__ == "__main__":
    cli.run(main)
