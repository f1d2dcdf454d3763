"""Compress pictures to .b17 files with a trained model."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.interface.conversion import add_compress_arguments, compress_files


def main(argv: Sequence[str] | None = None) -> None:
    """Compress; print a line for each picture."""
    parser = cli.Parser(__doc__)
    parser.add_argument("input", type=Path, nargs="+", help="pictures or folders of pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder, or one .b17 file")
    add_compress_arguments(parser)
    args = parser.parse_args(argv)
    compress_files(args.input, args.out, args)


if __name__ == "__main__":
    cli.run(main)
