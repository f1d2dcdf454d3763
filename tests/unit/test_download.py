"""Downloads over the loopback interface of this machine."""

import fcntl
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from balle2017.data.download import _fetch, download
from balle2017.errors import WorkError
from balle2017.files import is_url
from file_server import CONTENT, serve
from helpers import run_script

DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serve() as running:
        yield running


def test_urls_are_told_from_paths():
    assert is_url("https://x/y.tar")
    assert not is_url("x/https.tar")


def test_a_file_is_fetched_once(server, tmp_path):
    target = tmp_path / "a" / "x.tar"
    for _ in range(2):
        download(f"{server.url}/x.tar", target, DIGEST.upper())
        assert target.read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [path.name for path in target.parent.iterdir()] == ["x.tar"]


@pytest.mark.parametrize(("path", "ranges"), [("/x", True), ("/no-ranges", False)])
def test_an_interrupted_download_goes_on(server, tmp_path, path, ranges):
    target = tmp_path / "x.tar"
    with pytest.raises(WorkError, match=r"only \d+ of \d+ bytes arrived|IncompleteRead"):
        download(f"{server.url}/drops", target, DIGEST)
    assert not target.exists()
    part = tmp_path / "x.tar.part"
    arrived = part.stat().st_size
    assert 0 < arrived < len(CONTENT)
    download(server.url + path, target, DIGEST)
    assert target.read_bytes() == CONTENT
    assert server.ranges[-1] == f"bytes={arrived}-"


def test_two_at_a_time_fetch_once(server, tmp_path):
    targets = [tmp_path / "x.tar"] * 2
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda target: download(f"{server.url}/x", target, DIGEST), targets))
    assert targets[0].read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_a_call_while_the_file_is_put_in_place_fetches_nothing(server, tmp_path, monkeypatch):
    target = tmp_path / "x.tar"
    later = []
    with ThreadPoolExecutor(1) as pool:

        def start_another(descriptor, flush=os.fsync):
            if not later:
                later.append(pool.submit(download, f"{server.url}/x", target, DIGEST))
                # It should wait for this call to end, so this only gives it the time to begin.
                wait(later, timeout=0.5)
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", start_another)
        download(f"{server.url}/x", target, DIGEST)
        later[0].result()
    assert server.ranges == [None]
    assert target.read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_who_waited_for_a_part_that_is_gone_holds_the_next(server, tmp_path, monkeypatch):
    target, part = tmp_path / "x.tar", tmp_path / "x.tar.part"
    held = []

    def fetch_held(url, path):
        with open(path, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path)
        _fetch(url, path)

    monkeypatch.setattr("balle2017.data.download._fetch", fetch_held)
    with ThreadPoolExecutor(1) as pool:
        with open(part, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            waiting = pool.submit(download, f"{server.url}/x", target, DIGEST)
            # It cannot go on before the lock is free, so this only gives it the time to begin.
            assert not wait([waiting], timeout=0.5).done
            # As after a download with another hash.
            part.unlink()
        waiting.result()
    assert held == [part]
    assert target.read_bytes() == CONTENT


def test_a_complete_part_is_only_checked(server, tmp_path):
    (tmp_path / "x.tar.part").write_bytes(CONTENT)
    download(f"{server.url}/x", tmp_path / "x.tar", DIGEST)
    assert (tmp_path / "x.tar").read_bytes() == CONTENT


def test_another_content_is_refused_and_deleted(server, tmp_path):
    with pytest.raises(WorkError, match=f"has SHA-256 {DIGEST}, not 0000"):
        download(f"{server.url}/x", tmp_path / "x.tar", "0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(server, tmp_path):
    with pytest.raises(WorkError, match=r"/none cannot be downloaded .*404|Not Found"):
        download(f"{server.url}/none", tmp_path / "x.tar", DIGEST)
    assert list(tmp_path.iterdir()) == []


def test_extract_takes_a_url_with_its_hash(server, tmp_path):
    url = f"{server.url}/x.tar"
    done = run_script("extract", url, "--out", tmp_path / "o", "--min_size", 16)
    assert done.returncode == 2
    assert "needs its SHA-256" in done.stderr
    done = run_script("extract", url, "--out", tmp_path / "o", "--min_size", 16, "--sha256", DIGEST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("8 accepted, 0 skipped, 0 rejected")
