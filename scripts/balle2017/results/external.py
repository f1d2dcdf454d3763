"""External codecs: one command line that encodes, one that decodes."""

import contextlib
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from balle2017.data.images import decode_image
from balle2017.data.reasons import BadImageError
from balle2017.errors import CodecLimitError, InputError, WorkError
from balle2017.files import printable
from balle2017.names import MODEL_CODECS, quality_text
from balle2017.results.built_in import BUILT_IN_CODECS

#: Placeholders for a file or a number in a command.
INPUT, OUTPUT, QUALITY = "{input}", "{output}", "{quality}"

#: Names of what a decoder may write.
DECODED_SUFFIXES = (".png", ".ppm", ".pnm")

_VERSION_TIME_LIMIT_S = 60
_MESSAGE_BYTES = 4096
_MESSAGE_LENGTH = 200
_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+\}")
_VERSION_LINE = re.compile(r"\d\.\d")


def command_words(command: str | Sequence[str]) -> list[str]:
    """Return the words of a command line, split as a shell does; a list has them already.

    Raises:
        InputError: a quotation has no end, or there is no word.
    """
    if not isinstance(command, str):
        words = [str(word) for word in command]
    else:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"the command {command} cannot be read: {error}") from None
    if not words:
        raise InputError("a command must have a program")
    return words


@dataclass(frozen=True)
class ExternalCodec:
    """A program that encodes and one that decodes. They are started without a shell.

    Attributes:
        name: what the tables call it.
        encode_command: its words. {input} is a PNG of 8-bit sRGB, {output} the compressed
            file, {quality} a number.
        decode_command: its words. {input} is the compressed file, {output} the image;
            {quality} may be used.
        suffix: of the compressed files.
        version_command: words that print the version; empty: none is known.
        decoded_suffix: of the image, by which many programs choose its format.
        time_limit_s: seconds after which a program is killed.
    """

    name: str
    encode_command: Sequence[str]
    decode_command: Sequence[str]
    suffix: str
    version_command: Sequence[str] = ()
    decoded_suffix: str = ".png"
    time_limit_s: float = 3600

    def check(self, qualities: Sequence[float]) -> None:
        """Check the name, the numbers, and that the commands have the placeholders they need.

        Raises:
            InputError: the name is missing or that of another codec, a number is not finite, a
                placeholder is missing or unknown.
        """
        if not self.name:
            raise InputError("the codec has no name; give it one")
        if self.name in BUILT_IN_CODECS:
            raise InputError(f"{self.name} is the name of a built-in codec; choose another")
        if self.name.partition("-")[0] in MODEL_CODECS:
            raise InputError(f"{self.name} is a name of trained models; choose another")
        if not all(map(math.isfinite, qualities)):
            raise InputError(f"the qualities of {self.name} must be finite numbers")
        if not 0 < self.time_limit_s < math.inf:
            raise InputError(f"time_limit_s of {self.name} must be more than 0 and finite")
        for what, words in self._commands():
            needed = set() if what == "version" else {INPUT, OUTPUT}
            allowed = needed | ({QUALITY} if needed else set())
            found = set(_PLACEHOLDER.findall(" ".join(words)))
            if missing := sorted(needed - found):
                raise InputError(f"the {what} command of {self.name} lacks {missing[0]}")
            if unknown := sorted(found - allowed):
                known = ", ".join(sorted(allowed)) or "none"
                raise InputError(
                    f"the {what} command of {self.name} has the unknown placeholder "
                    f"{unknown[0]}; known ones are {known}"
                )
        if len(qualities) > 1 and QUALITY not in " ".join(self.encode_command):
            raise InputError(
                f"the encode command of {self.name} lacks {QUALITY}, and there are "
                f"{len(qualities)} qualities"
            )

    def check_programs(self) -> None:
        """Check that the programs can be started.

        Raises:
            InputError: one is missing.
        """
        for what, words in self._commands():
            if shutil.which(words[0]) is None:
                raise InputError(
                    f"{words[0]}, the {what} program of {self.name}, is not installed or not "
                    "executable"
                )

    def files(self) -> list[str]:
        """Return the programs, and what else the commands name: scripts, settings, folders.

        A name is a word, or what follows "=" or a flag of one letter in it. Of folders only
        those below the working folder count: others, such as /tmp, may hold anything.
        """
        found = []
        for _, (program, *words) in self._commands():
            found += [shutil.which(program) or ""]
            for word in (program, *words):
                found += [word, word.partition("=")[2], re.sub("^-[A-Za-z]", "", word)]
        # Not of pathlib, which raises an error for what is too long to be a name.
        there = [name for name in found if os.path.isfile(name) or _is_folder_below(name)]
        return list(dict.fromkeys(there))

    def describe(self) -> str:
        """Return the commands, and what the version command prints, in one line of UTF-8.

        Raises:
            InputError: the version command prints nothing.
            WorkError: it does not end within a minute.
        """
        commands = [_shown(self.encode_command), _shown(self.decode_command)]
        if not self.version_command:
            return "; ".join([*commands, "version not known"])
        limit = min(_VERSION_TIME_LIMIT_S, self.time_limit_s)
        with _folder() as folder:
            _, lines = _run(self.version_command, folder, limit)
        if not lines:
            raise InputError(f"{shlex.join(self.version_command)} prints no version")
        return "; ".join([*commands, next(filter(_VERSION_LINE.search, lines), lines[0])])

    def encode(self, pixels: np.ndarray, quality: float) -> bytes:
        """Return the compressed file of uint8 pixels [height, width, 3].

        Raises:
            CodecLimitError: the program refuses the image, or writes no file.
            WorkError: it does not end.
        """
        with _folder() as folder:
            source = folder / "input.png"
            Image.fromarray(pixels).save(source, compress_level=1)
            target = folder / f"output{self.suffix}"
            return self._convert(self.encode_command, source, target, quality)

    def decode(self, data: bytes, quality: float) -> np.ndarray:
        """Return the image of a compressed file, uint8 [height, width, 3].

        It is read as the images of a test set are, to 8-bit sRGB.

        Raises:
            CodecLimitError: the program refuses the file, or writes no image.
            WorkError: it does not end.
        """
        with _folder() as folder:
            source = folder / f"input{self.suffix}"
            source.write_bytes(data)
            target = folder / f"output{self.decoded_suffix}"
            picture = self._convert(self.decode_command, source, target, quality)
        try:
            return decode_image(picture).pixels
        except BadImageError as error:
            program = Path(self.decode_command[0]).name
            raise CodecLimitError(
                f"{program} wrote an image that cannot be read: {error}"
            ) from None

    def _commands(self) -> Iterator[tuple[str, Sequence[str]]]:
        yield "encode", self.encode_command
        yield "decode", self.decode_command
        if self.version_command:
            yield "version", self.version_command

    def _convert(self, command: Sequence[str], source: Path, target: Path, quality: float) -> bytes:
        """Run a program on a file; return what it wrote."""
        values = {INPUT: str(source), OUTPUT: str(target), QUALITY: quality_text(quality)}
        words = [_filled(word, values) for word in command]
        program = Path(command[0]).name
        status, lines = _run(words, source.parent, self.time_limit_s)
        said = f": {lines[-1]}" if lines else ""
        if status < 0:
            raise CodecLimitError(f"{program} was ended by {_signal_name(-status)}{said}")
        if status > 0:
            raise CodecLimitError(f"{program} ended with status {status}{said}")
        if not target.is_file():
            raise CodecLimitError(f"{program} wrote no file{said}")
        data = target.read_bytes()
        if not data:
            raise CodecLimitError(f"{program} wrote an empty file{said}")
        return data


