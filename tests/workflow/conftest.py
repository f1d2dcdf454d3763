"""The workflow on tiny data, run once; tests work on copies of it."""

import shutil

import pytest
from workflow_tools import Workflow, copy_workflow


@pytest.fixture
def fresh(tmp_path) -> Workflow:
    """The workflow, never run."""
    return copy_workflow(tmp_path)


@pytest.fixture(scope="session")
def _finished(tmp_path_factory) -> Workflow:
    workflow = copy_workflow(tmp_path_factory.mktemp("workflow"))
    workflow.output = workflow.run()
    return workflow


@pytest.fixture
def finished(_finished, tmp_path) -> Workflow:
    """A copy of the workflow after a whole run."""
    shutil.copytree(_finished.folder, tmp_path / "copy", symlinks=True)
    workflow = Workflow(tmp_path / "copy")
    workflow.output = _finished.output
    return workflow
