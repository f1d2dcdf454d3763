"""Broken and hostile archives: each bad member has a reason, nothing escapes."""

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import encrypted_zip, gz, png, special, tar_bytes, zip_bytes, zst
from balle2017.data import archives
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.errors import InputError
from balle2017.files import read_table
from helpers import make_picture
from PIL import Image

PICTURES = {f"{seed}.png": png(seed) for seed in range(4)}


@pytest.fixture
def extract(tmp_path):
    """Extract an archive below tmp_path/inside; return its rows by name."""

    def run(data: bytes | Path, **settings):
        inside = tmp_path / "inside"
        inside.mkdir(exist_ok=True)
        source = data
        if isinstance(data, bytes):
            source = inside / "archive.bin"
            source.write_bytes(data)
        before = {path for path in tmp_path.rglob("*") if inside not in path.parents}
        extract_archives([source], inside / "out", ExtractSettings(min_size=32, **settings))
        after = {path for path in tmp_path.rglob("*") if inside not in path.parents}
        assert before == after, "something was written outside the target"
        names = {path.name for path in (inside / "out").iterdir()}
        assert names == {"manifest.csv", "dataset.json", "images"}
        return {row["name"]: row for row in read_table(inside / "out" / "manifest.csv")}

    return run


@pytest.mark.parametrize(
    "name", ["../../escape.png", "/tmp/escape.png", "a/../../../escape.png", "..\\..\\escape.png"]
)
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_names_are_never_paths(extract, make, name, tmp_path):
    rows = extract(make({name: png(9), **PICTURES}))
    assert sum(row["status"] == "accepted" for row in rows.values()) == 5
    assert not list(tmp_path.rglob("*escape*"))
    assert not Path("/tmp/escape.png").exists()


@pytest.mark.parametrize(
    "member",
    [
        special(tarfile.SYMTYPE, "/etc/passwd"),
        special(tarfile.SYMTYPE, "../../x"),
        special(tarfile.LNKTYPE, "/etc/passwd"),
        special(tarfile.CHRTYPE),
        special(tarfile.BLKTYPE),
        special(tarfile.FIFOTYPE),
    ],
    ids=["symlink", "relative symlink", "hard link", "character device", "block device", "fifo"],
)
def test_links_and_devices_are_skipped(extract, member):
    rows = extract(tar_bytes({"bad.png": member, **PICTURES}))
    assert (rows["bad.png"]["status"], rows["bad.png"]["reason"]) == (
        "skipped",
        "not a regular file",
    )
    assert len(rows) == 5


def test_links_in_zips_are_skipped(extract):
    buffer = io.BytesIO(zip_bytes(PICTURES))
    with zipfile.ZipFile(buffer, "a") as file:
        info = zipfile.ZipInfo("link.png")
        info.external_attr = 0o120777 << 16
        file.writestr(info, "/etc/passwd")
    assert extract(buffer.getvalue())["link.png"]["reason"] == "not a regular file"


def test_control_characters_do_not_reach_the_manifest(extract):
    rows = extract(tar_bytes({"a\x1b[31m\n\x07b\u202e.png": png(9), **PICTURES}))
    assert "a\\x1b[31m\\n\\x07b\\u202e.png" in rows


def test_names_that_collide_are_two_pictures(extract):
    names = ["A.png", "a.png", "\u00e9.png", "e\u0301.png"]
    rows = extract(tar_bytes({name: png(10 + index) for index, name in enumerate(names)}))
    assert [row["status"] for row in rows.values()] == ["accepted"] * 4


def test_one_name_twice_is_two_pictures(extract, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for seed in (1, 2):
            info = tarfile.TarInfo("same.png")
            info.size = len(png(seed))
            tar.addfile(info, io.BytesIO(png(seed)))
    extract(buffer.getvalue())
    table = read_table(tmp_path / "inside" / "out" / "manifest.csv")
    assert [row["status"] for row in table] == ["accepted"] * 2


def test_an_image_over_the_pixel_limit_is_not_decoded(extract):
    buffer = io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) * 100 < 20000 * 20000 // 8
    rows = extract(tar_bytes({"bomb.png": buffer.getvalue(), **PICTURES}))
    assert rows["bomb.png"]["status"] == "rejected"
    assert rows["bomb.png"]["reason"].startswith("over the pixel limit: 20000x20000")


