"""Where images come from, and the records that stand for them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from balle2017.errors import InputError
from balle2017.files import file_name, sha256_file
from balle2017.pipeline import sources
from helpers import ROOT

DEFAULTS = {"kodak": None, "train_archive_sha256": None, "training": {"test_dir": None}}


@pytest.fixture
def recorder(tmp_path):
    return sources.Recorder(tmp_path / "records", writes=True)


@pytest.fixture
def hashed(monkeypatch):
    """The files that are hashed, in order."""
    files = []

    def count(path):
        files.append(path.name)
        return sha256_file(path)

    monkeypatch.setattr(sources, "sha256_file", count)
    return files


@pytest.mark.parametrize(
    ("paths", "hashes", "message"),
    [
        (["none.tar"], [], "train_archive is none.tar, which does not exist"),
        (["https://x/y.tar"], [], "train_archive_sha256 must be given, because https://x/y.tar"),
        (
            [str(ROOT / "docs")],
            ["0" * 64],
            "docs is a folder, which has no SHA-256; pack it into a tar",
        ),
        (["https://x/y.tar", "https://x/z.tar"], ["0" * 64], "has 1 entries; it must have one for"),
    ],
)
def test_sources_are_checked(paths, hashes, message):
    with pytest.raises(InputError, match=message):
        sources.check_sources(paths, hashes)


def test_dataset_name_follows_its_settings():
    one = sources.dataset_name(["/a/ILSVRC2012_img_train.tar"], {"min_size": 64})
    assert one.startswith("ILSVRC2012_img_train-")
    assert one != sources.dataset_name(["/a/ILSVRC2012_img_train.tar"], {"min_size": 65})
    assert one == sources.dataset_name(["/a/ILSVRC2012_img_train.tar"], {"min_size": 64})
    # Files of a name may be as long as folders' names, to which digits are added.
    assert len(sources.dataset_name(["x" * 251 + ".tar"], {})) < 150


def test_a_record_follows_content_and_not_time(tmp_path):
    archive, folder = tmp_path / "a.tar", tmp_path / "pictures"
    folder.mkdir()
    archive.write_bytes(b"one")
    (folder / "x.png").write_bytes(b"two")
    record = sources.record_sources([archive, folder], tmp_path / "records")
    text = record.read_text()
    assert [line.split("  ")[1] for line in text.splitlines()] == [
        str(archive),
        str(folder / "x.png"),
    ]
    before = record.stat().st_mtime_ns
    os.utime(archive)
    assert sources.record_sources([archive, folder], tmp_path / "records") == record
    assert record.stat().st_mtime_ns == before
    archive.write_bytes(b"another")
    sources.record_sources([archive, folder], tmp_path / "records")
    assert record.read_text() != text


def test_a_name_with_a_line_break_ends_no_reading(tmp_path):
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "two\nlines.png"):
        (tmp_path / "pictures" / name).write_bytes(b"x")
    record = sources.record_sources([tmp_path / "pictures"], tmp_path / "record")
    assert sources.read_record(record)[str(tmp_path / "pictures" / "a.png")]


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(InputError, match="nothing does not exist"):
        sources.record_sources([tmp_path / "nothing"], tmp_path)


def test_a_source_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(path)

    (tmp_path / "a.tar").write_bytes(b"one")
    monkeypatch.setattr(sources, "sha256_file", refuse)
    with pytest.raises(InputError, match=r"a\.tar is not readable; change its permissions"):
        sources.record_sources([tmp_path / "a.tar"], tmp_path / "records")


def test_nothing_is_hashed_twice(tmp_path, recorder, hashed, picture_folder):
    first = recorder.record([picture_folder])
    assert sorted(hashed) == [f"{seed}.png" for seed in range(5)]
    assert recorder.record([picture_folder]) == first
    assert len(hashed) == 5
    (picture_folder / "3.png").write_bytes(b"other")
    recorder.record([picture_folder])
    assert hashed[5:] == ["3.png"]


def test_a_copy_of_the_same_size_and_time_is_seen(tmp_path, recorder):
    archive, other = tmp_path / "a.zip", tmp_path / "b.zip"
    archive.write_bytes(b"one")
    before = sources.read_record(recorder.folder / recorder.record([archive]))
    status = archive.stat()
    other.write_bytes(b"two")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(other, archive)
    assert archive.stat().st_mtime_ns == status.st_mtime_ns
    assert sources.read_record(recorder.folder / recorder.record([archive])) != before


def test_a_job_neither_walks_nor_hashes(tmp_path, recorder, hashed, picture_folder, monkeypatch):
    archive = tmp_path / "test.zip"
    archive.write_bytes(b"one")
    configs = [
        DEFAULTS | {"test_images": str(path), "train_archive": str(picture_folder)}
        for path in (picture_folder, archive)
    ]
    expected = [
        (sources.test_set(config, recorder, {}), sources.train_sources(config, recorder))
        for config in configs
    ]
    hashed.clear()
    monkeypatch.setattr(sources, "list_test_images", pytest.fail)
    monkeypatch.setattr(sources, "files_below", pytest.fail)
    job = sources.Recorder(recorder.folder, writes=False)
    for config, (test, train) in zip(configs, expected, strict=True):
        assert sources.test_set(config, job, {}) == test
        assert sources.train_sources(config, job) == train
    assert hashed == []


def test_archives_of_one_name_are_several_test_sets(tmp_path, recorder):
    found = []
    for folder in ("za", "zb"):
        path = tmp_path / folder / "test.zip"
        path.parent.mkdir()
        path.write_bytes(folder.encode())
        found.append(sources.test_set(DEFAULTS | {"test_images": str(path)}, recorder, {}))
    assert {test.name for test in found} == {"test"}
    for attribute in ("folder", "record", "archive", "archive_record"):
        assert len({getattr(test, attribute) for test in found}) == 2
    # What rules take as the record of the pictures is not that of the archive.
    assert not {test.record for test in found} & {test.archive_record for test in found}


def test_a_link_to_another_file_of_equal_size_and_times_is_seen(tmp_path, monkeypatch):
    """As those that were unpacked together have."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    link = tmp_path / "link"
    same = os.stat_result((0o100644, 0, 0, 1, 0, 0, 1, 0, 0, 0))
    stat = Path.stat

    def equal(path, **arguments):
        real = stat(path, **arguments)
        return os.stat_result((*same[:1], real.st_ino, *same[2:])) if path == link else real

    monkeypatch.setattr(Path, "stat", equal)
    digests = []
    for name in "ab":
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        record = sources.record_sources([link], tmp_path / "records")
        digests.append(sources.read_record(record)[str(link)])
    assert digests == [sha256_file(tmp_path / name) for name in "ab"]


