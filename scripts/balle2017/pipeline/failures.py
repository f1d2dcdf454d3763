"""What a failed run prints at its end: which jobs failed, why, and where their logs are."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """A job of the workflow.

    Attributes:
        rule: its rule's name.
        log: file with its output, named after the job.
        results: the files and folders that it makes; Snakemake deletes those of a failed job.
    """

    rule: str
    log: Path
    results: Sequence[Path]


def failed_jobs(jobs: Iterable[Job], since: float) -> list[str]:
    """Return two lines for each job that wrote a log but not all of its results.

    Args:
        jobs: all jobs that the run may have started.
        since: start of the run, in seconds since the epoch; older logs are those of other runs.
    """
    lines = []
    for job in jobs:
        done = all(result.exists() for result in job.results)
        if done or not job.log.is_file() or job.log.stat().st_mtime < since:
            continue
        written = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(written) if line.strip()), "(nothing)")
        name = job.rule if job.log.stem == job.rule else f"{job.rule} {job.log.stem}"
        lines += [f"not finished: {name}; log: {job.log}", f"  its last line: {last}"]
    return lines
