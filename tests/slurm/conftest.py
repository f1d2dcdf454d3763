"""One cluster for all tests that need one."""

import contextlib
import os
import tempfile
from pathlib import Path

import cluster
import filelock
import pytest
from workflow_tools import Workflow, copy_workflow


@pytest.fixture(scope="session")
def slurm():
    """A SLURM cluster on this machine, which has room for one: other test runs wait."""
    # Only root can start one, and root's lock is nothing that others may open.
    lock = filelock.FileLock(Path(tempfile.gettempdir()) / "balle2017-slurm.lock")
    with lock if os.getuid() == 0 else contextlib.nullcontext():
        if reason := cluster.missing():
            reason = f"no SLURM cluster can be started: {reason}"
            if os.environ.get("BALLE2017_REQUIRE_SLURM"):
                pytest.fail(reason)
            pytest.skip(reason)
        # A socket's path must be short.
        with tempfile.TemporaryDirectory(prefix="slurm") as name:
            folder = Path(name)
            cluster.start(folder)
            try:
                yield folder
            finally:
                cluster.stop(folder)


@pytest.fixture
def workflow(slurm, tmp_path) -> Workflow:
    """The workflow on tiny data, never run, where there is a cluster."""
    return copy_workflow(tmp_path)
