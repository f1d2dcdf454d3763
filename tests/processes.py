"""Scripts in processes of their own, forked from one that has TensorFlow already.

Importing TensorFlow costs more than what most tests do with it, so a server imports it once
and forks a process for each script: with its own memory, output, signals and exit status, and
the package imported anew. Tests of how Python itself starts or ends take `subprocess`.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: Seconds after which what a test waits for is taken to hang. No test measures time, so this is
#: far more than a busy machine needs.
PATIENCE_S = 1800

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tensorflow_compression"])


def _run(command: list[str], output: list[Path], environment: dict[str, str]) -> None:
    """Be `python COMMAND`, in the new process."""
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    script = Path(command[0])
    ours = [path for path in sys.path if not Path(path).is_relative_to(ROOT / "tests")]
    sys.path[:] = [str(script.parent), *ours]
    sys.argv = command
    runpy.run_path(str(script), run_name="__main__")


class Script:
    """A running scripts/NAME.py, or a Python program of elsewhere.

    What tests use of `subprocess.Popen` is here too.
    """

    def __init__(self, name: str | Path, *arguments: object):
        self._folder = tempfile.TemporaryDirectory(prefix="output")
        self._output = [Path(self._folder.name, stream) for stream in ("stdout", "stderr")]
        for path in self._output:
            path.touch()
        path = name if isinstance(name, Path) else ROOT / "scripts" / f"{name}.py"
        self.args = [str(path), *map(str, arguments)]
        self._process = _server.Process(
            target=_run, args=(self.args, self._output, dict(os.environ))
        )
        self._process.start()

    @property
    def stdout(self) -> str:
        """What it printed so far."""
        return self._output[0].read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        return self._output[1].read_text(encoding="utf-8")

    def poll(self) -> int | None:
        """Return the exit status (minus the signal that ended it), None before the end."""
        return self._process.exitcode

    def wait(self, timeout: float = PATIENCE_S) -> int:
        """Wait for the end; return the exit status."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout, self.stdout, self.stderr)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it without notice."""
        self._process.kill()
        self._process.join()
