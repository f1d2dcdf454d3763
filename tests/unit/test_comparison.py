import numpy as np
import pandas as pd
import pytest
from balle2017.data.store import pixel_hash
from balle2017.errors import InputError
from balle2017.files import write_json
from balle2017.results.aggregation import collect
from balle2017.results.comparison import (
    Panel,
    choose_crop,
    choose_images,
    code_at_size,
    compare,
    draw_sheet,
)
from balle2017.results.conventional import CODECS
from helpers import make_picture
from PIL import Image


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_the_nearest_size_is_found(name):
    codec, pixels = CODECS[name], make_picture(1, 96, 128)
    low, high = (round(bound) for bound in codec.bounds)
    sizes = np.array([len(codec.encode(pixels, q)) for q in range(low, high + 1)])
    for wanted in (0, sizes[20] + 3, sizes[60], 10**6):
        found = len(code_at_size(codec, pixels, int(wanted)))
        # Sizes do not rise strictly; a neighbour may be a few bytes nearer.
        assert abs(found - wanted) <= np.abs(sizes - wanted).min() + 0.03 * sizes.max()


def test_the_crop_is_where_luma_varies_most():
    pixels = np.full((600, 800, 3), 128, np.uint8)
    busy = make_picture(1, 192, 192)
    pixels[320:512, 496:688] = 255 * (busy > 128)
    assert choose_crop(pixels) == (slice(320, 512), slice(496, 688))
    assert choose_crop(pixels[:100, :90]) == (slice(0, 100), slice(0, 90))


def ranking(deltas):
    rows = [
        {"image": name, "codec": "balle2017-f8-s1", "metric": "psnr_rgb", "bd_rate_percent": delta}
        for name, delta in deltas.items()
    ]
    return pd.DataFrame(rows)


def test_the_best_the_median_and_the_worst_are_shown():
    deltas = {"a": 5.0, "b": -30.0, "c": 40.0, "d": 0.0, "e": None, "other": -90.0}
    names = ["a", "b", "c", "d", "e"]
    assert choose_images(ranking(deltas), "balle2017-f8-s1", names) == ["b", "a", "c"]
    assert choose_images(ranking({"a": 5.0}), "balle2017-f8-s1", ["a"]) == ["a"]
    unranked = ranking({"x": None})
    assert choose_images(unranked, "balle2017-f8-s1", ["d", "c", "b", "a"]) == ["a", "b", "c"]


def test_a_caption_has_size_rate_and_quality():
    original = np.zeros((10, 20, 3), np.uint8)
    panel = Panel("JPEG", original + 1, 1250)
    assert panel.caption(original) == "JPEG\n1,250 bytes, 50.000 bpp, 48.13 dB"


def test_sheets_are_drawn_for_the_images_of_an_evaluation(tmp_path):
    images, evaluation = tmp_path / "images", tmp_path / "evaluation"
    (evaluation / "reconstructions").mkdir(parents=True)
    images.mkdir()
    for index in range(2):
        pixels = make_picture(index, 200, 300)
        Image.fromarray(pixels).save(images / f"{index}.png")
        Image.fromarray(pixels // 8 * 8).save(evaluation / "reconstructions" / f"{index}.png")
    point = {"testset": "t", "codec": "balle2017", "point": 1, "filters": 8, "seed": 1}
    write_json(evaluation / "summary.json", [point | {"bpp": 1, "psnr_rgb": 30}])
    table = pd.DataFrame({"image": ["0.png", "1.png"], "bytes": [6000, 9000]})
    table.to_csv(evaluation / "per_image.csv")
    rd = collect([evaluation])
    bd = ranking({"0.png": 1.0, "1.png": -1.0})
    for folder in ("a", "b"):
        for comparison in compare(images, evaluation, rd, bd):
            draw_sheet(comparison, tmp_path / folder / comparison.image)
    assert comparison.panels[0].size == 6000
    assert [panel.title for panel in comparison.panels[1:]] == ["JPEG 4:2:0", "WebP"]
    for name in ("0.png", "1.png"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert first == second
    (images / "1.png").unlink()
    with pytest.raises(InputError, match=r"lacks 1\.png"):
        next(compare(images, evaluation, rd, bd))
    with pytest.raises(InputError, match="no row for the evaluation"):
        next(compare(images, evaluation, rd.assign(seed=2), bd))
    Image.fromarray(make_picture(1, 100, 100)).save(images / "1.png")
    with pytest.raises(InputError, match=r"1\.png is not the image that was evaluated"):
        list(compare(images, evaluation, rd, bd))
    Image.fromarray(make_picture(1, 200, 300)).save(images / "1.png")
    hashes = [pixel_hash(make_picture(index, 200, 300)) for index in range(2)]
    table.assign(pixel_hash=hashes).to_csv(evaluation / "per_image.csv")
    assert len(list(compare(images, evaluation, rd, bd))) == 2
    # Of the same name and size, and another picture.
    Image.fromarray(make_picture(2, 200, 300)).save(images / "1.png")
    with pytest.raises(InputError, match=r"1\.png is not the image that was evaluated"):
        list(compare(images, evaluation, rd, bd))
    codec = {"testset": "t", "codec": "jpeg", "point": 1, "bpp": 1, "psnr_rgb": 30}
    write_json(evaluation / "summary.json", [codec])
    with pytest.raises(InputError, match="is not the evaluation of a model"):
        next(compare(images, evaluation, rd, bd))
