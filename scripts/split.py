"""Divide a dataset into training and validation images."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.data.split import split_images
from balle2017.data.store import DEFAULT_VAL_SPLIT


def main(argv: Sequence[str] | None = None) -> None:
    """Split; print the counts."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="written by extract.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the lists")
    parser.add_argument(
        "--val_split",
        type=float,
        default=DEFAULT_VAL_SPLIT,
        metavar="F",
        help="share of validation images",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="makes another division")
    parser.add_argument(
        "--test_images",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="pictures or folders of pictures that must stay out of both sides",
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
