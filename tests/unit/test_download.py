"""Downloads over the loopback interface of this machine."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from balle2017.data.download import download
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
