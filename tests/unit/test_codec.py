import dataclasses
import hashlib
import shutil

import numpy as np
import pytest
from balle2017.coding.bitstream import HEADER_BYTES, Bitstream
from balle2017.coding.codec import Codec
from balle2017.data.images import read_image
from balle2017.errors import DamagedFileError, WorkError
from balle2017.files import read_json
from balle2017.model.check import MAX_LATENT
from balle2017.model.files import save_model
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.results.evaluation import check_rates
from helpers import make_picture, run_script
from PIL import Image


@pytest.fixture(scope="module")
def codec(small_model):
    return Codec(small_model)


@pytest.mark.parametrize("size", [(48, 64), (1, 1), (17, 31), (65, 70), (5, 200)])
def test_any_size_comes_back_as_the_quantized_model_has_it(codec, size, tensorflow):
    pixels = make_picture(3, *size)
    decoded = codec.decompress(codec.compress(pixels))
    network, tables = codec.model.network, codec.model.tables
    expected, _ = network.quantized(pixels[None], tables["quantization_offset"])
    expected = tensorflow.round(tensorflow.clip_by_value(expected[0], 0, 255))
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8


def test_payload_has_the_length_that_the_prior_says(codec):
    pixels = make_picture(3, 400, 500)
    payload_bits = (len(codec.compress(pixels)) - HEADER_BYTES) * 8
    assert payload_bits == pytest.approx(codec.estimated_bits(pixels), rel=0.01)


