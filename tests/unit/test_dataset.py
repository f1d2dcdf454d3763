import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from balle2017.data import extract_tar, extract_zip
from balle2017.dataset import ExtractSettings, ImageStore, extract_archives, pixel_sha256
from balle2017.errors import InputError
from balle2017.files import read_json, read_table
from balle2017.split import split_images
from helpers import make_picture
from PIL import Image


def png(seed: int, height: int = 48, width: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(make_picture(seed, height, width)).save(buffer, "PNG")
    return buffer.getvalue()


def tar_bytes(members: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


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
        zip_bytes(PICTURES),
        tar_bytes({"inner.tar": tar_bytes(PICTURES)}),
        tar_bytes({"inner.zip": zip_bytes(PICTURES)}),
        zip_bytes({"inner.tar": tar_bytes(PICTURES)}),
    ],
    ids=["tar", "gz", "bz2", "xz", "zip", "tar in tar", "zip in tar", "tar in zip"],
)
def test_every_form_of_archive_gives_the_same_pictures(tmp_path, data):
    rows = extract(tmp_path, data)
    assert [row["status"] for row in rows] == ["accepted"] * 4
    assert [Path(row["name"]).name for row in rows] == [f"{seed}.png" for seed in range(4)]
    assert [row["pixel_sha256"] for row in rows] == [
        pixel_sha256(make_picture(seed)) for seed in range(4)
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
    rows = {row["name"]: row for row in extract(tmp_path, tar_bytes(members))}
    assert rows.keys() == members.keys()
    assert rows["good.png"]["status"] == "accepted"
    assert (rows["again.png"]["status"], rows["again.png"]["reason"]) == (
        "skipped",
        "duplicate of good.png",
    )
    assert rows["notes.txt"]["reason"] == "not an image"
    assert rows["cut.png"]["status"] == "rejected"
    assert rows["cut.png"]["reason"].startswith("truncated")
    assert rows["small.png"]["reason"] == "smaller than min_size: 16x16, 32 wanted"
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
    for size in (1, 3):
        folder = tmp_path / str(size)
        folder.mkdir()
        rows = extract(folder, tar_bytes(PICTURES), max_images=size)
        chosen.append({row["name"] for row in rows if row["status"] == "accepted"})
    assert chosen[0] < chosen[1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "neither a tar"),
        (b"not an archive" * 100, "neither a tar"),
        (tar_bytes(PICTURES)[:3000], "damaged or cut short"),
        (tar_bytes(PICTURES, "w:gz")[:-500], "damaged or cut short"),
        (tar_bytes({}), "no usable image"),
        (tar_bytes({"a.txt": b"x"}), "no usable image .1 not an image"),
    ],
    ids=["empty file", "text", "cut tar", "cut gz", "empty tar", "no picture"],
)
def test_unusable_archives_end_the_run_and_leave_nothing(tmp_path, data, message):
    with pytest.raises(InputError, match=message):
        extract(tmp_path, data)
    assert not (tmp_path / "out" / "manifest.csv").exists()
    assert not (tmp_path / "out" / "dataset.json").exists()
    assert not (tmp_path / "out" / ".partial").exists()


def test_links_are_not_followed(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        info = tarfile.TarInfo("../../escape.png")
        data = png(1)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    rows = extract(tmp_path, buffer.getvalue())
    assert rows[0]["reason"] == "not a regular file"
    # Member names are never used as paths: the picture lies in a shard.
    assert not list(tmp_path.rglob("*escape*"))


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
