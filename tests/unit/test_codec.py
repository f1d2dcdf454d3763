import dataclasses
import hashlib
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_compression as tfc
from balle2017.coding.bitstream import ADAPTIVE, HEADER_BYTES, STATIC, Bitstream
from balle2017.coding.code_length import CodeLengths
from balle2017.coding.codec import Codec
from balle2017.coding.static import StaticCoder
from balle2017.data.images import read_image
from balle2017.errors import DamagedFileError, WorkError
from balle2017.files import read_json, read_table, write_json
from balle2017.model.check import MAX_LATENT
from balle2017.model.files import save_model
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.model.tensors import load_tensors, save_tensors
from balle2017.results.evaluation import CodecPoint, check_rates, run_evaluation
from helpers import ROOT, make_picture, run_script
from PIL import Image, ImageDraw


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


def odd_pictures():
    """Pictures unlike photographs, and one like them."""
    rng = np.random.default_rng(1)
    checker = np.indices((200, 300)).sum(0) // 8 % 2
    return {
        "smooth": make_picture(3, 400, 500),
        "noise": rng.integers(0, 256, (200, 300, 3), np.uint8),
        "two levels": 255 * rng.integers(0, 2, (200, 300, 3), np.uint8),
        "checker": np.repeat(255 * checker[:, :, None], 3, 2).astype(np.uint8),
        "lines": np.repeat(np.tile([0, 255], 150)[None, :, None], 200, 0).repeat(3, 2),
        "black": np.zeros((200, 300, 3), np.uint8),
        "white": np.full((200, 300, 3), 255, np.uint8),
        "one pixel": np.full((1, 1, 3), 90, np.uint8),
    }


@pytest.mark.parametrize("name", ["small", "0.0018", "0.0130", "0.0932"])
def test_payload_has_the_length_that_the_tables_say(codec, name):
    """Also where many values are beyond the tables."""
    used = codec if name == "small" else Codec(ROOT / "pretrained" / name, threads=2)
    for kind, pixels in odd_pictures().items():
        for adaptive in (True, False):
            data, latents = used.encode(pixels.astype(np.uint8), adaptive)
            payload = 8 * (len(data) - HEADER_BYTES)
            estimated = used.estimated_bits(latents, adaptive)
            assert payload == pytest.approx(estimated, rel=1e-3, abs=32), (kind, adaptive)
            # What a flat picture takes is near the least that is accepted, and decodes.
            assert used.decompress(data).shape == pixels.shape


def test_code_lengths_are_what_the_range_coder_writes(tensorflow):
    import tensorflow_compression as tfc

    cdf = np.array([-16, 0, 32768, 65281, 65536, -16, 0, 60000, 65536], np.int32)
    offset = np.array([-1, 3], np.int32)
    lengths = CodeLengths(cdf, offset)
    for value in (-2000, -5, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 16383):
        values = np.full((4000, 2), value, np.int32)
        handle = tfc.create_range_encoder([], cdf)
        handle = tfc.entropy_encode_channel(handle, values - offset)
        written = 8 * len(tfc.entropy_encode_finalize(handle).numpy())
        assert written == pytest.approx(lengths(np.arange(2), values).sum(), rel=1e-3, abs=32)
    # Both values of table 0 and the one of table 1, each at its likeliest.
    assert lengths.fewest() == pytest.approx([1, np.log2(65536 / 60000)], rel=1e-3)


def test_a_picture_is_analysed_once(codec, monkeypatch, tmp_path):
    calls = []
    analyze = codec._analyzed
    monkeypatch.setattr(
        codec, "_analyzed", lambda p, *how: calls.append(p.shape) or analyze(p, *how)
    )
    for seed in range(3):
        Image.fromarray(make_picture(seed, 100, 90 + seed)).save(tmp_path / f"{seed}.png")
    point = CodecPoint(
        *({"codec": "balle2017", "point": 1.0}, codec.encode, codec.decompress, ".b17"),
        tmp_path / "out",
        header_bytes=HEADER_BYTES,
        estimate_bits=codec.estimated_bits,
    )
    run_evaluation(tmp_path, [point])
    # The first call builds TensorFlow's graph, on a corner.
    assert calls == [(64, 64, 3), (100, 90, 3), (100, 91, 3), (100, 92, 3)]