def _is_folder_below(name: str) -> bool:
    """Tell whether a relative path leads to a folder below the working folder."""
    first = os.path.normpath(name).split(os.sep)[0]
    return os.path.isdir(name) and first not in ("", ".", "..")


def _shown(words: Sequence[str]) -> str:
    """Return a command as it would be written in the config, with odd characters escaped."""
    plain = [_PLACEHOLDER.sub("x", word) for word in words]
    command = " ".join(
        word if shlex.quote(without) == without else shlex.quote(word)
        for word, without in zip(words, plain, strict=True)
    )
    return printable(command)


def _filled(word: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values.get(found[0], found[0]), word)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="balle2017-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _run(words: Sequence[str], folder: Path, time_limit_s: float) -> tuple[int, list[str]]:
    """Run a program without standard input; return its exit status and the lines that it printed.

    Args:
        words: program and arguments.
        folder: of its files; messages do not name it.
        time_limit_s: seconds after which the program, and those that it started, are ended.

    Raises:
        WorkError: it did not end in time.
    """
    log = folder / "messages"
    with open(log, "wb") as file:
        # A file, because a pipe stays open as long as any process that the program started.
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        status = process.wait(time_limit_s)
    except BaseException as error:
        # Also if this evaluation is ended: a program in a session of its own would go on.
        # Python waits a little before it passes Ctrl-C on, and the program may have ended then.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise WorkError(
                f"{Path(words[0]).name} did not end within {quality_text(time_limit_s)} seconds; "
                "if it needs longer, raise time_limit_s"
            ) from None
        raise
    with open(log, "rb") as file:
        head = file.read(_MESSAGE_BYTES)
        file.seek(max(len(head), log.stat().st_size - _MESSAGE_BYTES))
        text = (head + file.read()).decode(errors="replace").replace(f"{folder}/", "")
    lines = (printable(line.strip())[:_MESSAGE_LENGTH] for line in text.splitlines())
    return status, [line for line in lines if line]
