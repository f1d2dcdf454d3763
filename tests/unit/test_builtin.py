import tarfile

from balle2017.data.builtin import TEST, TRAIN, write_archive, write_test_images
from balle2017.data.images import decode_image, read_image
from balle2017.data.store import pixel_hash
from balle2017.files import sha256_file


def test_the_archive_is_real_the_same_every_time_and_free_of_test_pictures(tmp_path):
    for name in ("a.tar", "b.tar"):
        write_archive(tmp_path / name)
    assert sha256_file(tmp_path / "a.tar") == sha256_file(tmp_path / "b.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    assert [name.split("/")[1] for name in members] == list(TRAIN)
    train = {pixel_hash(decode_image(data)[0]) for data in members.values()}
    test = {pixel_hash(read_image(path)) for path in write_test_images(tmp_path / "test")}
    assert (len(train), len(test)) == (len(TRAIN), len(TEST))
    assert not train & test
    # The stereo pair shows one scene: at most one of the two is used.
    assert sum("motorcycle" in name for name in TRAIN + TEST) == 1
