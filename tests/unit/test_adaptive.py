"""The adaptive entropy coder: exact, never longer, and as the document says."""

import ast
import dataclasses
import inspect
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from balle2017.coding.adaptive import AdaptiveCoder
from balle2017.coding.bitstream import ADAPTIVE, HEADER_BYTES, STATIC, Bitstream
from balle2017.coding.codec import Codec
from balle2017.errors import DamagedFileError, InputError
from balle2017.files import read_json, read_table, write_json
from balle2017.model import context
from balle2017.model.files import load_model
from balle2017.model.fitting import fit_adaptation
from balle2017.model.tensors import load_tensors, save_tensors
from helpers import ROOT, make_picture, run_script
from PIL import Image
from second_decoder import SecondDecoder

# TensorFlow is set up before anything uses it.
pytestmark = pytest.mark.usefixtures("tensorflow")

SHAPES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (6, 1), (5, 9), (8, 6)]


@pytest.fixture(scope="module")
def codec(adapted_model):
    return Codec(adapted_model)


@pytest.fixture(scope="module")
def static_codec(small_model):
    return Codec(small_model)


def busy_latents(seed, height, width, channels=12):
    """Latents whose magnitude varies from place to place, some channels smooth."""
    rng = np.random.default_rng(seed)
    activity = np.exp(1.5 * rng.standard_normal((height, width, 1)))
    scale = 8 / (1 + np.arange(channels))
    latents = rng.laplace(0, 1, (height, width, channels)) * activity * scale
    latents[..., 3] = 20 * np.sin(np.arange(width) / 5 + np.arange(height)[:, None] / 7 + seed)
    return np.rint(latents).astype(np.int32)


@pytest.fixture(scope="module")
def adaptation(tensorflow):
    return fit_adaptation([busy_latents(seed, 24, 30) for seed in range(6)])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_second_decoder_written_from_the_document_agrees(adaptation, shape):
    coder = AdaptiveCoder(adaptation)
    latents = busy_latents(9, *shape)
    # Beyond every table, and beyond what magnitudes are cut to.
    latents[0, 0, :4] = [2**14, -(2**14), 700, -1100]
    payload = coder.encode(latents)
    second = SecondDecoder(adaptation.arrays(), payload, *shape)
    np.testing.assert_array_equal(second.decode(), latents)
    np.testing.assert_array_equal(coder.decode(payload, *shape), latents)


def test_images_of_any_shape_are_fitted(tensorflow):
    latents = [busy_latents(seed, *shape) for seed, shape in enumerate(SHAPES)]
    coder = AdaptiveCoder(fit_adaptation(latents))
    for picture in latents:
        payload = coder.encode(picture)
        np.testing.assert_array_equal(coder.decode(payload, *picture.shape[:2]), picture)
    # All of them a single latent: nothing is known of the other passes.
    fit_adaptation([busy_latents(seed, 1, 1) for seed in range(3)])


def test_the_second_decoder_chooses_the_same_tables(adaptation):
    coder = AdaptiveCoder(adaptation)
    latents = busy_latents(10, 7, 10)
    second = SecondDecoder(adaptation.arrays(), coder.encode(latents), 7, 10)
    second.decode()
    a = adaptation
    values = np.ascontiguousarray(latents[..., a.order].transpose(2, 0, 1))
    layout = a.group_sizes, a.magnitude_weights, a.expected, a.logarithms
    chosen = []
    for step in context.steps(values, *layout):
        part = step.pass_, step.where[0]
        weights = a.weights[part].astype(np.int32)
        chosen += context.indexes(step, a.base[part], weights, len(a.cdf_offset)).ravel().tolist()
    assert chosen == second.indexes
    assert len(set(chosen)) > 20


def test_the_second_decoder_reads_a_picture(codec):
    pixels = make_picture(3, 130, 170)
    stream = Bitstream.from_bytes(codec.compress(pixels))
    assert stream.version == ADAPTIVE
    arrays = codec.model.adaptation.arrays()
    decoded = SecondDecoder(arrays, stream.payload, *stream.latent_shape[:2]).decode()
    np.testing.assert_array_equal(decoded, codec.encode(pixels).latents)


