"""Download the 24 Kodak test images and check their hashes."""

from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli
from balle2017.data.kodak import URL, download_all, read_hashes


def main(argv: Sequence[str] | None = None) -> None:
    """Download to OUT."""
    parser = cli.Parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the PNGs")
    parser.add_argument(
        "--hashes", type=Path, required=True, help="expected hashes, as sha256sum writes them"
    )
    parser.add_argument("--url", default=URL, help="address of the folder to download from")
    args = parser.parse_args(argv)
    hashes = read_hashes(args.hashes)
    download_all(args.out, hashes, args.url)
    print(f"{len(hashes)} images in {args.out}")


if __name__ == "__main__":
    cli.run(main)
