"""The workflow on tiny data, run once; tests work on copies of it."""

import shutil

import filelock
import pytest
from workflow_tools import Workflow, copy_workflow


@pytest.fixture
def fresh(tmp_path) -> Workflow:
    """The workflow, never run."""
    return copy_workflow(tmp_path)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory, worker_id) -> Workflow:
    """Run once, whichever of the test processes needs it first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    output = folder / "output.txt"
    with filelock.FileLock(folder.with_suffix(".lock")):
        if not output.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            output.write_text(copy_workflow(folder).run())
    workflow = Workflow(folder)
    workflow.output = output.read_text()
    return workflow


@pytest.fixture
def finished(_finished, tmp_path) -> Workflow:
    """A copy of the workflow after a whole run."""
    shutil.copytree(_finished.folder, tmp_path / "copy", symlinks=True)
    workflow = Workflow(tmp_path / "copy")
    workflow.output = _finished.output
    return workflow
