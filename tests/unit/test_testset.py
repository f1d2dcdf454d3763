"""A test set from an archive is whole, or an error."""

import os
import tarfile

import pytest
from archives import gz, png, special, tar_bytes, zip_bytes
from balle2017.data.images import list_images, list_test_images, read_image
from balle2017.data.testset import unpack_test_images
from balle2017.errors import InputError
from balle2017.files import sha256_file
from helpers import run_script


def unpacked(tmp_path, data):
    archive = tmp_path / "test.bin"
    archive.write_bytes(data)
    count = unpack_test_images(archive, tmp_path / "images")
    found = list_images(tmp_path / "images")
    assert len(found) == count
    return found


def test_only_an_empty_folder_or_an_unpacked_set_is_replaced(tmp_path, monkeypatch):
    archive, out = tmp_path / "u" / "t.tar", tmp_path / "out"
    archive.parent.mkdir()
    archive.write_bytes(tar_bytes({"a.png": png(1)}))

    def refused(out, message):
        done = run_script("unpack_test_images", archive, "--out", out)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    refused(archive.parent, f"t.tar is in {archive.parent}, where results are written")
    monkeypatch.chdir(archive.parent)
    refused(".", "t.tar is in ., where results are written")
    monkeypatch.chdir(tmp_path)
    out.mkdir()
    for content in ({"a.png": png(1)}, {"b.png": png(2)}):
        archive.write_bytes(tar_bytes(content))
        unpack_test_images(archive, out)
        assert [path.name for path in list_images(out)] == list(content)
        # Snakemake leaves it in each folder that it makes.
        (out / ".snakemake_timestamp").touch()
    for name in ("notes.txt", "mine.png", "folder/notes.txt"):
        path = out / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
        refused(out, f"{out} holds {name.partition('/')[0]}, which is not an image unpacked there")
        assert path.read_bytes() == b"mine"
        path.unlink()
    (out / "folder").rmdir()
    unpack_test_images(archive, out)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "b.png").write_bytes(png(3))
    refused(tmp_path / "pictures", "holds b.png, which is not an image unpacked there")
    refused(archive, "t.tar is in")
    assert archive.is_file()


def test_the_record_has_the_images_alone(tmp_path):
    archive, record = tmp_path / "t.tar", tmp_path / "record"
    archive.write_bytes(tar_bytes({"a.png": png(1)}))
    done = run_script("unpack_test_images", archive, "--out", tmp_path / "out", "--record", record)
    assert done.returncode == 0, done.stderr
    assert record.read_text() == f"{sha256_file(tmp_path / 'out' / 'a.png')}  a.png\n"


def test_an_earlier_set_comes_back_where_the_new_one_cannot_be_put(tmp_path, monkeypatch):
    before = unpacked(tmp_path, tar_bytes({"old.png": png(5)}))
    move = os.replace

    def fail(source, target):
        if source.name == "pictures":
            raise OSError(5, "Input/output error")
        move(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        unpacked(tmp_path, tar_bytes({"new.png": png(6)}))
    assert list_images(tmp_path / "images") == before


def test_pictures_of_one_name_are_all_kept(tmp_path):
    members = {"x/a-2.png": png(1), "x/a.png": png(2), "y/a.png": png(3), "z/a.png": png(4)}
    found = unpacked(tmp_path, tar_bytes(members))
    assert [path.name for path in found] == ["a-2.png", "a-3.png", "a-4.png", "a.png"]
    pixels = {read_image(path).tobytes() for path in found}
    assert len(pixels) == 4


def test_what_is_no_picture_is_left_out(tmp_path):
    members = {"a.png": png(1), "README.txt": b"text", ".DS_Store": b"x", "b.png": png(2)}
    assert [path.stem for path in unpacked(tmp_path, zip_bytes(members))] == ["a", "b"]


def broken_zip():
    data = bytearray(zip_bytes({"a.png": png(1), "b.png": png(2)}))
    data[data.find(png(2)) + 200] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (broken_zip(), r"b\.png: damaged: Bad CRC-32"),
        (tar_bytes({"a.png": png(1), "in": gz(tar_bytes({"b.png": png(2)}))[:-20]}), "in: damaged"),
        (
            tar_bytes({"a.png": png(1), "b.png": png(2)[:-100]}),
            r"b\.png: truncated: .*; every test image must be",
        ),
    ],
    ids=["bad checksum", "cut inner archive", "cut picture"],
)
def test_a_picture_that_is_lost_is_an_error_and_the_earlier_set_stays(tmp_path, data, message):
    before = unpacked(tmp_path, tar_bytes({"old.png": png(5)}))
    with pytest.raises(InputError, match=message):
        unpacked(tmp_path, data)
    assert list_images(tmp_path / "images") == before


