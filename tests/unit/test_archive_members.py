"""Members that are compressed files, and archives of kinds or states that cannot be read."""

import bz2
import io
import lzma
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archives import gz, png, tar_bytes, zip_bytes, zst
from balle2017.data import archives as archives_module
from balle2017.data.archives import iterate_members, source_size
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.streams import Stream
from balle2017.data.testset import unpack_test_images
from balle2017.errors import InputError
from balle2017.files import read_table

PICTURES = {f"{seed}.png": png(seed) for seed in range(4)}
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gz,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zst,
}


def extracted(tmp_path: Path, data: bytes, **settings) -> dict[str, dict[str, str]]:
    """Extract an archive; return its rows by name."""
    source = tmp_path / "archive.bin"
    source.write_bytes(data)
    extract_archives([source], tmp_path / "out", ExtractSettings(min_size=32, **settings))
    return {row["name"]: row for row in read_table(tmp_path / "out" / "manifest.csv")}


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes, lambda files: gz(tar_bytes(files))])
@pytest.mark.parametrize("end", COMPRESSORS)
def test_a_compressed_file_is_what_it_holds(tmp_path, make, end):
    compress = COMPRESSORS[end]
    members = {
        f"labels.csv.{end}": compress(b"name,label\n" * 100),
        f"empty.{end}": compress(b""),
        f"photo.ppm.{end}": compress(png(8)),
        f"tar.{end}": compress(tar_bytes({"inner.png": png(9)})),
        f"zip.{end}": compress(zip_bytes({"inner.png": png(10)})),
        f"twice.{end}": compress(compress(b"text")),
    }
    rows = extracted(tmp_path, make(PICTURES | members))
    assert rows[f"labels.csv.{end}"]["reason"] == "not an image"
    assert rows[f"empty.{end}"]["reason"] == rows[f"twice.{end}"]["reason"] == "not an image"
    used = {name for name, row in rows.items() if row["status"] == "accepted"}
    assert used == {*PICTURES, f"photo.ppm.{end}", f"tar.{end}/inner.png", f"zip.{end}/inner.png"}
    assert unpack_test_images(tmp_path / "archive.bin", tmp_path / "test") == 7