def test_no_float_reaches_a_table_index(adaptation):
    """Neither in what runs, nor anywhere in the module that derives the indexes."""
    a = adaptation
    values = np.ascontiguousarray(busy_latents(1, 9, 9)[..., a.order].transpose(2, 0, 1))
    layout = a.group_sizes, a.magnitude_weights, a.expected, a.logarithms
    for step in context.steps(values, *layout):
        part = step.pass_, step.where[0]
        channels, predicted = context.predictions(step, a.prediction[part])
        seen = [step.neighbours, channels, predicted, *step.features().values()]
        weights = a.weights[part].astype(np.int32)
        seen.append(context.indexes(step, a.base[part], weights, len(a.cdf_offset)))
        assert all(np.issubdtype(array.dtype, np.integer) for array in seen)
    for node in ast.walk(ast.parse(inspect.getsource(context))):
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert "float" not in getattr(node, "attr", "") + getattr(node, "id", "")
        assert getattr(node, "attr", "") not in ("log", "log2", "exp", "mean_", "rint", "divide")


def test_the_code_length_is_that_of_the_payload(adaptation):
    coder = AdaptiveCoder(adaptation)
    latents = busy_latents(20, 40, 50)
    latents[3, 4, :6] = [3000, -3000, 90, -90, 511, -(2**14)]
    assert 8 * len(coder.encode(latents)) == pytest.approx(coder.place_bits(latents).sum(), abs=32)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("kind", ["picture", "flat", "chart", "noise"])
def test_the_estimate_is_the_payload_within_a_few_bytes(codec, kind, adaptive):
    pixels = extreme_pictures()[kind]
    data, latents = codec.encode(pixels, adaptive)
    bits = 8 * (len(data) - HEADER_BYTES)
    assert bits == pytest.approx(codec.estimated_bits(latents, adaptive), abs=32)


def extreme_pictures():
    rng = np.random.default_rng(5)
    chart = np.zeros((120, 150, 3), np.uint8)
    chart[::16] = chart[:, 70:75] = 255
    chart[20:50, 20:60] = [255, 0, 0]
    return {
        "picture": make_picture(3, 160, 200),
        "flat": np.full((64, 64, 3), 200, np.uint8),
        "chart": chart,
        "noise": rng.integers(0, 256, (64, 80, 3), np.uint8),
    }


@pytest.mark.parametrize("kind", ["picture", "flat", "chart", "noise"])
def test_no_file_is_longer_than_with_the_static_prior(codec, static_codec, kind):
    pixels = extreme_pictures()[kind]
    adaptive, static = codec.compress(pixels), static_codec.compress(pixels)
    assert len(adaptive) <= len(static)
    np.testing.assert_array_equal(codec.decompress(adaptive), static_codec.decompress(static))


def test_a_picture_that_the_adaptation_does_not_suit_is_coded_with_the_static_prior(
    codec, static_codec, adapted_model, tmp_path
):
    model = copy(adapted_model, tmp_path)
    arrays, description, _ = load_tensors(model / "model.safetensors")
    # Every value with the widest table.
    arrays["adaptive/base"][:] = 2**29
    rewrite(model, arrays, description)
    pixels = make_picture(3, 160, 200)
    data = Codec(model).compress(pixels)
    assert data == static_codec.compress(pixels)
    assert Bitstream.from_bytes(data).version == STATIC


def test_version_1_stays_as_it_was_to_the_byte(codec, static_codec):
    pixels = make_picture(6, 70, 40)
    old = static_codec.compress(pixels)
    assert Bitstream.from_bytes(old).version == STATIC
    assert codec.compress(pixels, adaptive=False) == old
    # The adapted model reads what was written before it was.
    np.testing.assert_array_equal(codec.decompress(old), static_codec.decompress(old))


def test_a_model_without_adaptation_refuses_version_2(codec, static_codec):
    data = codec.compress(make_picture(3, 160, 200))
    with pytest.raises(DamagedFileError, match="made by another model"):
        static_codec.decompress(data)
    stream = Bitstream.from_bytes(data)
    assert stream.version == ADAPTIVE
    forged = dataclasses.replace(stream, model_id=static_codec.model.model_id)
    with pytest.raises(DamagedFileError, match="has no adaptation"):
        static_codec.decompress(forged.to_bytes())
    # Nor does one with an adaptation read it under the name of the static prior.
    with pytest.raises(DamagedFileError, match="made by another model"):
        codec.decompress(forged.to_bytes())