HEIC = bytes.fromhex("00000018") + b"ftypheic" + bytes(300)
JXL = b"\xff\x0a" + bytes(300)
TIFF = b"II*\0" + bytes(300)
SVG = b'<?xml version="1.0"?>\n<!-- Made\nby hand -->\n<svg width="9" height="9"/>'

#: Files that claim to be pictures, and what is said of them.
LOST = {
    "empty.png": (b"", "not an image, though named like one"),
    "page.JPG": (b"<html>404</html>", "not an image, though named like one"),
    "head_cut.png": (png(1)[40:], "not an image, though named like one"),
    "tail_cut.png": (png(1)[:40], "truncated"),
    "phone.HEIC": (HEIC, "image format not supported: HEIC"),
    "phone": (HEIC, "image format not supported: HEIC"),
    "phone.bin": (HEIC[:8] + b"mif1" + HEIC[12:], "image format not supported: HEIC"),
    "new.jxl": (JXL, "image format not supported: JPEG XL"),
    "new.dat": (JXL, "image format not supported: JPEG XL"),
    "camera.NEF": (TIFF, "image format not supported: raw file of a camera"),
    "camera.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "image format not supported: Canon raw"),
    "camera.raw": (bytes(999), "not an image, though named like one"),
    "drawing.svg": (SVG, "image format not supported: SVG"),
    "drawing": (SVG, "image format not supported: SVG"),
    "painting.psd": (b"8BPS" + bytes(99), "image format not supported: Photoshop"),
}


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes, lambda files: gz(tar_bytes(files))])
@pytest.mark.parametrize("name", LOST)
def test_whatever_claims_to_be_a_picture_is_named(tmp_path, make, name):
    data, message = LOST[name]
    with pytest.raises(InputError, match=rf"test\.bin: x/{name}: {message}"):
        unpacked(tmp_path, make({"a.png": png(1), f"x/{name}": data, "b.png": png(2)}))
    inner = zip_bytes({name: data})
    with pytest.raises(InputError, match=rf"test\.bin: in\.zip/{name}: {message}"):
        unpacked(tmp_path, make({"a.png": png(1), "in.zip": inner}))


@pytest.mark.parametrize("name", LOST)
def test_in_a_folder_too_it_is_named(tmp_path, name):
    data, message = LOST[name]
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name}: {message}"):
        [read_image(path) for path in list_test_images(tmp_path)]


@pytest.mark.parametrize("name", ["b.png", "b", "deep/er/b.jpg", "c.heic"])
def test_a_picture_in_a_subfolder_of_a_test_set_is_named(tmp_path, name):
    (tmp_path / "a.png").write_bytes(png(1))
    path = tmp_path / "sub" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(png(2))
    with pytest.raises(InputError, match=rf"sub/{name} is in a subfolder"):
        list_test_images(tmp_path)


