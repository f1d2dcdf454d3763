"""A test set from an archive is whole, or an error."""

import pytest
from archives import gz, png, tar_bytes, zip_bytes
from balle2017.data.images import list_images, read_image
from balle2017.data.testset import unpack_test_images
from balle2017.errors import InputError


def unpacked(tmp_path, data):
    archive = tmp_path / "test.bin"
    archive.write_bytes(data)
    count = unpack_test_images(archive, tmp_path / "images")
    found = list_images(tmp_path / "images")
    assert len(found) == count
    return found


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
        (tar_bytes({"a.png": png(1), "b.png": png(2)[:-100]}), "rejected"),
    ],
    ids=["bad checksum", "cut inner archive", "cut picture"],
)
def test_a_picture_that_is_lost_is_an_error_and_the_earlier_set_stays(tmp_path, data, message):
    before = unpacked(tmp_path, tar_bytes({"old.png": png(5)}))
    with pytest.raises(InputError, match=message):
        unpacked(tmp_path, data)
    assert list_images(tmp_path / "images") == before