def test_another_process_gives_the_same_bytes_and_pixels(codec, small_model, tmp_path):
    pixels = make_picture(4, 100, 150)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    done = run_script(
        "compress", tmp_path / "x.png", "--model", small_model, "--out", tmp_path / "x.b17"
    )
    assert done.returncode == 0, done.stderr
    data = codec.compress(pixels)
    assert (tmp_path / "x.b17").read_bytes() == data
    done = run_script(
        "decompress", tmp_path / "x.b17", "--model", small_model, "--out", tmp_path / "y.png"
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(read_image(tmp_path / "y.png"), codec.decompress(data))


def test_decompress_goes_on_past_bad_files(codec, small_model, tmp_path):
    data = codec.compress(make_picture(5))
    (tmp_path / "good.b17").write_bytes(data)
    (tmp_path / "cut.b17").write_bytes(data[:-1])
    (tmp_path / "empty.b17").write_bytes(b"")
    done = run_script("decompress", tmp_path, "--model", small_model, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f"{tmp_path / 'cut.b17'}: cut short" in done.stdout
    assert f"{tmp_path / 'empty.b17'}: the file is empty" in done.stdout
    assert "2 of 3 files" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_another_model_is_refused(codec, tmp_path):
    other = tmp_path / "other" / "model"
    save_model(other, Balle2017FactorizedPrior(8), lambda_rd=0.01, seed=1)
    data = codec.compress(make_picture(5))
    name = codec.model.model_id.hex()
    with pytest.raises(DamagedFileError, match=rf"another model \({name}\), not by {other}"):
        Codec(other).decompress(data)
    # A model that lies beside it is named, and what else is there passed over.
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text("{}")
    right = tmp_path / "right"
    shutil.copytree(codec.model.folder, right)
    with pytest.raises(DamagedFileError, match=rf"another model \({right}\), not by {other}"):
        Codec(other).decompress(data)


def test_absurd_dimensions_are_refused(codec):
    stream = Bitstream.from_bytes(codec.compress(make_picture(5)))
    huge = Bitstream(stream.model_id, 65535, 65535, stream.latent_shape, stream.payload)
    with pytest.raises(DamagedFileError, match="over the pixel limit"):
        codec.decompress(huge.to_bytes())
    wide = Bitstream(stream.model_id, 8000, 8000, stream.latent_shape, stream.payload)
    with pytest.raises(DamagedFileError, match="does not fit"):
        codec.decompress(wide.to_bytes())


def test_latents_beyond_the_bound_are_refused_in_a_sound_file(codec):
    stream = Bitstream.from_bytes(codec.compress(make_picture(5)))
    latents = np.zeros((1, *stream.latent_shape), np.float32)
    for value, refused in ((MAX_LATENT, False), (-MAX_LATENT, False), (2 * MAX_LATENT, True)):
        latents[0, 0, 0, 0] = value
        payload = codec._coder.compress(latents).numpy()[0]
        data = dataclasses.replace(stream, payload=payload).to_bytes()
        if refused:
            with pytest.raises(DamagedFileError, match=f"latents beyond {MAX_LATENT}"):
                codec.decompress(data)
        else:
            assert codec.decompress(data).shape == (stream.height, stream.width, 3)


def test_infinite_latents_are_refused(tensorflow, tmp_path):
    network = Balle2017FactorizedPrior(8)
    kernel = network.named_variables()["analysis/conv_2/kernel"]
    kernel.assign(kernel * 3e37)
    save_model(tmp_path, network, lambda_rd=0.01, seed=1)
    with pytest.raises(WorkError, match=rf"{tmp_path} is broken: it makes latents that are NaN"):
        Codec(tmp_path).compress(make_picture(5))


def test_evaluation_measures_files_and_decoded_pixels(codec, small_model, tmp_path, picture_folder):
    from balle2017.files import read_table
    from balle2017.results import metrics

    out = tmp_path / "out"
    done = run_script("evaluate", "--model", small_model, "--images", picture_folder, "--out", out)
    assert done.returncode == 0, done.stderr
    rows = read_table(out / "per_image.csv")
    assert len(rows) == 5
    for row in rows:
        stem = row["image"].removesuffix(".png")
        stream = out / "bitstreams" / f"{stem}.b17"
        size = stream.stat().st_size
        pixels = int(row["width"]) * int(row["height"])
        assert float(row["bpp"]) == pytest.approx(size * 8 / pixels)
        assert float(row["bpp_payload"]) == pytest.approx((size - HEADER_BYTES) * 8 / pixels)
        original = read_image(picture_folder / row["image"])
        decoded = read_image(out / "reconstructions" / f"{stem}.png")
        assert float(row["psnr_rgb"]) == pytest.approx(metrics.psnr(original, decoded))
        assert row["file_sha256"] == hashlib.sha256(stream.read_bytes()).hexdigest()
        assert row["decoded_sha256"] == hashlib.sha256(decoded.tobytes()).hexdigest()
    (summary,) = read_json(out / "summary.json")
    assert summary["bpp"] == pytest.approx(np.mean([float(row["bpp"]) for row in rows]))
    assert summary["ms_ssim_rgb"] is None
    assert summary["note"] == "5 of 5 images: no MS-SSIM: a side is under 176 pixels"
    assert rows[0]["note"] == "no MS-SSIM: a side is under 176 pixels"
    assert summary["rate_difference"] < 0.01


def test_rates_that_differ_by_more_than_a_percent_fail():
    row = {"width": 1000, "height": 100, "bpp_payload": 1.009, "bpp_estimated": 1.0}
    assert check_rates([row]) == pytest.approx(0.009)
    with pytest.raises(WorkError, match=r"differ by 1.20% over the test set \(101200 and 100000"):
        check_rates([row | {"bpp_payload": 1.012}])
    # Over the whole test set, weighted by pixels.
    large = row | {"width": 100_000, "bpp_payload": 1.0}
    assert check_rates([row | {"bpp_payload": 1.1}, large]) == pytest.approx(0.1 / 101)
    # The last bytes of a stream are all that a thumbnail has.
    tiny = {"width": 16, "height": 16, "bpp_payload": 0.5, "bpp_estimated": 0.4}
    assert check_rates([tiny]) == pytest.approx(0.25)


def test_pictures_without_any_error_have_no_mean_psnr(tmp_path):
    (tmp_path / "in").mkdir()
    for name, pixels in (("flat", np.full((180, 180, 3), 128, np.uint8)), ("x", make_picture(1))):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    done = run_script(
        *("evaluate_codec", "--codec", "jpeg", "--quality", 50),
        *("--images", tmp_path / "in", "--out", tmp_path / "out"),
    )
    assert done.returncode == 0, done.stderr
    assert "infinite PSNR, 2 images" in done.stdout
    (summary,) = read_json(tmp_path / "out" / "summary.json")
    assert summary["psnr_rgb"] is None
    assert summary["bpp"] > 0
    assert summary["note"] == (
        "1 of 2 images: no error, PSNR is infinite; "
        "1 of 2 images: no MS-SSIM: a side is under 176 pixels"
    )
