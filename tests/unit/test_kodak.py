import numpy as np
import pytest
from balle2017.data.images import decode_image, read_image
from balle2017.data.kodak import check_folder, download_all, read_hashes
from balle2017.errors import InputError, WorkError
from balle2017.files import sha256_file
from helpers import ROOT, run_script
from PIL import Image

HASHES = read_hashes(ROOT / "workflow/resources/kodak.sha256")


@pytest.fixture
def published(tmp_path):
    """A stand-in for the public home: two small files, and their hashes."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("kodim01.png", "kodim02.png"):
        (folder / name).write_bytes(name.encode())
    return folder, {path.name: sha256_file(path) for path in sorted(folder.iterdir())}


def test_24_hashes_are_known():
    assert list(HASHES) == [f"kodim{number:02d}.png" for number in range(1, 25)]
    assert all(len(digest) == 64 for digest in HASHES.values())


def test_the_real_images_are_the_well_known_ones(kodak_dir):
    check_folder(kodak_dir, HASHES)


@pytest.mark.parametrize("name", HASHES)
def test_the_pixels_of_the_real_images_stay_as_they_are(kodak_dir, name):
    """They say sRGB, and a gamma that is nearly its own."""
    path = kodak_dir / name
    with Image.open(path) as image:
        assert (image.mode, image.info.get("icc_profile")) == ("RGB", None)
        pixels = np.asarray(image)
    decoded = decode_image(path.read_bytes())
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert (decoded.mode, decoded.colour) == ("RGB", "")
    np.testing.assert_array_equal(read_image(path), pixels)


def test_download_checks_every_file(published, tmp_path):
    home, hashes = published
    download_all(tmp_path / "out", hashes, f"{home.as_uri()}/")
    check_folder(tmp_path / "out", hashes)
    wrong = hashes | {"kodim02.png": "0" * 64}
    (tmp_path / "out" / "kodim02.png").unlink()
    with pytest.raises(WorkError, match=r"kodim02\.png has SHA-256 .*, not 0000"):
        download_all(tmp_path / "out", wrong, f"{home.as_uri()}/")
    assert not (tmp_path / "out" / "kodim02.png").exists()


def test_without_a_network_the_error_names_the_key(published, tmp_path):
    _, hashes = published
    # Nothing listens on the discard port of this machine.
    with pytest.raises(WorkError, match="give their folder: --config test_images=kodak"):
        download_all(tmp_path / "out", hashes, "http://127.0.0.1:9/")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\xff\xfe",
        b"0" * 64 + b"\n",
        b"0" * 64 + b"  ../a.png",
        b"0" * 63 + b"  a.png",
    ],
)
def test_hashes_of_another_kind_of_file_are_refused(tmp_path, content):
    path = tmp_path / "hashes"
    path.write_bytes(content)
    done = run_script("fetch_kodak", "--out", tmp_path / "out", "--hashes", path)
    assert done.returncode == 2
    assert done.stderr == (
        f"fetch_kodak.py: error: {path} is not a list of hashes as sha256sum writes it\n"
    )
    path.write_text(f"{'A' * 64} *a.png\n{'0' * 64}  b.png\n")
    assert read_hashes(path) == {"a.png": "a" * 64, "b.png": "0" * 64}


@pytest.mark.parametrize("change", ["missing", "extra", "altered"])
def test_another_folder_is_refused(published, change):
    folder, hashes = published
    if change == "missing":
        (folder / "kodim02.png").unlink()
    elif change == "extra":
        (folder / "cat.jpg").write_bytes(b"cat")
    else:
        (folder / "kodim02.png").write_bytes(b"cat")
    name = "cat" if change == "extra" else "kodim02"
    with pytest.raises(InputError, match=rf"^kodak: .*{name}.(png|jpg) "):
        check_folder(folder, hashes)
