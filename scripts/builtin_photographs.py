"""Write the built-in training archive and test photographs to a folder."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.data.builtin import TEST, TRAIN, write_archive, write_test_images
from balle2017.files import write_hashes


def main(argv: Sequence[str] | None = None) -> None:
    """Write OUT/train.tar, OUT/test/ and the hashes of both."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="output folder")
    args = parser.parse_args(argv)
    archive = args.out / "train.tar"
    write_archive(archive)
    write_hashes(args.out / "train.sha256", [archive], args.out)
    write_hashes(args.out / "test.sha256", write_test_images(args.out / "test"), args.out)
    print(f"{len(TRAIN)} photographs in {archive}, {len(TEST)} in {args.out / 'test'}")


if __name__ == "__main__":
    cli.run(main)
