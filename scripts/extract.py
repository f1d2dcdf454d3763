"""Decode the images in archives or folders into a dataset folder."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from balle2017 import cli, options
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.errors import InputError
from balle2017.files import is_url, sha256_file


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(__doc__)
    parser.add_argument("source", nargs="+", help="tar, zip, folder or http(s) URL")
    parser.add_argument("--out", type=Path, required=True, help="dataset folder")
    parser.add_argument(
        "--sha256",
        nargs="+",
        default=[],
        metavar="HEX",
        help="SHA-256 of each source; URLs need it",
    )
    parser.add_argument(
        "--download_dir",
        type=Path,
        metavar="DIR",
        help="folder for downloads (default: OUT/downloads)",
    )
    parser.add_argument(
        "--leave_out",
        type=Path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="skip these folders below the sources; OUT and DOWNLOAD_DIR are always skipped",
    )
    parser.add_argument(
        "--threads", type=cli.threads, default=os.cpu_count(), metavar="N", help="decoding threads"
    )
    options.add_arguments(parser, ExtractSettings, "selection")
    return parser.parse_args(argv)


def _local_sources(args: argparse.Namespace) -> list[Path]:
    """Return the sources as local paths: URLs downloaded, hashes checked."""
    if args.sha256 and len(args.sha256) != len(args.source):
        raise InputError(
            f"{len(args.sha256)} hashes for {len(args.source)} sources; give one per source"
        )
    hashes = args.sha256 or [None] * len(args.source)
    paths = []
    for source, digest in zip(args.source, hashes, strict=True):
        if is_url(source):
            if digest is None:
                raise InputError(f"{source} is a URL and needs its SHA-256; give it with --sha256")
            # Imported here because it costs more than the rest together.
            from balle2017.data.download import download

            path = (args.download_dir or args.out / "downloads") / digest.lower()[:16]
            download(source, path, digest)
        else:
            path = Path(source)
            if digest is not None:
                if not path.is_file():
                    raise InputError(
                        f"{path} is not a file, so it has no SHA-256; leave out --sha256"
                    )
                actual = sha256_file(path)
                if actual != digest.lower():
                    raise InputError(f"{path} has SHA-256 {actual}, not {digest}")
        paths.append(path)
    return paths


def main(argv: Sequence[str] | None = None) -> None:
    """Extract; print how many members were accepted, skipped and rejected."""
    args = _parse(argv)
    settings = options.from_arguments(ExtractSettings, args)
    counts = extract_archives(
        _local_sources(args),
        args.out,
        settings,
        args.threads,
        log=lambda line: print(line, flush=True),
        without=[*args.leave_out, *([args.download_dir] if args.download_dir else [])],
    )
    print(
        f"{counts['accepted']} accepted, {counts['skipped']} skipped, {counts['rejected']} "
        f"rejected; reasons in {args.out / 'manifest.csv'}"
    )


if __name__ == "__main__":
    cli.run(main)