@pytest.mark.parametrize("end", COMPRESSORS)
def test_a_compressed_file_that_is_cut_has_a_reason(tmp_path, end):
    # So many bytes that the damage comes after those that tell a tar.
    whole = COMPRESSORS[end](random.Random(1).randbytes(2_000_000))
    rows = extracted(tmp_path, tar_bytes(PICTURES | {f"a.csv.{end}": whole[: len(whole) // 2]}))
    assert rows[f"a.csv.{end}"]["reason"].startswith("damaged: ")
    # It was no archive, so no picture is lost with it.
    assert unpack_test_images(tmp_path / "archive.bin", tmp_path / "test") == 4


@pytest.mark.parametrize("text", [b"BZhang, X.", b"\x1f\x8b is how gzip begins", b"PK is a name"])
def test_a_text_that_begins_like_an_archive_is_a_text(tmp_path, text):
    rows = extracted(tmp_path, tar_bytes(PICTURES | {"note.txt": text * 60}))
    assert rows["note.txt"]["reason"] == "not an image"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!\x1a\x07\x01\x00", "RAR"),
        (b"\x1f\x9d\x90", "compress"),
        (lzma.compress(b"picture", lzma.FORMAT_ALONE), "lzma without xz"),
        (b"\x89LZO\0\r\n\x1a\n", "lzop"),
        (b"MSCF\0\0\0\0", "CAB"),
        (b"070701", "cpio"),
        (b"!<arch>\n", "ar"),
        (b"PK\x07\x08PK\x03\x04", "zip in several parts"),
    ],
)
def test_archives_of_other_kinds_are_named(tmp_path, head, name):
    data = tar_bytes(PICTURES | {"more.bin": head + bytes(600)})
    reason = extracted(tmp_path, data)["more.bin"]["reason"]
    assert reason.startswith(f"archive format not supported: {name}")
    with pytest.raises(InputError, match=rf"more\.bin: archive format not supported: {name}"):
        unpack_test_images(tmp_path / "archive.bin", tmp_path / "test")


def with_method(data: bytes, number: int) -> bytes:
    """Return a zip whose members claim another method of compression."""
    changed = bytearray(data)
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = data.find(signature)
        while position >= 0:
            struct.pack_into("<H", changed, position + offset, number)
            position = data.find(signature, position + 4)
    return bytes(changed)


@pytest.mark.parametrize(
    ("number", "name"), [(9, "deflate64"), (93, "zstd"), (95, "xz"), (77, "number 77 of zip")]
)
def test_a_method_of_compression_that_is_not_read_is_the_reason(tmp_path, number, name):
    data = with_method(zip_bytes(PICTURES), number)
    sentence = f"compression method not supported: {name}"
    with pytest.raises(InputError, match=rf"holds no usable image \(4 compression.*{sentence}"):
        extracted(tmp_path, data)
    rows = extracted(tmp_path, tar_bytes({"in.zip": data, "ok.png": png(9)}), max_rejected=1)
    assert rows["in.zip/0.png"]["reason"] == sentence
    assert rows["in.zip/0.png"]["code"] == "compression"
    assert rows["ok.png"]["status"] == "accepted"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_other_methods_of_zip_are_read(tmp_path, method):
    rows = extracted(tmp_path, zip_bytes(PICTURES, method))
    assert {row["status"] for row in rows.values()} == {"accepted"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_other_methods_of_zip_are_checked(tmp_path, method):
    picture = random.Random(2).randbytes(3000)
    whole = zip_bytes({"0.png": png(0), "a.bin": picture, "empty": b""}, method)
    directory = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"PK\x01\x02"))
    for at, problem in ((16, "Bad CRC-32"), (24, "damaged: ")):
        data = bytearray(whole)
        data[directory + at + 1] ^= 1  # of the checksum, or of the size
        rows = extracted(tmp_path, bytes(data))
        assert problem in rows["a.bin"]["reason"]
        assert rows["0.png"]["status"] == "accepted"
        assert rows["empty"]["reason"] == "not an image"
    data = bytearray(whole)
    data[whole.index(b"a.bin") + 1000] ^= 1
    assert extracted(tmp_path, bytes(data))["a.bin"]["reason"].startswith("damaged: ")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_of_a_zip_no_more_is_unpacked_than_is_read(tmp_path, monkeypatch, method):
    monkeypatch.setattr(archives_module, "MAX_MEMBER_BYTES", 100_000)
    (tmp_path / "a.zip").write_bytes(zip_bytes({"zeros.bin": bytes(100_000_000)}, method))
    tracemalloc.start()
    try:
        (member,) = iterate_members(tmp_path / "a.zip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(member.refusal) == "larger than 100000 bytes"
    assert peak < 30_000_000


def test_a_zip_that_lacks_bytes_in_its_middle_is_named(tmp_path):
    data = zip_bytes(PICTURES)
    cut = data[:2000] + data[2500:]
    with pytest.raises(InputError, match=r"archive\.bin is damaged or cut short: bytes are miss"):
        extracted(tmp_path, cut)
    rows = extracted(tmp_path, tar_bytes({"in.zip": cut, "ok.png": png(9)}), max_rejected=1)
    assert rows["in.zip"]["reason"].startswith("damaged archive: bytes are missing")


def test_zips_that_were_joined_are_named(tmp_path):
    # The directory of the last one is the only one that is found.
    joined = zip_bytes({"9.png": png(9)}) + zip_bytes(PICTURES)
    with pytest.raises(InputError, match=r"archive\.bin is damaged .* as zips that were joined do"):
        extracted(tmp_path, joined)
    rows = extracted(tmp_path, tar_bytes({"in.zip": joined, "ok.png": png(9)}), max_rejected=1)
    assert rows["in.zip"]["code"] == "damaged_archive"


def archives() -> dict[str, bytes]:
    inner = {"in.zip": zip_bytes(PICTURES, zipfile.ZIP_DEFLATED), "ok.png": png(9)}
    return {
        "zip": zip_bytes(PICTURES, zipfile.ZIP_DEFLATED),
        "tar": tar_bytes(PICTURES),
        "pax": pax(PICTURES),
        "gz": gz(tar_bytes(PICTURES)),
        "bz2": tar_bytes(PICTURES, "w:bz2"),
        "xz": tar_bytes(PICTURES, "w:xz"),
        "zst": zst(tar_bytes(PICTURES)),
        "nested": tar_bytes(inner),
    }


def pax(members: dict[str, bytes]) -> bytes:
    """Return a tar with extended headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo("\u00e9" * 120 + name)
            info.size, info.pax_headers = len(data), {"comment": "x" * 600}
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_source(path: Path, kind: str, members: dict[str, bytes]) -> None:
    """Write members as an archive of a kind, or as files of a folder."""
    if kind == "folder":
        path.mkdir()
        for name, data in members.items():
            (path / name).write_bytes(data)
    elif kind.startswith("zip"):
        method = zipfile.ZIP_DEFLATED if kind == "zip, deflated" else zipfile.ZIP_STORED
        path.write_bytes(zip_bytes(members, method))
    else:
        path.write_bytes((gz if kind == "gz" else bytes)(tar_bytes(members)))


@pytest.mark.parametrize("kind", ["tar", "gz", "zip", "zip, deflated", "folder"])
@pytest.mark.parametrize("content", ["noise", "noise in zips", "zeros", "noise in 7z"])
def test_progress_is_in_bytes_of_the_source(tmp_path, kind, content):
    count = 20
    members = {str(i): random.Random(i).randbytes(200_000) for i in range(count)}
    if content == "zeros":
        members = dict.fromkeys(members, bytes(200_000))
    elif content == "noise in zips":
        members = {name: zip_bytes({"a": data}) for name, data in members.items()}
    elif content == "noise in 7z":
        # Most of these is not read.
        members = {name: b"7z\xbc\xaf\x27\x1c" + data for name, data in members.items()}
    source, done = tmp_path / "source", 0
    write_source(source, kind, members)
    size = source_size(source)

    def advance(number):
        nonlocal done
        done += number

    for index, _ in enumerate(iterate_members(source, advance, tmp_path)):
        assert done <= size
        if content.removesuffix(" in zips") == "noise":
            # A compressed tar is read in pieces of 256 KB.
            assert done / size == pytest.approx((index + 1) / count, abs=0.1)
    assert done == size


@pytest.mark.parametrize("kind", archives())
def test_at_the_end_all_of_an_archive_is_done(tmp_path, kind):
    source, counts = tmp_path / "archive.bin", []
    source.write_bytes(archives()[kind])
    for _ in iterate_members(source, counts.append, tmp_path):
        pass
    assert sum(counts) == source_size(source)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Cut, remove, insert, repeat or change bytes; often near the ends, where structure is."""
    changed = bytearray(data)
    place = min(len(data) - 1, int(len(data) * chance.choice([0.01, 1, 1]) * chance.random()))
    if chance.random() < 0.3:
        place = max(0, len(data) - 1 - int(chance.expovariate(1 / 200)))
    match chance.randrange(6):
        case 0:
            del changed[place:]
        case 1:
            del changed[place : place + chance.randrange(1, 3000)]
        case 2:
            changed[place:place] = chance.randbytes(chance.randrange(1, 600))
        case 3:
            changed[place : place + 4] = b"\xff\xff\xff\xff"
        case _:
            for _ in range(chance.randrange(1, 20)):
                changed[chance.randrange(len(data) - 300, len(data))] = chance.randrange(256)
                changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("kind", archives())
def test_random_damage_ends_in_members_or_in_a_sentence(tmp_path, kind):
    chance = random.Random(kind)
    whole = archives()[kind]
    source = tmp_path / "archive.bin"
    sentences = []
    for _ in range(150):
        source.write_bytes(damaged(whole, chance))
        try:
            for member in iterate_members(source, scratch=tmp_path):
                assert (member.data is None) == (member.refusal is not None)
                assert "\n" not in member.name + str(member.refusal)
        except InputError as error:
            sentences.append(str(error))
    assert len(sentences) > 5
    assert all(str(source) in sentence and "\n" not in sentence for sentence in sentences)


@pytest.mark.parametrize("kind", [0, 15])
def test_a_zstd_file_may_begin_with_a_frame_to_skip(tmp_path, kind):
    """As pzstd writes it."""
    skipped = bytes([0x50 + kind]) + b"\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    assert len(extracted(tmp_path, skipped + zst(tar_bytes(PICTURES)))) == 4
    inside = tar_bytes({"rest.tar.zst": skipped + zst(tar_bytes(PICTURES))})
    assert len(extracted(tmp_path, inside)) == 4


def test_what_is_named_like_an_archive_and_is_none_may_hold_images(tmp_path):
    source = tmp_path / "a.tar"
    members = PICTURES | {"rest.zip": b"MZ a program that unpacks itself", "notes.txt": b"text"}
    source.write_bytes(tar_bytes(members))
    extract_archives([source], tmp_path / "out", ExtractSettings(min_size=16))
    rows = {row["name"]: row for row in read_table(tmp_path / "out" / "manifest.csv")}
    assert rows["rest.zip"]["reason"] == "archive format not supported: not known; unpack it"
    assert rows["notes.txt"]["reason"] == "not an image"
    with pytest.raises(InputError, match=r"rest\.zip: archive format not supported"):
        extract_archives([source], tmp_path / "out", ExtractSettings(min_size=16), strict=True)


def test_a_zstd_file_of_many_frames_is_read_to_its_end(tmp_path):
    data = tar_bytes(PICTURES)
    frames = b"".join(zst(data[at : at + 1000]) for at in range(0, len(data), 1000))
    assert len(extracted(tmp_path, frames)) == 4
    with pytest.raises(InputError, match="ends within a frame"):
        extracted(tmp_path, frames[:-1])


class Piece(bytes):
    """Bytes that may be joined, but not added one after the other, which copies all of them."""

    def __radd__(self, other):
        raise AssertionError


def test_a_member_that_comes_in_small_pieces_is_joined_once():
    pieces = iter([Piece(b"ab"), Piece(b"cd"), Piece(b"ef"), b""])
    source = io.BytesIO()
    source.read = lambda size: next(pieces)
    assert Stream(source).read(100) == b"abcdef"