def test_a_zip_bomb_ends_the_run(extract, monkeypatch, tmp_path):
    monkeypatch.setattr(archives, "_EXPANSION_ALLOWANCE", 1 << 20)
    zeros = {f"{index}.bin": bytes(1 << 20) for index in range(30)}
    bomb = zip_bytes(zeros, zipfile.ZIP_DEFLATED)
    for data in (bomb, tar_bytes({"inner.zip": bomb}), zip_bytes({"inner.zip": bomb})):
        with pytest.raises(InputError, match="expands to more than 100 times its size"):
            extract(data)
        assert not (tmp_path / "inside" / "out" / "manifest.csv").exists()


def test_a_quine_of_archives_ends_at_the_depth_limit(extract):
    data = png(9)
    for level in range(7):
        data = zip_bytes({f"{level}.zip" if level else "deep.png": data})
    rows = extract(tar_bytes({"matryoshka.zip": data, **PICTURES}))
    (deep,) = [row for name, row in rows.items() if name.startswith("matryoshka")]
    assert deep["reason"] == "archives nested more than 4 levels deep"


def test_a_member_over_the_size_limit_is_skipped(extract, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 100_000)
    rows = extract(tar_bytes({"large.bin": bytes(100_001), **PICTURES}))
    assert rows["large.bin"]["reason"] == "larger than 100000 bytes"


def test_a_bad_crc_is_skipped(extract):
    data = bytearray(zip_bytes(PICTURES))
    position = data.find(PICTURES["1.png"]) + 200
    data[position] ^= 1
    rows = extract(bytes(data))
    assert rows["1.png"]["status"] == "skipped"
    assert rows["1.png"]["reason"].startswith("damaged: Bad CRC-32")
    assert sum(row["status"] == "accepted" for row in rows.values()) == 3


@pytest.mark.parametrize(
    "inner",
    [
        tar_bytes(PICTURES)[:2000],
        gz(tar_bytes(PICTURES))[:-20],
        zst(tar_bytes(PICTURES))[:-20],
        b"PK\x03\x04" + bytes(600),
    ],
    ids=["cut tar", "cut gz", "cut zst", "broken zip"],
)
def test_a_damaged_inner_archive_is_skipped(extract, inner):
    rows = extract(tar_bytes({"inner": inner, "good.png": png(9)}))
    (bad,) = [row for row in rows.values() if row["name"] == "inner"]
    assert bad["status"] == "skipped"
    assert bad["reason"].startswith("damaged archive: ")
    assert rows["good.png"]["status"] == "accepted"


def flipped(data: bytes, position: int) -> bytes:
    damaged = bytearray(data)
    damaged[position] ^= 0x10
    return bytes(damaged)


WHOLE = tar_bytes(PICTURES)
# tarfile fills up to 10,240 bytes with zeros; what carries content ends before.
CONTENT = len(WHOLE.rstrip(b"\0")) // 512 * 512 + 512

