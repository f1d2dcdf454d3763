"""Draw comparison sheets: original, model, JPEG and WebP at the nearest file size."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli


def main(argv: Sequence[str] | None = None) -> None:
    """Draw; print where the sheets are."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with the original images"
    )
    parser.add_argument(
        "--evaluation", type=Path, required=True, help="folder with a model's evaluation"
    )
    parser.add_argument("--rd", type=Path, required=True, help="rd.csv")
    parser.add_argument("--bd", type=Path, required=True, help="bd_rate_per_image.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets")
    args = parser.parse_args(argv)

    from balle2017.errors import InputError
    from balle2017.results.aggregation import read_bd, read_rd
    from balle2017.results.comparison import compare, draw_sheet

    for folder in (args.images, args.evaluation / "reconstructions"):
        if args.out.resolve() == folder.resolve():
            # Sheets are named after the images.
            raise InputError(f"{folder} holds images to compare; give another --out")
    bd = read_bd(args.bd, per_image=True)
    # The workflow waits for the folder, even if there is nothing to draw.
    args.out.mkdir(parents=True, exist_ok=True)
    for comparison in compare(args.images, args.evaluation, read_rd(args.rd), bd):
        sheet = args.out / f"{Path(comparison.image).stem}.png"
        draw_sheet(comparison, sheet)
        print(sheet)


if __name__ == "__main__":
    cli.run(main)
