"""Decode the pictures of archives or folders into a dataset folder."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.dataset import ExtractSettings, extract_archives
from balle2017.errors import InputError
from balle2017.files import sha256_file


def main(argv: Sequence[str] | None = None) -> None:
    """Extract; print how many members were accepted, skipped and rejected."""
    parser = cli.Parser(__doc__)
    parser.add_argument("source", type=Path, nargs="+", help="tar, zip or folder")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder")
    parser.add_argument("--max_images", type=int, metavar="N", help="keep a sample of N members")
    parser.add_argument(
        "--min_size", type=int, default=64, metavar="N", help="shortest side in pixels"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the sample")
    parser.add_argument("--sha256", metavar="HEX", help="expected hash of the one source")
    args = parser.parse_args(argv)
    if args.max_images is not None and args.max_images < 2:
        parser.error(f"--max_images is {args.max_images}; it must be at least 2")
    if args.min_size < 1:
        parser.error(f"--min_size is {args.min_size}; it must be at least 1")
    if args.sha256:
        if len(args.source) != 1 or not args.source[0].is_file():
            raise InputError("--sha256 needs exactly one source, which must be a file")
        actual = sha256_file(args.source[0])
        if actual != args.sha256.lower():
            raise InputError(f"{args.source[0]} has SHA-256 {actual}, not {args.sha256}")
    settings = ExtractSettings(args.min_size, args.max_images, args.seed)
    counts = extract_archives(args.source, args.out, settings)
    print(
        f"{counts['accepted']} accepted, {counts['skipped']} skipped, {counts['rejected']} "
        f"rejected; reasons in {args.out / 'manifest.csv'}"
    )


if __name__ == "__main__":
    cli.run(main)
