"""Unpack an archive of test images to a folder of PNGs."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.data.images import list_images
from balle2017.data.testset import unpack_test_images
from balle2017.files import write_hashes


def main(argv: Sequence[str] | None = None) -> None:
    """Unpack; print how many images there are."""
    parser = cli.Parser(__doc__)
    parser.add_argument("archive", type=Path, help="tar or zip")
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNGs")
    parser.add_argument(
        "--record",
        type=Path,
        metavar="FILE",
        help="also write the SHA-256 of the PNGs to this file",
    )
    args = parser.parse_args(argv)
    count = unpack_test_images(args.archive, args.out)
    if args.record is not None:
        write_hashes(args.record, list_images(args.out), args.out)
    print(f"{count} images in {args.out}")


if __name__ == "__main__":
    cli.run(main)