@pytest.fixture
def wrong_tables(tmp_path):
    """A model whose coding tables do not belong to its prior."""
    model = ROOT / "pretrained" / "0.0018"
    arrays, description, _ = load_tensors(model / "model.safetensors")
    # Every entry becomes that of its neighbour.
    arrays["coding/cdf_offset"] = arrays["coding/cdf_offset"] + np.int32(1)
    # The adaptation belongs to the tables that were.
    arrays = {name: array for name, array in arrays.items() if "adaptive/" not in name}
    folder = tmp_path / "wrong_tables"
    folder.mkdir()
    digest = save_tensors(folder / "model.safetensors", arrays, description)
    write_json(folder / "config.json", read_json(model / "config.json") | {"model_sha256": digest})
    return folder


def test_tables_of_another_model_are_found(codec, wrong_tables):
    assert abs(codec.check_tables()) < 1e-3
    for name in ("0.0018", "0.0932"):
        assert Codec(ROOT / "pretrained" / name).check_tables() < 1e-4
    with pytest.raises(WorkError, match=r"its coding tables cost .* more than its prior says"):
        Codec(wrong_tables).check_tables()


def test_a_prior_without_information_is_found(codec, monkeypatch):
    """All of its probability lies in one value, so there is no entropy to compare with."""
    certain = lambda values: values == codec._offset + codec.model.tables["cdf_offset"]  # noqa: E731
    prior = codec._network.prior.distribution
    monkeypatch.setattr(prior, "prob", lambda values: tf.cast(certain(values), tf.float32))
    with pytest.raises(WorkError, match="is broken: its prior holds no information"):
        codec.check_tables()


def test_no_model_with_tables_of_another_is_evaluated(wrong_tables, picture_folder, tmp_path):
    """Payload and estimate agree, as both are by these tables."""
    out = tmp_path / "out"
    done = run_script("evaluate", "--model", wrong_tables, "--images", picture_folder, "--out", out)
    assert done.returncode == 1
    error = rf"evaluate\.py: error: the model {wrong_tables} is broken: its coding tables cost .*\n"
    assert re.fullmatch(error, done.stderr)
    assert not out.exists()


@pytest.mark.parametrize(("version", "size"), [(STATIC, 120), (ADAPTIVE, 261)])
def test_few_bytes_are_no_large_picture(version, size):
    """Or they would take as long as the largest picture does."""
    codec = Codec(ROOT / "pretrained" / "0.0018", threads=2)
    model_id = codec.model.model_id if version == STATIC else codec.model.adaptive_id
    stream = Bitstream(model_id, 8192, 8192, (512, 512, 96), bytes(size), version)
    with pytest.raises(DamagedFileError, match=f"{size} bytes of payload are too few for 8192x8"):
        codec.decompress(stream.to_bytes())


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
    (tmp_path / "folder.b17").mkdir()
    (tmp_path / "dangling.b17").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.b17")
    done = run_script("decompress", tmp_path, "--model", small_model, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert f"{tmp_path / 'cut.b17'}: cut short" in done.stdout
    assert f"{tmp_path / 'empty.b17'}: the file is empty" in done.stdout
    assert f"{tmp_path / 'folder.b17'}: not a regular file" in done.stdout
    assert f"{tmp_path / 'dangling.b17'}: No such file or directory" in done.stdout
    assert f"{tmp_path / 'pipe.b17'}: not a regular file" in done.stdout
    assert "5 of 6 files" in done.stderr
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


def test_without_a_model_files_are_decoded_by_the_pretrained_ones(codec, tmp_path):
    pixels = make_picture(5)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    done = run_script("compress", tmp_path / "a.png", "--out", tmp_path / "in" / "a.b17")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"model {ROOT / 'pretrained' / '0.0130'}\n")
    other = Codec(ROOT / "pretrained" / "0.0018").compress(pixels)
    (tmp_path / "in" / "b.b17").write_bytes(other)
    (tmp_path / "in" / "c.b17").write_bytes(codec.compress(pixels))
    (tmp_path / "in" / "d.b17").write_bytes(other[:-1])
    done = run_script("decompress", tmp_path / "in", "--out", tmp_path / "out")
    assert done.returncode == 1
    name = codec.model.model_id.hex()
    assert f"{tmp_path / 'in' / 'c.b17'}: made by a model ({name}) that is not in" in done.stdout
    assert f"{tmp_path / 'in' / 'd.b17'}: cut short" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png"]
    for name, model in (("a", "0.0130"), ("b", "0.0018")):
        data = (tmp_path / "in" / f"{name}.b17").read_bytes()
        expected = Codec(ROOT / "pretrained" / model).decompress(data)
        np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{name}.png"), expected)


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
    latents = np.zeros(stream.latent_shape, np.int16)
    tables = codec.model.tables
    coder = StaticCoder(tables["cdf"], tables["cdf_offset"])
    for value, refused in ((MAX_LATENT, False), (-MAX_LATENT, False), (2 * MAX_LATENT - 1, True)):
        latents[0, 0, 0] = value
        payload = coder.encode(latents)
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
    payload, estimated = (
        sum(float(row[name]) * int(row["width"]) * int(row["height"]) for row in rows)
        for name in ("bpp_payload", "bpp_estimated")
    )
    assert summary["rate_difference"] == pytest.approx(abs(payload / estimated - 1))


