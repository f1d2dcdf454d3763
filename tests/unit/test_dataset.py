import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from archives import png, tar_bytes, zip_bytes, zst
from balle2017.data import extract_tar, extract_zip
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.split import split_images
from balle2017.data.store import ImageStore, pixel_hash
from balle2017.errors import InputError, WorkError
from balle2017.files import read_json, read_table, write_table
from helpers import PATIENCE_S, ROOT, make_picture


def extract(tmp_path: Path, data: bytes, **settings) -> list[dict[str, str]]:
    source = tmp_path / "archive.bin"
    source.write_bytes(data)
    extract_archives([source], tmp_path / "out", ExtractSettings(min_size=32, **settings))
    return read_table(tmp_path / "out" / "manifest.csv")


PICTURES = {f"a/{seed}.png": png(seed) for seed in range(4)}


@pytest.mark.parametrize(
    "data",
    [
        tar_bytes(PICTURES),
        tar_bytes(PICTURES, "w:gz"),
        tar_bytes(PICTURES, "w:bz2"),
        tar_bytes(PICTURES, "w:xz"),
        zst(tar_bytes(PICTURES)),
        zip_bytes(PICTURES),
        tar_bytes({"inner.tar": tar_bytes(PICTURES)}),
        tar_bytes({"inner.zip": zip_bytes(PICTURES)}),
        zip_bytes({"inner.tar": tar_bytes(PICTURES)}),
    ],
    ids=["tar", "gz", "bz2", "xz", "zst", "zip", "tar in tar", "zip in tar", "tar in zip"],
)
def test_every_form_of_archive_gives_the_same_pictures(tmp_path, data):
    rows = extract(tmp_path, data)
    assert [row["status"] for row in rows] == ["accepted"] * 4
    assert [Path(row["name"]).name for row in rows] == [f"{seed}.png" for seed in range(4)]
    assert [row["pixel_hash"] for row in rows] == [
        pixel_hash(make_picture(seed)) for seed in range(4)
    ]


def test_every_member_has_a_row_and_a_reason(tmp_path):
    members = {
        "good.png": png(1),
        "again.png": png(1) + b"trailing bytes",
        "notes.txt": b"text",
        "cut.png": png(2)[:300],
        "small.png": png(3, 16, 16),
        ".hidden.png": png(4),
    }
    rows = extract(tmp_path, tar_bytes(members), max_rejected=0.9)
    rows = {row["name"]: row for row in rows}
    assert rows.keys() == members.keys()
    assert rows["good.png"]["status"] == "accepted"
    assert (rows["again.png"]["status"], rows["again.png"]["reason"]) == (
        "skipped",
        "duplicate of good.png",
    )
    assert rows["notes.txt"]["reason"] == "not an image"
    assert rows["cut.png"]["status"] == "rejected"
    assert rows["cut.png"]["reason"].startswith("truncated")
    assert rows["small.png"]["reason"] == "smaller than min_size (32): 16x16"
    assert rows[".hidden.png"]["reason"] == "hidden file"
    summary = read_json(tmp_path / "out" / "dataset.json")
    assert (summary["accepted"], summary["skipped"], summary["rejected"]) == (1, 3, 2)


def test_packed_pixels_are_the_decoded_ones(tmp_path):
    extract(tmp_path, tar_bytes(PICTURES))
    split_images(tmp_path / "out" / "manifest.csv", tmp_path / "lists", 0.5, 1)
    found = {}
    for side in ("train", "val"):
        store = ImageStore(tmp_path / "lists" / f"{side}.csv")
        found |= {name: store[index] for index, name in enumerate(store.names)}
    assert found.keys() == PICTURES.keys()
    for seed in range(4):
        np.testing.assert_array_equal(found[f"a/{seed}.png"], make_picture(seed))


def test_sample_does_not_depend_on_the_order_of_members(tmp_path):
    backwards = dict(reversed(PICTURES.items()))
    chosen = []
    for index, members in enumerate((PICTURES, backwards)):
        folder = tmp_path / str(index)
        folder.mkdir()
        rows = extract(folder, tar_bytes(members), max_images=2)
        chosen.append({row["name"] for row in rows if row["status"] == "accepted"})
        assert {row["reason"] for row in rows if row["status"] == "skipped"} == {"not sampled"}
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 2


def test_a_sample_of_more_is_a_superset(tmp_path):
    chosen = []
    for size in (2, 3):
        folder = tmp_path / str(size)
        folder.mkdir()
        rows = extract(folder, tar_bytes(PICTURES), max_images=size)
        chosen.append({row["name"] for row in rows if row["status"] == "accepted"})
    assert chosen[0] < chosen[1]


def test_documented_fronts_refuse_other_forms(tmp_path):
    tar, zipped = tmp_path / "a.tar", tmp_path / "a.zip"
    tar.write_bytes(tar_bytes(PICTURES))
    zipped.write_bytes(zip_bytes(PICTURES))
    settings = ExtractSettings(min_size=32)
    assert extract_tar(tar, tmp_path / "t", settings)["accepted"] == 4
    assert extract_zip(zipped, tmp_path / "z", settings)["accepted"] == 4
    with pytest.raises(InputError, match="is not a tar"):
        extract_tar(zipped, tmp_path / "x")
    with pytest.raises(InputError, match="is not a zip"):
        extract_zip(tar, tmp_path / "x")


def test_nested_archive_of_real_images(data_dir, tmp_path):
    source = data_dir / "imagenet_sample_train.tar"
    counts = extract_archives([source], tmp_path / "out", ExtractSettings(min_size=64))
    with tarfile.open(source) as tar:
        members = 0
        for inner in tar:
            with tarfile.open(fileobj=tar.extractfile(inner)) as archive:
                members += len(archive.getnames())
    assert sum(counts.values()) == members
    assert counts["accepted"] > 0.99 * sum(counts.values())


def test_more_shards_than_a_process_may_open_at_first(tmp_path):
    columns = ["name", "width", "height", "shard", "offset"]
    rows = []
    for index in range(100):
        (tmp_path / f"{index}.bin").write_bytes(bytes([index] * 3))
        rows.append(dict(zip(columns, (str(index), 1, 1, f"{index}.bin", 0), strict=True)))
    write_table(tmp_path / "list.csv", columns, rows)
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv[1])\n"
        "from balle2017.data.store import ImageStore\n"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))\n"
        "store = ImageStore(sys.argv[2])\n"
        "from balle2017.training.input import validation_patches\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64\n"
        "assert validation_patches(store, 1)[98].tolist() == [[[98, 98, 98]]]\n"
        "print(store[99].tolist())"
    )
    command = [sys.executable, "-c", code, str(ROOT / "scripts"), str(tmp_path / "list.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "[[[99, 99, 99]]]\n", done.stderr


def test_a_dataset_that_is_replaced_under_a_reader_is_noticed(tmp_path):
    extract(tmp_path, tar_bytes(PICTURES))
    split_images(tmp_path / "out" / "manifest.csv", tmp_path / "lists", 0.5, 1)
    store = ImageStore(tmp_path / "lists" / "train.csv")
    before = store[0].copy()
    assert store[0].shape == store.shape(0)
    assert not store[0].flags.writeable
    others = {f"{seed}.png": png(seed) for seed in range(20, 24)}
    extract(tmp_path, tar_bytes(others))
    with pytest.raises(WorkError, match="was replaced while it was read"):
        store[0]
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(WorkError, match="was replaced while it was read"):
        store[0]
    assert before.shape == store.shape(0)