def test_it_learns_where_a_picture_is_busy(adaptation):
    """Ideal code lengths: of the best static table of each channel, and of the coder."""
    latents = busy_latents(30, 30, 40)
    static = 0.0
    for channel in range(latents.shape[2]):
        _, counts = np.unique(latents[..., channel], return_counts=True)
        static += -(counts * np.log2(counts / counts.sum())).sum()
    assert AdaptiveCoder(adaptation).place_bits(latents).sum() < 0.9 * static


def test_the_number_of_threads_changes_no_byte(adapted_model):
    pixels = make_picture(8, 600, 540)
    files = {Codec(adapted_model, threads).compress(pixels) for threads in (1, 2)}
    assert len(files) == 1


def test_the_fit_is_the_same_with_any_number_of_threads(small_model, picture_folder, tmp_path):
    digests = set()
    for threads in (1, 3):
        model = copy(small_model, tmp_path / str(threads))
        # Not `run_script`: the linear algebra reads this when it is imported.
        subprocess.run(
            [
                *(sys.executable, ROOT / "scripts" / "adapt.py"),
                *("--model", model, "--images", picture_folder),
            ],
            env=os.environ | {"OPENBLAS_NUM_THREADS": str(threads)},
            check=True,
        )
        digests.add(read_json(model / "config.json")["model_sha256"])
    assert len(digests) == 1


def test_adapting_again_replaces_the_adaptation(small_model, picture_folder, tmp_path):
    model = copy(small_model, tmp_path)
    before = read_json(model / "config.json")
    run_script("adapt", "--model", model, "--images", picture_folder)
    first = load_model(model)
    assert first.model_id == load_model(small_model).model_id
    assert first.config["static_sha256"] == before["model_sha256"]
    Image.fromarray(make_picture(77, 200, 200)).save(picture_folder / "more.png")
    done = run_script("adapt", "--model", model, "--images", picture_folder)
    assert done.returncode == 2
    assert "has an adaptation, which the files made with it need; give --out" in done.stderr
    assert load_model(model).adaptive_id == first.adaptive_id
    done = run_script("adapt", "--model", model, "--images", picture_folder, "--overwrite")
    assert "images are few; 32 and more fit better" in done.stdout
    second = load_model(model)
    assert second.adaptive_id != first.adaptive_id
    assert second.model_id == first.model_id


def test_an_adaptation_of_its_own_leaves_the_files_of_the_other(
    adapted_model, picture_folder, tmp_path
):
    pixels = make_picture(8, 200, 180)
    data = Codec(adapted_model).compress(pixels)
    out = tmp_path / "new"
    done = run_script(
        *("adapt", "--model", adapted_model, "--images", picture_folder, "--out", out)
    )
    assert done.returncode == 0, done.stderr
    old, new = load_model(adapted_model), load_model(out)
    assert new.model_id == old.model_id
    assert new.adaptive_id != old.adaptive_id
    assert np.array_equal(
        Codec(adapted_model).decompress(data), Codec(out).decompress(Codec(out).compress(pixels))
    )
    done = run_script(
        *("adapt", "--model", adapted_model, "--images", picture_folder, "--out", out)
    )
    assert done.returncode == 2
    assert f"{out} exists; give another --out" in done.stderr