# The second picture's header begins after the first one's header and data.
SECOND = 512 + -(-len(PICTURES["0.png"]) // 512) * 512

UNUSABLE = {
    "damaged header": (flipped(WHOLE, SECOND + 100), "a header is damaged"),
    "bytes after the end": (WHOLE + b"more" * 300, "there is data after its end mark"),
    "two tars in one file": (WHOLE + WHOLE, "there is data after its end mark"),
    "two tars in one gz": (gz(WHOLE + WHOLE), "there is data after its end mark"),
    "empty file": (b"", "neither a tar"),
    "text": (b"not an archive" * 100, "neither a tar"),
    "tar cut in a header": (WHOLE[:700], "damaged or cut short"),
    "tar cut in a picture": (WHOLE[:3000], "damaged or cut short"),
    "tar cut between members": (WHOLE[:CONTENT], "damaged or cut short: it ends without an end"),
    "cut gz": (gz(WHOLE)[:-500], "damaged or cut short"),
    "gz without its checksum": (gz(WHOLE)[:-8], "damaged or cut short"),
    "gz with a wrong checksum": (flipped(gz(WHOLE), -6), "damaged or cut short: CRC"),
    "cut bz2": (tar_bytes(PICTURES, "w:bz2")[:-50], "damaged or cut short"),
    "damaged bz2": (flipped(tar_bytes(PICTURES, "w:bz2"), 900), "damaged or cut short"),
    "cut xz": (tar_bytes(PICTURES, "w:xz")[:-50], "damaged or cut short"),
    "damaged xz": (flipped(tar_bytes(PICTURES, "w:xz"), 900), "damaged or cut short"),
    "cut zst": (zst(WHOLE)[:-50], "damaged or cut short"),
    "cut zip": (zip_bytes(PICTURES)[:-30], "damaged or cut short"),
    "encrypted zip": (encrypted_zip(PICTURES), r"no usable image \(4 encrypted\)"),
    "empty tar": (tar_bytes({}), r"no usable image \(it is empty\)"),
    "empty zip": (zip_bytes({}), r"no usable image \(it is empty\)"),
    "no picture": (tar_bytes({"a.txt": b"x"}), r"no usable image \(1 not an image\)"),
    "gz of text": (gz(b"text" * 1000), "compressed, but not a tar"),
}


def test_a_tar_from_before_ustar_is_read(extract):
    data = bytearray(tar_bytes({"old.png": png(1)}))
    data[257:512] = bytes(255)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert extract(bytes(data))["old.png"]["status"] == "accepted"


def test_an_absurd_header_is_not_read_into_memory(extract):
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 3 << 30
    data = long_name.tobuf(tarfile.GNU_FORMAT) + bytes(10240)
    with pytest.raises(InputError, match="a header has 3221225472 bytes"):
        extract(data)


def backwards(extended: bool) -> bytes:
    """Return a tar whose second member has a size below 0, in an extended header or its own."""
    info = tarfile.TarInfo("back.txt")
    if extended:
        info.pax_headers = {"size": "-1536"}
        header = info.tobuf(tarfile.PAX_FORMAT)
    else:
        info.size = -512
        header = info.tobuf(tarfile.GNU_FORMAT)
    return WHOLE[:CONTENT] + header + bytes(1024)


@pytest.mark.parametrize("extended", [False, True])
def test_a_tar_that_leads_backwards_ends(extract, extended):
    with pytest.raises(InputError, match=r"damaged or cut short: a (header|member) has -\d+ bytes"):
        extract(backwards(extended))
    rows = extract(tar_bytes({"in.tar": backwards(extended), "ok.png": png(9)}))
    assert rows["in.tar"]["reason"].startswith("damaged archive: ")
    assert rows["ok.png"]["status"] == "accepted"


def sparse(kind: str) -> bytes:
    """Return a tar with a picture whose header says that it is mostly a hole of a gigabyte."""
    info, data = tarfile.TarInfo("hole.png"), b"2\n0\n1\n1073741824\n0\n".ljust(1024, b"x")
    if kind == "old":
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[156:157], header[483:495] = tarfile.GNUTYPE_SPARSE, b"%011o\0" % (1 << 30)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return WHOLE[:CONTENT] + bytes(header) + bytes(1024)
    info.size = len(data)
    info.pax_headers = {"GNU.sparse.realsize": str(1 << 30)} | (
        {"GNU.sparse.map": "0,1,1073741824,0", "GNU.sparse.size": str(1 << 30)}
        if kind == "0.1"
        else {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    )
    return WHOLE[:CONTENT] + info.tobuf(tarfile.PAX_FORMAT) + data + bytes(1024)


@pytest.mark.parametrize("kind", ["old", "0.1", "1.0"])
def test_a_sparse_file_is_not_unpacked(extract, kind):
    rows = extract(sparse(kind))
    assert rows["hole.png"]["reason"].startswith("sparse file of a tar; pack it without")
    assert sum(row["status"] == "accepted" for row in rows.values()) == 4
    # What it shows is unknown, so it is lost.
    with pytest.raises(InputError, match="20% of the images were rejected"):
        extract(sparse(kind), max_rejected=0.1)


def test_bytes_that_are_passed_over_count_as_expansion(extract, monkeypatch):
    monkeypatch.setattr(archives, "_EXPANSION_ALLOWANCE", 1 << 20)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 100_000)
    with pytest.raises(InputError, match="expands to more than 100 times its size"):
        extract(zst(tar_bytes({"zeros.bin": bytes(30 << 20), **PICTURES})))


def test_a_member_that_confuses_the_decoder_does_not_end_the_run(extract):
    icon = io.BytesIO()
    Image.new("RGB", (64, 64)).save(icon, "ICO")
    texture = b"DDS " + (124).to_bytes(4, "little") + bytes(120) + b"\xff" * 200
    rows = extract(tar_bytes({"a.ico": icon.getvalue(), "b.dds": texture, **PICTURES}))
    # Formats whose readers decode while they open are not opened.
    assert rows["a.ico"]["reason"].startswith("image format not supported: icon;")
    assert rows["b.dds"]["reason"].startswith("image format not supported: DDS;")
    assert len(rows) == 6


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("settings", [{}, {"max_images": 2}], ids=["all", "sampled"])
def test_unusable_archives_end_the_run_and_leave_nothing(extract, tmp_path, case, settings):
    data, message = UNUSABLE[case]
    with pytest.raises(InputError, match=message) as error:
        extract(data, **settings)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "inside" / "out").rglob("*")) == []


