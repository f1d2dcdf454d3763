"""What a run that failed tells at its end: which models, why, and where their logs are."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """A job of the workflow.

    Attributes:
        name: in words.
        result: the file that it writes last.
        log: what it printed.
    """

    name: str
    result: Path
    log: Path


def failed_jobs(jobs: Iterable[Job], since: float) -> list[str]:
    """Return two lines for each job that wrote a log and no result.

    Args:
        jobs: all that the run may have started.
        since: logs from before this time, in seconds of the epoch, are another run's.
    """
    lines = []
    for job in jobs:
        if job.result.is_file() or not job.log.is_file() or job.log.stat().st_mtime < since:
            continue
        written = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(written) if line.strip()), "(nothing)")
        lines += [f"not finished: {job.name}; log: {job.log}", f"  its last line: {last}"]
    return lines