def test_evaluation_measures_both_coders_on_the_same_pixels(adapted_model, tmp_path):
    (tmp_path / "images").mkdir()
    for seed in range(3):
        picture = Image.fromarray(make_picture(seed, 190, 220))
        picture.save(tmp_path / "images" / f"{seed}.png")
    out = tmp_path / "out"
    done = run_script(
        *("evaluate", "--model", adapted_model, "--images", tmp_path / "images", "--out", out)
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    (static,) = read_json(out / "summary.json")
    (adaptive,) = read_json(out / "adaptive" / "summary.json")
    assert (static["codec"], adaptive["codec"]) == ("balle2017", "balle2017_adaptive")
    assert adaptive["bpp"] < static["bpp"]
    assert adaptive["bpp_estimated"] < static["bpp_estimated"]
    rows, others = (read_table(folder / "per_image.csv") for folder in (out, out / "adaptive"))
    for row, other in zip(rows, others, strict=True):
        assert row["decoded_sha256"] == other["decoded_sha256"]
        assert row["file_sha256"] != other["file_sha256"]
    versions = {
        folder: {Bitstream.from_bytes(path.read_bytes()).version for path in folder.iterdir()}
        for folder in (out / "bitstreams", out / "adaptive" / "bitstreams")
    }
    assert list(versions.values()) == [{STATIC}, {ADAPTIVE}]


def copy(model, folder):
    folder.mkdir(exist_ok=True)
    shutil.copytree(model, folder / "model")
    return folder / "model"


def rewrite(model, arrays, description):
    digest = save_tensors(model / "model.safetensors", arrays, description)
    config = read_json(model / "config.json")
    write_json(model / "config.json", config | {"model_sha256": digest})


def set_entry(name, position, value):
    def change(arrays):
        arrays[f"adaptive/{name}"][position] = value

    return change


def cut(name):
    def change(arrays):
        arrays[f"adaptive/{name}"] = arrays[f"adaptive/{name}"][:-1]

    return change


def drop(name):
    return lambda arrays: arrays.pop(f"adaptive/{name}")


def retype(name, dtype):
    def change(arrays):
        arrays[f"adaptive/{name}"] = arrays[f"adaptive/{name}"].astype(dtype)

    return change


def repeat_a_channel(arrays):
    arrays["adaptive/order"][0] = arrays["adaptive/order"][1]


def add_unknown(arrays):
    arrays["adaptive/more"] = np.zeros(1, np.int32)


def lose_a_channel(arrays):
    for name in ("order", "magnitude_weights"):
        arrays[f"adaptive/{name}"] = np.arange(1, 8, dtype=np.int32)
    for name in ("base", "weights", "prediction"):
        arrays[f"adaptive/{name}"] = arrays[f"adaptive/{name}"][:, :-1]
    arrays["adaptive/group_sizes"] = np.array([7], np.int32)
    arrays["adaptive/expected"] = np.array([7], np.int32)
    arrays["adaptive/order"] = np.arange(7, dtype=np.int32)


MALFORMED = {
    "a missing array": (drop("expected"), "lacks adaptive/expected"),
    "an unknown array": (add_unknown, "an unknown adaptive/more"),
    "a float array": (retype("base", np.float32), r"adaptive/base is float32"),
    "a wider type": (retype("weights", np.int32), r"adaptive/weights is int32"),
    "a short array": (cut("magnitude_weights"), r"magnitude_weights is int32\[7\], expected"),
    "an order with a channel twice": (repeat_a_channel, "order does not name"),
    "a negative channel": (set_entry("order", 0, -1), "order does not name"),
    "an empty group": (set_entry("group_sizes", 0, 0), "empty group"),
    "groups that are too large": (set_entry("group_sizes", 0, 2**31 - 1), "add up to"),
    "a magnitude weight of 0": (set_entry("magnitude_weights", 0, 0), "under 1"),
    "a large magnitude weight": (set_entry("magnitude_weights", 0, 2000), "exceeds 1024"),
    "an expected magnitude of 0": (set_entry("expected", 0, 0), "under 1"),
    "a large base": (set_entry("base", (0, 0), -(2**31)), "base exceeds"),
    "a large logarithm": (set_entry("logarithms", 7, 3000), "logarithms exceeds"),
    "a large prediction": (set_entry("prediction", (1, 1), -2000), "prediction exceeds"),
    "too few channels": (lose_a_channel, "order does not have 8 channels"),
    "a table that falls": (set_entry("cdf", 2, 70000), "does not rise"),
    "a table of another precision": (set_entry("cdf", 0, -12), "does not rise"),
    "a table that has no end": (cut("cdf"), "ends within a table"),
    "a table that never ends": (set_entry("cdf", 0, -16), "does not rise"),
    "an offset without a table": (cut("cdf_offset"), "tables, cdf_offset"),
    "an offset outside of its table": (set_entry("cdf_offset", 0, -(2**31)), "does not fit"),
}


@pytest.mark.parametrize("problem", MALFORMED)
def test_a_malformed_adaptation_is_refused(adapted_model, tmp_path, problem):
    change, message = MALFORMED[problem]
    model = copy(adapted_model, tmp_path)
    arrays, description, _ = load_tensors(model / "model.safetensors")
    arrays = {name: array.copy() for name, array in arrays.items()}
    change(arrays)
    rewrite(model, arrays, description)
    with pytest.raises(InputError, match=message) as caught:
        load_model(model)
    assert "\n" not in str(caught.value)


def test_an_adaptation_of_other_weights_is_refused(adapted_model, tmp_path):
    model = copy(adapted_model, tmp_path)
    config = read_json(model / "config.json")
    write_json(model / "config.json", config | {"static_sha256": "0" * 64})
    with pytest.raises(InputError, match="does not belong"):
        load_model(model)
