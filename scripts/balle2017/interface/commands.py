"""Compress images to .b17 files, decompress such files, or show what made them."""

import argparse
import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from balle2017 import cli
from balle2017.errors import DamagedFileError, WorkError
from balle2017.files import printable
from balle2017.interface.conversion import (
    add_compress_arguments,
    add_decompress_arguments,
    compress_files,
    decompress_files,
    describe,
)
from balle2017.interface.family import Family
from balle2017.model.find import PRETRAINED


def _parse(parser: cli.Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse options and paths in any order; what follows `--` are paths, as everywhere."""
    given = list(arguments)
    if "--" in given:
        # argparse drops it before it looks at what follows. A dot in front tells them apart.
        place = given.index("--")
        paths = [f"./{path}" if path.startswith("-") else path for path in given[place + 1 :]]
        given[place:] = paths
    return parser.parse_intermixed_args(given)


def _convert(
    parser: cli.Parser,
    arguments: Sequence[str],
    inputs: str,
    function: Callable[[list[Path], Path, argparse.Namespace], None],
) -> None:
    """Call a function with inputs and output, in the order of `cp`."""
    parser.add_argument(
        "paths", type=Path, nargs="+", help=f"{inputs}; the last path is the output"
    )
    args = _parse(parser, arguments)
    *sources, out = args.paths
    if not sources:
        parser.error("give one or more inputs, then the output: a file or a folder")
    function(sources, out, args)


def _compress(parser: cli.Parser, arguments: Sequence[str]) -> None:
    """Compress images to .b17 files."""
    add_compress_arguments(parser)
    _convert(parser, arguments, "images or folders of images", compress_files)


def _decompress(parser: cli.Parser, arguments: Sequence[str]) -> None:
    """Decompress .b17 files to PNG images with the models that made them."""
    add_decompress_arguments(parser)
    _convert(parser, arguments, ".b17 files or folders of them", decompress_files)


def _info(parser: cli.Parser, arguments: Sequence[str]) -> None:
    """Show the size, rate and coder of .b17 files, and the model that made them."""
    parser.add_argument("files", type=Path, nargs="+", help=".b17 files")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="DIR",
        default=PRETRAINED,
        help="folder of a model or of several, among which to look for those that made the files",
    )
    args = _parse(parser, arguments)
    family = Family(args.model)
    damaged = 0
    for path in args.files:
        try:
            text = describe(path, family)
        except DamagedFileError as error:
            damaged += 1
            text = str(error)
        print("\n".join(map(printable, text.splitlines())))
    if damaged:
        raise WorkError(f"{damaged} of {len(args.files)} files are damaged or not .b17 files")


_COMMANDS = {"compress": _compress, "decompress": _decompress, "info": _info}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one of the commands."""
    parser = cli.Parser(__doc__)
    version = importlib.metadata.version("balle2017")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    parser.add_argument(
        "command", choices=_COMMANDS, help="%(prog)s COMMAND --help shows its options"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="paths and options")
    args = parser.parse_args(argv)
    command = _COMMANDS[args.command]
    inner = cli.Parser(command.__doc__)
    inner.prog = f"{parser.prog} {args.command}"
    command(inner, args.arguments)


def run() -> NoReturn:
    """Run the program `balle2017`."""
    cli.run(main)
