"""Divide a dataset into training and validation images."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.data.split import split_images
from balle2017.data.store import DEFAULT_VAL_SPLIT


def main(argv: Sequence[str] | None = None) -> None:
    """Split; print the counts."""
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, help="manifest.csv, as extract.py writes it"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the lists")
    parser.add_argument(
        "--val_split",
        type=float,
        default=DEFAULT_VAL_SPLIT,
        metavar="F",
        help="expected share of validation images",
    )
    parser.add_argument("--seed", type=cli.seed, default=1, metavar="N", help="seed of the split")
    parser.add_argument(
        "--test_images",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="test images or folders of them, to keep out of both lists",
    )
    args = parser.parse_args(argv)
    result = split_images(args.manifest, args.out, args.val_split, args.seed, args.test_images)
    print(f"{result.train} training and {result.val} validation images in {args.out}")
    if result.kept_out:
        print(f"kept out as test images: {', '.join(result.kept_out)}")
    if result.warning:
        print(f"warning: {result.warning}")


if __name__ == "__main__":
    cli.run(main)
