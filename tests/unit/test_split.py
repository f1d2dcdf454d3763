import hashlib

import pytest
from balle2017.data.extraction import ExtractSettings, extract_archives
from balle2017.data.split import split_images
from balle2017.data.store import MANIFEST_COLUMNS, pixel_hash
from balle2017.errors import InputError
from balle2017.files import read_json, read_table, write_table
from helpers import make_picture
from PIL import Image


def manifest(folder, hashes):
    rows = [
        {
            "name": f"{index}.png",
            "width": 64,
            "height": 48,
            "status": "accepted",
            "pixel_hash": value,
            "shard": "shard-00000.bin",
            "offset": 0,
        }
        for index, value in enumerate(hashes)
    ]
    path = folder / "manifest.csv"
    write_table(path, MANIFEST_COLUMNS, rows)
    return path


def hashes(count):
    return [hashlib.sha256(str(index).encode()).hexdigest() for index in range(count)]


def sides(folder):
    return [
        {row["pixel_hash"] for row in read_table(folder / f"{side}.csv")}
        for side in ("train", "val")
    ]


def test_other_stored_pixels_are_other_lists(tmp_path):
    """Where images are scaled, equal images may be stored in another way."""
    path = manifest(tmp_path, hashes(10))
    summaries = []
    for stored in ("one", "two"):
        rows = [row | {"stored_hash": stored} for row in read_table(path)]
        write_table(path, MANIFEST_COLUMNS, rows)
        split_images(path, tmp_path, 0.3, 1)
        summaries.append(read_json(tmp_path / "split.json"))
    assert summaries[0]["train"]["sha256"] != summaries[1]["train"]["sha256"]
    assert summaries[0]["train"]["images"] == summaries[1]["train"]["images"]


def test_share_is_about_what_was_asked_for(tmp_path):
    result = split_images(manifest(tmp_path, hashes(2000)), tmp_path, 0.1, 1)
    assert result.train + result.val == 2000
    # Four standard deviations of a binomial distribution.
    assert abs(result.val - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5
    assert not result.warning


def test_adding_images_moves_none(tmp_path):
    split_images(manifest(tmp_path, hashes(100)), tmp_path, 0.3, 1)
    before = sides(tmp_path)
    split_images(manifest(tmp_path, hashes(150)), tmp_path, 0.3, 1)
    after = sides(tmp_path)
    assert before[0] < after[0]
    assert before[1] < after[1]


def test_order_and_names_do_not_matter_but_the_seed_does(tmp_path):
    split_images(manifest(tmp_path, hashes(100)), tmp_path, 0.3, 1)
    first = sides(tmp_path)
    split_images(manifest(tmp_path, hashes(100)[::-1]), tmp_path, 0.3, 1)
    assert sides(tmp_path) == first
    split_images(manifest(tmp_path, hashes(100)), tmp_path, 0.3, 2)
    assert sides(tmp_path) != first


@pytest.mark.parametrize(("val_split", "side"), [(1e-9, "validation"), (1 - 1e-9, "training")])
def test_an_empty_side_gets_one_image(tmp_path, val_split, side):
    result = split_images(manifest(tmp_path, hashes(5)), tmp_path, val_split, 1)
    assert min(result.train, result.val) == 1
    assert f"no image was chosen for {side}" in result.warning


@pytest.mark.parametrize("change", [lambda text: text[:-3], lambda text: text + text[-40:]])
def test_a_manifest_that_was_changed_is_refused(tmp_path, picture_folder, change):
    extract_archives([picture_folder], tmp_path / "dataset", ExtractSettings(min_size=16))
    path = tmp_path / "dataset" / "manifest.csv"
    assert split_images(path, tmp_path, 0.3, 1).train > 0
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.csv was changed after extract\.py wrote it"):
        split_images(path, tmp_path, 0.3, 1)


def test_test_images_are_kept_out(tmp_path, picture_folder):
    values = [pixel_hash(make_picture(2)), *hashes(10)]
    result = split_images(manifest(tmp_path, values), tmp_path, 0.3, 1, [picture_folder])
    assert result.kept_out == ["0.png"]
    assert values[0] not in set.union(*sides(tmp_path))
    assert read_json(tmp_path / "split.json")["kept_out"] == ["0.png"]


def test_a_re_encoded_test_image_is_recognized(tmp_path, picture_folder):
    Image.fromarray(make_picture(3)).save(picture_folder / "3.bmp")
    (picture_folder / "3.png").unlink()
    values = [pixel_hash(make_picture(3)), *hashes(10)]
    result = split_images(manifest(tmp_path, values), tmp_path, 0.3, 1, [picture_folder])
    assert result.kept_out == ["0.png"]


def test_a_test_image_in_a_subfolder_is_not_trained_on(tmp_path, picture_folder):
    (picture_folder / "sub").mkdir()
    (picture_folder / "2.png").rename(picture_folder / "sub" / "2.png")
    values = [pixel_hash(make_picture(2)), *hashes(10)]
    with pytest.raises(InputError, match=r"sub/2\.png is in a subfolder"):
        split_images(manifest(tmp_path, values), tmp_path, 0.3, 1, [picture_folder])


@pytest.mark.parametrize("val_split", [0, 1, -0.1, float("nan")])
def test_val_split_out_of_range(tmp_path, val_split):
    with pytest.raises(InputError, match="between 0 and 1"):
        split_images(manifest(tmp_path, hashes(5)), tmp_path, val_split, 1)


def test_one_image_is_too_few(tmp_path):
    with pytest.raises(InputError, match="at least 2"):
        split_images(manifest(tmp_path, hashes(1)), tmp_path, 0.5, 1)
