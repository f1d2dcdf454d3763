"""Results of which Snakemake does not know how they were made are not taken for this config's."""

import shutil

from workflow_tools import TINY


def test_results_without_a_record_are_refused(finished):
    shutil.rmtree(finished.folder / ".snakemake")
    changed = {"training": TINY["training"] | {"epochs": 2}}
    for config in ({}, changed):
        finished.configure(**config)
        output = finished.run(status=1)
        assert "error: there is no record of how results/" in output
        assert "or .snakemake was deleted; delete these files or add --forceall" in output
    assert finished.planned("--forceall")["train_model"] == 2
    finished.configure()
    finished.run("--touch", "--forceall")
    assert finished.planned() == {}
    finished.configure(**changed)
    assert finished.planned()["train_model"] == 2


def test_copied_results_are_refused(finished):
    results = finished.folder / "results"
    shutil.copytree(results / "tiny", results / "other", symlinks=True)
    finished.configure(experiment="other", lambdas=[0.01])
    assert "no record of how results/other/" in finished.run("--dry-run", status=1)
    # What there is beside the copy is known.
    shutil.rmtree(results / "other")
    planned = finished.planned()
    assert planned["train_model"] == 1
    assert "extract_archive" not in planned