def test_records_stay_while_another_run_uses_them(tmp_path):
    """It would note what they say when a job ends for what the job has read."""
    file, lock = tmp_path / "a", tmp_path / "records" / "lock"
    file.write_text("one")
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "other").write_text("")
    record = recorded(file, lock)
    before = record.read_bytes()
    file.write_text("two")
    processes = [holder(lock), holder(lock)]
    assert recorded(file, lock).read_bytes() == before
    # One that is not there yet belongs to no job that runs.
    assert recorded(file, lock, "new").is_file()
    # The end of one run says nothing of the other. However it ends, it holds nothing then.
    processes[0].kill()
    processes[0].wait()
    assert recorded(file, lock).read_bytes() == before
    processes[1].kill()
    processes[1].wait()
    assert recorded(file, lock).read_bytes() != before


RECORDING = """
import sys
from pathlib import Path
from balle2017.pipeline.sources import Recorder
file, lock, *name = sys.argv[1:]
recorder = Recorder(Path(lock).parent, True, Path(lock))
print(recorder.record([Path(file)], name=name[0] if name else None), flush=True)
"""


def start(code, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def recorded(file, lock, *name):
    """The record that another process writes, or leaves as it is."""
    output, _ = start(RECORDING, file, lock, *name).communicate()
    return Path(output.strip())


def holder(lock):
    """A process that shares the lock until it is killed."""
    process = start(RECORDING + "sys.stdin.read()", lock.parent / "other", lock)
    assert process.stdout.readline()
    return process


def test_the_names_of_all_folders_of_results_are_taken():
    """The name of a test set has no dot, so no file of results can have it."""
    rules = (ROOT / "workflow" / "rules").glob("*.smk")
    names = re.findall(r"\{EXPERIMENT\}/([\w.]+)", "".join(path.read_text() for path in rules))
    assert {name for name in names if "." not in name} == set(sources.TAKEN)
    assert file_name("rd.csv") == "rd-csv"


@pytest.mark.parametrize("name", sources.TAKEN)
@pytest.mark.parametrize("suffix", ["", ".zip"])
def test_a_test_set_may_not_be_called_like_a_result(
    tmp_path, recorder, picture_folder, name, suffix
):
    path = tmp_path / f"{name}{suffix}"
    if suffix:
        path.write_bytes(b"one")
    else:
        picture_folder.rename(path)
    with pytest.raises(
        InputError, match=f"config: test_images is .*{name}.* other results"
    ) as error:
        sources.test_set(DEFAULTS | {"test_images": str(path)}, recorder, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["kodak", "test_images"])
def test_links_to_results_are_refused(tmp_path, recorder, picture_folder, monkeypatch, key):
    """Their changes would go unnoticed, because a run must not read its own output."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "results" / "kodak"
    made.parent.mkdir()
    picture_folder.rename(made)
    (tmp_path / "mine").mkdir()
    suite = {path.name: sha256_file(path) for path in made.iterdir()}
    for name in suite:
        (tmp_path / "mine" / name).symlink_to(made / name)
    folder = "mine"
    config = DEFAULTS | {"test_images": "kodak" if key == "kodak" else folder, key: folder}
    with pytest.raises(InputError, match=f"config: {key}: mine/0.png is a link to .*; copy"):
        sources.test_set(config, recorder, suite)
    training = DEFAULTS | {"training": {"test_dir": folder}}
    with pytest.raises(InputError, match=r"config: training\.test_dir: mine/0.png is a link"):
        sources.training_test_record(training, recorder)
    # The folder itself may be there.
    config = DEFAULTS | {"test_images": "kodak", "kodak": "results/kodak"}
    assert sources.test_set(config, recorder, suite).folder == "results/kodak"
    # And links to other places are images like any others.
    for name in suite:
        (made / name).rename(tmp_path / name)
        (tmp_path / "mine" / name).unlink()
        (tmp_path / "mine" / name).symlink_to(tmp_path / name)
    config = DEFAULTS | {"test_images": "kodak", "kodak": folder}
    before = sources.read_record(Path(sources.test_set(config, recorder, suite).record))
    assert sorted(before.values()) == sorted(suite.values())


def test_the_kodak_folder_is_hashed_once(tmp_path, recorder, hashed, picture_folder):
    suite = {path.name: sha256_file(path) for path in picture_folder.iterdir()}
    config = DEFAULTS | {"test_images": "kodak", "kodak": str(picture_folder)}
    test = sources.test_set(config, recorder, suite)
    assert (test.name, test.folder, test.archive) == ("kodak", str(picture_folder), None)
    assert sources.test_set(config, recorder, suite) == test
    assert len(hashed) == len(suite)
    (picture_folder / "0.png").write_bytes(b"other")
    with pytest.raises(InputError, match=r"0\.png differs from the original file"):
        sources.test_set(config, recorder, suite)
    config["kodak"] = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"kodak: .*nowhere"):
        sources.test_set(config, recorder, suite)


def test_the_pictures_of_training_are_recorded(tmp_path, recorder, picture_folder):
    assert sources.training_test_record(DEFAULTS, recorder) is None
    config = DEFAULTS | {"training": {"test_dir": str(picture_folder)}}
    record = tmp_path / sources.training_test_record(config, recorder)
    before = record.read_text()
    (picture_folder / "0.png").write_bytes((picture_folder / "1.png").read_bytes())
    sources.training_test_record(config, recorder)
    assert record.read_text() != before
    (picture_folder / "sub").mkdir()
    (picture_folder / "0.png").rename(picture_folder / "sub" / "0.png")
    with pytest.raises(InputError, match=r"config: training\.test_dir: .*0\.png is in a subfold"):
        sources.training_test_record(config, recorder)
    config["training"]["test_dir"] = "nowhere"
    with pytest.raises(InputError, match=r"config: training\.test_dir: nowhere does not exist"):
        sources.training_test_record(config, recorder)
