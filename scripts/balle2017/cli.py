"""What every command line shares: one-line errors and exit statuses."""

import argparse
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from balle2017.errors import DamagedFileError, InputError, Interrupted, WorkError
from balle2017.files import check_name, printable
from balle2017.options import MAX_THREADS

# Scripts import this module before all others: a Python outside of the environment gets a
# sentence here, before another import fails.
if importlib.util.find_spec("PIL") is None:
    print(
        f"{Path(sys.argv[0]).name}: error: {sys.executable} lacks the packages that balle2017 "
        f"needs; put 'uv run --project {Path(__file__).resolve().parents[2]}' before python",
        file=sys.stderr,
    )
    sys.exit(2)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, except where there is none to show: None, an empty list, a lone switch."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # --flip has --no-flip beside it, so its default is worth showing.
        lone_switch = action.nargs == 0 and len(action.option_strings) == 1
        if lone_switch or action.default is None or action.default in ("", [], ()):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """An argument parser that shows defaults and reports an error in one line."""

    def __init__(self, description: str | None):
        """Use the first paragraph of a script's docstring as `description`."""
        super().__init__(
            description=(description or "").split("\n\n")[0],
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def add_evaluation(self) -> None:
        """Add the flags of every script that evaluates: what is measured, and where it goes."""
        self.add_argument("--images", type=Path, required=True, help="folder of images")
        self.add_argument("--out", type=Path, required=True, help="output folder")
        self.add_argument("--testset", help="name of the test set (default: the folder's name)")

    def add_quality(self, what: str) -> None:
        """Add the flag of the points of a codec; `what` says what the numbers mean."""
        self.add_argument("--quality", type=float, nargs="+", required=True, metavar="Q", help=what)

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def testset_name(args: argparse.Namespace) -> str:
    """Return the name of the test set by the flags of `Parser.add_evaluation`.

    Raises:
        InputError: tables cannot hold it.
    """
    name = args.testset or args.images.resolve().name
    return check_name(name, f"the test set {name}", "give another with --testset")


def threads(text: str) -> int:
    """Convert an argument to a number of threads."""
    number = int(text)
    if not 1 <= number <= MAX_THREADS:
        problem = "less than 1" if number < 1 else f"more than {MAX_THREADS}"
        raise argparse.ArgumentTypeError(f"{number} is {problem}")
    return number


def seed(text: str) -> int:
    """Convert an argument to a seed, an integer of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is less than 0")
    return number


def _file_for_folder(error: OSError) -> Path | None:
    """Return the file that is where a folder has to be, if that is the error."""
    if not isinstance(error, FileExistsError | NotADirectoryError) or not error.filename:
        return None
    path = Path(os.fsdecode(error.filename))
    return next((place for place in (path, *path.parents) if place.is_file()), None)


def run(main: Callable[[Sequence[str] | None], int | None]) -> NoReturn:
    """Run `main(argv)` and turn the errors a person can act on into one line.

    Exit status: 0 done, 1 the work or some items failed, 2 bad input and
    no result was written, 3 interrupted after a checkpoint, 130 Ctrl-C.
    """
    prog = Path(sys.argv[0]).name
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Names of files need not be UTF-8, and must not end a program that prints them.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(None) or 0
    except (DamagedFileError, InputError, WorkError, Interrupted) as error:
        kind = "interrupted" if isinstance(error, Interrupted) else "error"
        print(f"{prog}: {kind}: {printable(str(error))}", file=sys.stderr)
        status = error.exit_status
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        status = 1
        name = f": {printable(str(error.filename))}" if error.filename else ""
        what = f"{error.strerror}{name}"
        if file := _file_for_folder(error):
            what, status = f"{printable(str(file))} is a file; give a folder in its place", 2
        print(f"{prog}: error: {what}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{prog}: stopped by Ctrl-C", file=sys.stderr)
        status = 130
    sys.exit(status)
