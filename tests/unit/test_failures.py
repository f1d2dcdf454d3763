import os

from balle2017.failures import Job, failed_jobs


def test_only_jobs_that_this_run_started_and_did_not_finish_are_told(tmp_path):
    jobs = []
    for name in ("finished", "failed", "earlier", "silent"):
        jobs.append(Job(name, tmp_path / f"{name}.json", tmp_path / f"{name}.log"))
        jobs[-1].log.write_text("device: CPU\nerror: the disk is full\n\n")
    jobs.append(Job("never started", tmp_path / "none.json", tmp_path / "none.log"))
    (tmp_path / "finished.json").write_text("{}")
    (tmp_path / "silent.log").write_text("")
    os.utime(tmp_path / "earlier.log", (1000, 1000))
    assert failed_jobs(jobs, since=2000) == [
        f"not finished: failed; log: {tmp_path / 'failed.log'}",
        "  its last line: error: the disk is full",
        f"not finished: silent; log: {tmp_path / 'silent.log'}",
        "  its last line: (nothing)",
    ]
