import os

from balle2017.pipeline.failures import Job, failed_jobs


def test_only_jobs_that_this_run_started_and_did_not_finish_are_told(tmp_path):
    def job(name):
        return Job("rule", tmp_path / f"{name}.log", [tmp_path / f"{name}.json", tmp_path])

    names = ("finished", "failed", "earlier", "silent", "rule")
    for name in names:
        job(name).log.write_text("device: CPU\nerror: the disk is full\n\n")
    (tmp_path / "finished.json").write_text("{}")
    (tmp_path / "silent.log").write_text("")
    os.utime(tmp_path / "earlier.log", (1000, 1000))
    assert failed_jobs(map(job, [*names, "never started"]), since=2000) == [
        f"not finished: rule failed; log: {tmp_path / 'failed.log'}",
        "  its last line: error: the disk is full",
        f"not finished: rule silent; log: {tmp_path / 'silent.log'}",
        "  its last line: (nothing)",
        f"not finished: rule; log: {tmp_path / 'rule.log'}",
        "  its last line: error: the disk is full",
    ]