def chart():
    """A picture of text, lines and flat areas, as in a paper."""
    picture = Image.new("RGB", (320, 240), "white")
    draw = ImageDraw.Draw(picture)
    for index, colour in enumerate(("navy", "red", "green", "orange")):
        draw.rectangle((40 + 70 * index, 200 - 40 * index, 80 + 70 * index, 200), fill=colour)
        draw.text((40 + 70 * index, 210), f"{colour} {index}", fill="black")
    for x in range(0, 320, 4):
        draw.line((x, 0, x, 30), fill="black")
    draw.line((30, 200, 310, 50, 310, 200, 30, 200), fill="black")
    return np.asarray(picture)


@pytest.mark.parametrize("model", ["0.0018", "0.0932"])
def test_pictures_unlike_photographs_are_evaluated(model, tmp_path):
    """With both coders, payload and estimate agree as docs/tables.md says."""
    gradient = np.linspace([0, 40, 255], [255, 90, 0], 320, dtype=np.uint8)
    pictures = {
        "chart": chart(),
        "gradient": gradient[None].repeat(200, 0),
        "noise": np.random.default_rng(1).integers(0, 256, (200, 240, 3), np.uint8),
        "photograph": make_picture(1, 240, 320),
    }
    (tmp_path / "in").mkdir()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "in" / f"{name}.png")
    out = tmp_path / "out"
    words = ["--images", tmp_path / "in", "--out", out]
    done = run_script("evaluate", "--model", ROOT / "pretrained" / model, *words)
    assert (done.returncode, done.stderr) == (0, "")
    for table in (out / "per_image.csv", out / "adaptive" / "per_image.csv"):
        rows = read_table(table)
        assert [row["image"].removesuffix(".png") for row in rows] == list(pictures)
        for row in rows:
            pixels = int(row["width"]) * int(row["height"])
            payload, estimated = (float(row[f"bpp_{n}"]) * pixels for n in ("payload", "estimated"))
            assert payload == pytest.approx(estimated, rel=1e-3, abs=32), row["image"]
            assert row["psnr_rgb"]
            assert row["ms_ssim_rgb"]


def test_rates_that_differ_by_more_than_a_thousandth_fail():
    row = {"image": "a", "width": 1000, "height": 100, "bpp_payload": 1.0009, "bpp_estimated": 1.0}
    assert check_rates([row]) == pytest.approx(0.0009)
    with pytest.raises(WorkError, match=r"differ by 0.20% for a \(100200 and 100000 bits\)"):
        check_rates([row | {"bpp_payload": 1.002}])
    with pytest.raises(WorkError, match=r"differ by 0.20% for a"):
        check_rates([row | {"bpp_payload": 0.998}])
    # One picture among many.
    large = row | {"image": "b", "width": 100_000, "bpp_payload": 1.0}
    with pytest.raises(WorkError, match="for a"):
        check_rates([large, row | {"bpp_payload": 1.01}])
    # The last bytes of a stream are all that a thumbnail has.
    tiny = {"image": "c", "width": 16, "height": 16, "bpp_payload": 0.5, "bpp_estimated": 0.4}
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


def test_the_static_coder_writes_what_tensorflow_compression_writes(codec):
    """Rows in several calls, and values beyond the tables."""
    tables = codec.model.tables
    coder = StaticCoder(tables["cdf"], tables["cdf_offset"])
    theirs = tfc.ContinuousBatchedEntropyModel(
        prior_shape=(len(tables["cdf_offset"]),),
        coding_rank=3,
        compression=True,
        stateless=True,
        **tables,
        bottleneck_dtype=tf.float32,
    )
    shape = (150, 7, len(tables["cdf_offset"]))
    rng = np.random.default_rng(1)
    latents = np.rint(rng.laplace(0, 3, shape)).astype(np.int16)
    latents[::40] *= 300
    payload = coder.encode(latents)
    floats = latents + tables["quantization_offset"]
    assert payload == theirs.compress(floats[None]).numpy()[0]
    decoded = coder.decode(payload, *shape[:2])
    assert decoded.dtype == np.int16
    assert (decoded == latents).all()