def test_an_unusable_archive_leaves_the_earlier_dataset(extract, tmp_path):
    extract(WHOLE)
    out = tmp_path / "inside" / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError):
        extract(WHOLE[:3000])
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_too_many_rejects_end_the_run(extract):
    members = {f"{seed}.png": png(seed)[:300] for seed in range(6)} | {"good.png": png(9)}
    with pytest.raises(InputError, match=r"86% of the images were rejected \(6 truncated"):
        extract(tar_bytes(members))
    # The share is one of all images, sampled or not.
    small = {f"{seed}.png": png(seed, 16, 16) for seed in range(6)}
    many = {f"a{seed}.png": png(seed) for seed in range(10, 20)}
    rows = extract(tar_bytes(small | many), max_images=2)
    assert sum(row["status"] == "accepted" for row in rows.values()) == 2
    # What only decoding finds is counted among those that were decoded.
    cut = {f"{seed}.png": png(seed)[:300] for seed in range(40)}
    with pytest.raises(InputError, match=r"\d+% of the 12 sampled images were rejected; max_rej"):
        extract(tar_bytes(cut | many), max_images=12)
    # Only 'rejected' counts: text files do not.
    members = {f"{index}.txt": b"text" for index in range(50)} | {"good.png": png(9)}
    assert extract(tar_bytes(members))["good.png"]["status"] == "accepted"


def test_a_folder_with_links_and_special_files(extract, tmp_path, picture_folder):
    outside = tmp_path / "outside.png"
    Image.fromarray(make_picture(50)).save(outside)
    (picture_folder / "out.png").symlink_to(outside)
    (picture_folder / "in.png").symlink_to(picture_folder / "0.png")
    (picture_folder / "loop").symlink_to(picture_folder)
    (picture_folder / "circle.png").symlink_to(picture_folder / "circle.png")
    os.mkfifo(picture_folder / "pipe.png")
    rows = extract(picture_folder)
    assert rows["out.png"]["reason"] == "a link to a file outside the folder"
    assert rows["pipe.png"]["reason"] == "not a regular file"
    assert rows["loop"]["reason"] == rows["circle.png"]["reason"] == "not a regular file"
    # One of two equal pictures is the duplicate of the other.
    assert rows["in.png"]["reason"] == "duplicate of 0.png"
    assert sum(row["status"] == "accepted" for row in rows.values()) == 5


def test_a_folder_that_may_not_be_read_has_a_row(extract, monkeypatch, picture_folder):
    closed = picture_folder / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refuse(path):
        # Permissions do not stop root, who may run the tests.
        if str(path) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert extract(picture_folder)["closed/"]["reason"] == "not readable"


@pytest.mark.parametrize("settings", [{}, {"max_images": 2}], ids=["all", "sampled"])
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("{}.heic", bytes(4) + b"ftypheic" + bytes(99), "20 image format not supported"),
        ("{}.jpg", b"<html>", "20 not an image, though named like one"),
        ("{}.dng", b"MM\0*" + bytes(99), "20 image format not supported"),
        ("{}", bytes(128) + b"DICM" + bytes(99), "20 image format not supported"),
        ("{}", b"SIMPLE  =                    T" + bytes(99), "20 image format not supported"),
    ],
)
def test_pictures_of_formats_that_are_not_read_count_as_rejected(
    extract, settings, name, data, reason
):
    members = {name.format(index): data + bytes([index]) for index in range(20)} | PICTURES
    message = rf"83% of the images were rejected \({reason}.*the first is {name.format(0)}: "
    with pytest.raises(InputError, match=message):
        extract(tar_bytes(members), **settings)
    rows = extract(tar_bytes(members), max_rejected=1, **settings)
    assert {rows[name.format(index)]["status"] for index in range(20)} == {"rejected"}


def test_pictures_that_nobody_could_see_count_too(extract):
    buffer = io.BytesIO(encrypted_zip({f"{index}.png": png(9) for index in range(20)}))
    with pytest.raises(InputError, match=r"83% of the images were rejected \(20 encrypted"):
        extract(tar_bytes({"in.zip": buffer.getvalue(), **PICTURES}))
    texts = encrypted_zip({f"{index}.txt": b"text" for index in range(20)})
    assert extract(tar_bytes({"in.zip": texts, **PICTURES}))["0.png"]["status"] == "accepted"
