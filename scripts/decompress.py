"""Decompress .b17 files to PNG images with the models that made them."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.interface.conversion import add_decompress_arguments, decompress_files


def main(argv: Sequence[str] | None = None) -> None:
    """Decompress; print a line for each file."""
    parser = cli.Parser(__doc__)
    parser.add_argument("input", type=Path, nargs="+", help=".b17 files or folders of them")
    parser.add_argument("--out", type=Path, required=True, help="output folder, or one .png file")
    add_decompress_arguments(parser)
    args = parser.parse_args(argv)
    decompress_files(args.input, args.out, args)


if __name__ == "__main__":
    cli.run(main)