@pytest.mark.parametrize("where", [".", "sub"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("more.zip", zip_bytes({"b.png": png(2)})),
        ("MORE.TAR", tar_bytes({"b.png": png(2)})),
        ("more.tar.gz", gz(tar_bytes({"b.png": png(2)}))),
        ("more.tgz", b""),
        ("more", tar_bytes({"b.png": png(2)})),
        ("more2", zip_bytes({"b.png": png(2)})),
        ("b.png.gz", gz(png(2))),
        ("b.JPG.xz", b""),
        ("more.rar", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_archive_beside_a_test_set_is_named(tmp_path, where, name, data):
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / where).mkdir(exist_ok=True)
    (tmp_path / where / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"{name} is an archive or a compressed image"):
        list_test_images(tmp_path)


def test_a_link_to_a_folder_of_pictures_is_named(tmp_path):
    folder, other = tmp_path / "images", tmp_path / "other"
    for path in (folder, other / "deep"):
        path.mkdir(parents=True)
    (folder / "a.png").write_bytes(png(1))
    (folder / "link").symlink_to(other)
    (folder / ".hidden").symlink_to(folder)
    (other / "deep" / "notes.txt").write_bytes(b"text")
    assert len(list_test_images(folder)) == 1
    (other / "deep" / "b.png").write_bytes(png(2))
    with pytest.raises(InputError, match=r"images/link is a link to a folder with images"):
        list_test_images(folder)
    # Folders of results.
    for without in (other, other / "deep"):
        assert len(list_test_images(folder, [without])) == 1
    (folder / "link").unlink()
    (folder / "link").symlink_to(tmp_path / "nothing")
    assert len(list_test_images(folder)) == 1


def test_what_claims_to_be_no_picture_may_lie_beside(tmp_path):
    others = {
        "README": b"P1 and BM are names, GIF is not", "BMP": b"BMP suite: what each file shows.\n",
        "labels.csv": b"a,1", "notes.txt": b"",
        ".hidden.png": b"", "model.bin": bytes(600), "film.mp4": bytes(4) + b"ftypisom" + bytes(99),
        # Behind the first box there are no brands.
        "film": b"\0\0\0\x10ftypisom" + bytes(8) + b"avif",
        "paper.pdf": b"%PDF-1.4", "page.html": b"<html><svg/></html>", "Thumbs.db": b"\xd0\xcf\x11",
        "labels.csv.gz": gz(b"a,1"), "notes.docx": zip_bytes({"notes.xml": b""}), "labels": b"PK",
    }  # fmt: skip
    for name, data in others.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "without_end").write_bytes(png(2))
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.png").write_bytes(png(3))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "c.txt").write_bytes(b"text")
    names = [path.name for path in list_test_images(tmp_path)]
    assert names == ["a.png", "without_end"]
    members = others | {"a.png": png(1), "without_end": png(2)}
    found = unpacked(tmp_path / "texts", zip_bytes(members))
    assert [path.stem for path in found] == ["a", "without_end"]


def test_equal_pictures_are_both_there(tmp_path):
    found = unpacked(tmp_path, zip_bytes({"a.png": png(1), "b.png": png(2), "c.png": png(1)}))
    assert [path.stem for path in found] == ["a", "b", "c"]
    assert (read_image(found[0]) == read_image(found[2])).all()


def test_links_to_pictures_are_no_pictures_left_out(tmp_path):
    link = special(tarfile.SYMTYPE, "a.png")
    with pytest.raises(InputError, match=r"b\.png: not a regular file"):
        unpacked(tmp_path, tar_bytes({"a.png": png(1), "b.png": link}))
    link = special(tarfile.SYMTYPE, "folder")
    assert len(unpacked(tmp_path, tar_bytes({"a.png": png(1), "current": link}))) == 1
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(1))
    (folder / "b.png").symlink_to(folder / "nothing")
    with pytest.raises(InputError, match=r"b\.png: "):
        [read_image(path) for path in list_test_images(folder)]
    (folder / "b.png").unlink()
    os.mkfifo(folder / "b.png")
    with pytest.raises(InputError, match=r"b\.png: "):
        [read_image(path) for path in list_test_images(folder)]
