"""Extraction that is killed, runs out of disk, or meets a large archive."""

import contextlib
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tarfile

import pytest
from archives import png, tar_bytes
from helpers import PATIENCE_S, ROOT, run_script, wait_for

SCRIPT = [sys.executable, str(ROOT / "scripts" / "extract.py")]


def content(folder):
    """Return the hash of every file of a dataset, by name."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def size(folder):
    """Return the bytes of a folder that something may be deleting or writing."""
    total = 0
    # os.walk passes over folders that vanish, rglob fails at them.
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


@pytest.mark.parametrize("sampled", [[], ["--max_images", "300"]], ids=["all", "sampled"])
def test_kill_and_rerun_give_the_undisturbed_result(data_dir, tmp_path, sampled):
    source = str(data_dir / "imagenet_sample_train.tar")
    done = run_script("extract", source, "--out", tmp_path / "whole", *sampled)
    assert done.returncode == 0, done.stderr
    killed = tmp_path / "killed"
    moments = random.Random(1)
    for _ in range(4):
        # Bytes are counted, not seconds: a machine is now slow and now fast.
        wanted = moments.uniform(0.02, 0.8) * size(tmp_path / "whole")
        left = size(killed)
        command = [*SCRIPT, source, "--out", str(killed), *sampled]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        # What the attempt before has left goes first.
        assert wait_for(lambda left=left: size(killed) < left or not left, process)
        assert wait_for(lambda wanted=wanted: size(killed) >= wanted, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (killed / "dataset.json").exists()
    done = run_script("extract", source, "--out", killed, *sampled)
    assert done.returncode == 0, done.stderr
    assert content(killed) == content(tmp_path / "whole")


@pytest.mark.parametrize(
    ("count", "sampled"),
    [(60, []), (60, ["--max_images", "60"]), (25, [])],
    ids=["all", "sampled", "in the last picture"],
)
def test_a_full_disk_is_one_clear_error(tmp_path, count, sampled):
    """A limit on file sizes stands for the full disk: both fail in write()."""
    source = tmp_path / "a.tar"
    source.write_bytes(tar_bytes({f"{seed}.png": png(seed, 200, 200) for seed in range(count)}))
    out = tmp_path / "out"
    # Of the 25th picture a part is written, before the write that fails.
    limit = 2_950_000
    done = subprocess.run(
        [*SCRIPT, str(source), "--out", str(out), *sampled],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "nothing was kept" in line
    assert list(out.rglob("*")) == []


def write_many(path, count):
    with tarfile.open(path, "w") as tar:
        for seed in range(count):
            path_in_tar = tarfile.TarInfo(f"{seed}.png")
            data = png(seed, 16, 16)
            path_in_tar.size = len(data)
            import io

            tar.addfile(path_in_tar, io.BytesIO(data))


@pytest.mark.parametrize("sampled", [[], ["--max_images", "100"]], ids=["all", "sampled"])
def test_memory_does_not_grow_with_the_archive(tmp_path, sampled):
    peaks = []
    for count in (900, 18_000):
        source = tmp_path / f"{count}.tar"
        write_many(source, count)
        code = (
            "import resource, runpy, sys\n"
            "sys.argv = sys.argv[1:]\n"
            "sys.path.insert(0, sys.argv.pop(0))\n"
            "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        command = [sys.executable, "-c", code, str(ROOT / "scripts"), SCRIPT[1], str(source)]
        command += ["--out", str(tmp_path / f"{count}"), "--min_size", "16", *sampled]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert "PEAK" in done.stdout, done.stderr
        peaks.append(int(done.stdout.rsplit("PEAK", 1)[1]))
    assert peaks[1] < 1.1 * peaks[0]
