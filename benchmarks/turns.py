"""Contenders in processes of their own, which take turns."""

import subprocess
import sys
from collections.abc import Callable, Sequence


class Worker:
    """A contender's process, as the one that measures sees it."""

    def __init__(self, command: Sequence[object]):
        """Start it and wait until it is warm."""
        self._process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def _answer(self) -> str:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a contender failed; its error stands above")
        return line

    def measure(self) -> str:
        """Let it take its turn; return its answer, a line."""
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def take_turns(measure: Callable[[], object]) -> None:
    """Be such a process: once warm, print what `measure` returns whenever asked."""
    print("ready", flush=True)
    for _ in sys.stdin:
        print(measure(), flush=True)
