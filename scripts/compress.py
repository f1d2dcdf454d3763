"""Compress images to .b17 files with a trained model."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.interface.conversion import add_compress_arguments, compress_files


def main(argv: Sequence[str] | None = None) -> None:
    """Compress; print a line for each image."""
    parser = cli.Parser(__doc__)
    parser.add_argument("input", type=Path, nargs="+", help="images or folders of images")
    parser.add_argument("--out", type=Path, required=True, help="output folder, or one .b17 file")
    add_compress_arguments(parser)
    args = parser.parse_args(argv)
    compress_files(args.input, args.out, args)


if __name__ == "__main__":
    cli.run(main)
