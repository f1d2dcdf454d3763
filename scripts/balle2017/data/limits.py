"""Decode in a child process that may use only so much memory and time.

Run as a module, this file is that process.
"""

import atexit
import contextlib
import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import UnidentifiedImageError

from balle2017.data.colour import Samples, to_srgb
from balle2017.data.formats import Header
from balle2017.data.formats_pillow import open_with_pillow
from balle2017.data.reasons import BadImageError, Reason, Refusal, refuse
from balle2017.errors import WorkError

#: Memory for decoding an image, in bytes: a constant, and more for each pixel.
MEMORY = 256 * 1024 * 1024
MEMORY_PER_PIXEL = 32

#: Processor time for decoding an image, in seconds: a constant, and more for each megapixel.
SECONDS = 20
SECONDS_PER_MEGAPIXEL = 2

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class _Child:
    """A process that decodes one picture at a time.

    The question b"O", with the format's name and the data, opens an image; b"L" decodes it.
    The answer is JSON, and the pixels if there are any.

    Attributes:
        usable: it has answered, and waits for the next question.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "balle2017.data.limits"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the libraries report what they repair
            bufsize=0,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            start_new_session=True,  # Ctrl-C goes to the parent, and this process ends with it
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        self.usable = True

    def alive(self) -> bool:
        """Tell whether the process runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Stop the process, whatever it does."""
        self._process.kill()
        self._process.communicate()

    def ask(self, question: bytes, memory: int, seconds: float) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            BadImageError: the picture is not decoded, or took more memory or time, or the
                process crashed.
            WorkError: somebody else stopped the process.
        """
        self.usable = False
        self._send(question)
        self._wait(memory, seconds)
        length = self._receive(4)
        if len(length) < 4:
            status = self._process.wait()
            if status == -signal.SIGKILL:
                raise WorkError(
                    "the process that decodes images was killed, probably for lack of memory; "
                    "free some and run again"
                )
            problem = f"the decoder ended with status {status}"
            raise refuse(Reason.DAMAGED_IMAGE, problem=problem)
        answer = json.loads(self._receive(int.from_bytes(length, "big")))
        if "shape" in answer:
            pixels = np.frombuffer(self._receive(math.prod(answer["shape"])), np.uint8)
            answer["pixels"] = pixels.reshape(answer["shape"])
        self.usable = True
        if "error" in answer:
            name, details = answer["error"]
            raise BadImageError(Refusal(Reason[name], details))
        return answer

    def _send(self, question: bytes) -> None:
        rest = memoryview(question)
        # What has ended is noticed when its answer is awaited.
        with contextlib.suppress(BrokenPipeError):
            while rest:
                rest = rest[self._questions.write(rest) :]

    def _receive(self, length: int) -> bytearray:
        """Read from the process; less means that it has ended."""
        buffer = bytearray()
        while len(buffer) < length and (part := self._answers.read(length - len(buffer))):
            buffer += part
        return buffer

    def _wait(self, memory: int, seconds: float) -> None:
        """Wait for the answer to begin; raise BadImageError where it costs too much."""
        start = self._used()[1]
        while not select.select([self._answers], [], [], 0.02)[0]:
            resident, cpu = self._used()
            limit = None
            if resident > memory:
                limit = f"{memory >> 20} MB of memory"
            elif cpu - start > seconds:
                limit = f"{seconds:.0f} s of processor time"
            if limit:
                raise refuse(Reason.OVER_LIMITS, limit=limit)

    def _used(self) -> tuple[int, float]:
        """Return resident memory in bytes and processor time in seconds; 0 if it has ended."""
        folder = Path("/proc") / str(self._process.pid)
        try:
            pages = int((folder / "statm").read_text().split()[1])
            # The name before these fields may hold spaces.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return 0, 0.0
        return pages * _PAGE, (int(fields[11]) + int(fields[12])) / _TICKS


_idle: list[_Child] = []
# A fork has its parent's pipes to these processes, but none of the processes.
os.register_at_fork(after_in_child=_idle.clear)


@atexit.register
def _end_all() -> None:
    while _idle:
        _idle.pop().end()


def _take() -> _Child:
    """Return an idle process, or a new one."""
    with contextlib.suppress(IndexError):  # another thread may take the last
        while _idle:
            child = _idle.pop()
            if child.alive():
                return child
            child.end()
    return _Child()


@contextlib.contextmanager
def open_limited(data: bytes, name: str) -> Iterator[Header]:
    """Open a picture in a child process, which ends if it takes too much memory or time.

    Args:
        data: the encoded picture.
        name: of its format, one of those of `formats_pillow`.

    Raises:
        BadImageError: it is damaged, of a kind that is not decoded, or over the limits; when
            it is opened or when it is loaded.
    """
    child = _take()
    memory = MEMORY + 2 * len(data)
    try:
        question = b"O" + struct.pack(">8sQ", name.encode(), len(data))
        opened = child.ask(question + data, memory, SECONDS)
        width, height = opened["width"], opened["height"]
        pixels = width * height

        def load() -> Samples:
            seconds = SECONDS + SECONDS_PER_MEGAPIXEL * pixels / 1e6
            answer = child.ask(b"L", memory + MEMORY_PER_PIXEL * pixels, seconds)
            return Samples(answer["pixels"], answer["mode"], "RGB", converted=answer["note"])

        yield Header(width, height, load, opened["orientation"])
    finally:
        if child.usable:
            _idle.append(child)
        else:
            child.end()


def as_bad_image(error: Exception) -> BadImageError:
    """Return what a decoder raised as a reason."""
    if isinstance(error, BadImageError):
        return error
    if isinstance(error, MemoryError):
        return refuse(Reason.OVER_LIMITS, limit="the memory of this machine")
    if isinstance(error, UnidentifiedImageError):  # its text has an address
        return refuse(Reason.DAMAGED_IMAGE, problem="the header has values that are not allowed")
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "unsupported" in text.lower():
        return refuse(Reason.UNREAD_KIND, kind=text)
    reason = Reason.TRUNCATED if "truncated" in text.lower() else Reason.DAMAGED_IMAGE
    return refuse(reason, problem=text)


def _serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answer until there are no more questions."""
    header = None
    while kind := questions.read(1):
        pixels = None
        try:
            if kind == b"O":
                name, length = struct.unpack(">8sQ", questions.read(16))
                header = open_with_pillow(questions.read(length), name.rstrip(b"\0").decode())
                answer: dict[str, Any] = {"width": header.width, "height": header.height}
                answer["orientation"] = header.orientation
            else:
                assert header is not None
                samples = header.load()
                pixels, note = to_srgb(samples)
                answer = {"mode": samples.mode, "note": note, "shape": pixels.shape}
                header = None
        except Exception as error:  # the decoders raise whatever their data leads them to
            refusal = as_bad_image(error).refusal
            answer, pixels = {"error": [refusal.reason.name, dict(refusal.details)]}, None
        text = json.dumps(answer).encode()
        answers.write(len(text).to_bytes(4, "big") + text)
        if pixels is not None:
            answers.write(np.ascontiguousarray(pixels).data)
        answers.flush()


if __name__ == "__main__":
    # What a library prints must not get among the answers.
    _answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        _serve(sys.stdin.buffer, _answers)
