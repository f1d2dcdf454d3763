"""Refined latents: a lower rate-distortion objective than rounding, for the same decoder."""

import subprocess

import numpy as np
import pytest
import skimage.data
from balle2017.coding.bitstream import Bitstream
from balle2017.coding.code_length import CodeLengths
from balle2017.coding.codec import Codec
from balle2017.coding.refinement import Refinement
from balle2017.files import read_json, read_table
from helpers import PROGRAM, ROOT, make_picture, run_script
from PIL import Image

# TensorFlow is set up before anything uses it.
pytestmark = pytest.mark.usefixtures("tensorflow")

LAMBDA = 0.0018
MODEL = ROOT / "pretrained" / "0.0018"


@pytest.fixture(scope="module")
def codec():
    return Codec(MODEL)


def photo(height, width):
    return skimage.data.coffee()[40 : 40 + height, 60 : 60 + width]


def noise(height, width):
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def squared_error(codec, pixels, data):
    difference = codec.decompress(data).astype(np.float64) - pixels
    return float((difference**2).sum())


def objective(codec, pixels, encoded, lambda_rd=LAMBDA):
    """The objective of an encoded image, from its latents' code length and its decoded pixels."""
    bits = codec.estimated_bits(encoded.latents, adaptive=False)
    return bits + lambda_rd * squared_error(codec, pixels, encoded.data) / 3


def test_photographs_need_fewer_bits_at_equal_quality(codec):
    pixels = photo(160, 208)
    plain, refined = (codec.encode(pixels, refine=refine) for refine in (False, True))
    # Rate at equal quality: the trade between bits and squared errors is lambda / 3.
    saved = squared_error(codec, pixels, plain.data) - squared_error(codec, pixels, refined.data)
    bits = 8 * len(plain.data)
    assert 8 * len(refined.data) - LAMBDA * saved / 3 < 0.95 * bits
    assert np.abs(refined.latents - plain.latents).max() == 1


def flat(value):
    return lambda height, width: np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize("picture", [photo, noise, flat(90), flat(0), flat(255)])
@pytest.mark.parametrize("size", [(1, 1), (17, 33), (70, 65), (64, 64)])
def test_the_objective_never_rises(codec, picture, size):
    pixels = picture(*size)
    plain, refined = (
        objective(codec, pixels, codec.encode(pixels, refine=refine)) for refine in (False, True)
    )
    assert refined <= plain * (1 + 1e-6)


def test_the_file_is_like_any_other(codec):
    pixels = photo(48, 64)
    refined = codec.encode(pixels, refine=True)
    plain = codec.encode(pixels)
    one, other = (Bitstream.from_bytes(encoded.data) for encoded in (refined, plain))
    assert (one.model_id, one.version, one.latent_shape) == (
        other.model_id,
        other.version,
        other.latent_shape,
    )
    # Another process, without anything that only the encoder knows.
    assert np.array_equal(Codec(MODEL).decompress(refined.data), codec.decompress(refined.data))
    assert codec.compress(pixels) == plain.data, "without the option nothing changes"


def test_the_number_of_threads_does_not_matter(codec):
    # Two tiles.
    pixels = photo(64, 528)
    assert Codec(MODEL, threads=3).compress(pixels, refine=True) == codec.compress(
        pixels, refine=True
    )


def test_both_coders_hold_the_same_latents(codec):
    pixels = photo(80, 80)
    static, adaptive = (codec.encode(pixels, adaptive=value, refine=True) for value in (0, 1))
    assert np.array_equal(static.latents, adaptive.latents)
    assert np.array_equal(codec.decompress(static.data), codec.decompress(adaptive.data))


def test_the_objective_is_that_of_training(codec, tensorflow):
    """Rate plus lambda times the mean squared error, times the number of pixels."""
    pixels = photo(64, 80)
    latents = codec.latents(pixels)
    offset = codec.model.tables["quantization_offset"]
    integers = np.rint(latents[0] - offset)
    image = tensorflow.constant(pixels[None].astype(np.float32))
    decoded, bits = codec.model.network.quantized(image, tensorflow.constant(offset))
    mse = float(np.mean((decoded.numpy() - pixels) ** 2, dtype=np.float64))
    expected = float(bits[0]) + 64 * 80 * LAMBDA * mse
    # Its rate is that of the tables, which differ from the prior by their rounding.
    assert codec._refine.objective(image, integers) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize(("spread", "clipped_share"), [(3, 0), (30, 0.1)])
def test_a_step_follows_the_gradient_of_the_relaxed_objective(
    small_model, tensorflow, spread, clipped_share
):
    """Compared with finite differences of the formula at the head of the module."""
    codec = Codec(small_model)
    refinement, temperature = codec._refine, 0.3
    pixels = make_picture(4, 16, 32)
    image = tensorflow.constant(pixels[None].astype(np.float32))
    channels = codec.model.network.num_latents
    rng = np.random.default_rng(5)
    latents = rng.normal(0, spread, (1, 1, 2, channels)).astype(np.float32)
    lengths = CodeLengths(codec.model.tables["cdf"], codec.model.tables["cdf_offset"])

    def relaxed(values):
        below = np.floor(values)
        soft = 1 / (1 + np.exp(-(values - below - 0.5) / temperature))
        index = np.arange(channels)
        low, high = (lengths(index, (below + more).astype(int)) for more in (0, 1))
        between = tensorflow.constant((below + soft).astype(np.float32))
        decoded = codec.model.network.synthesize(between + refinement._offset, 16, 32)
        clipped = np.clip(decoded.numpy(), 0, 255)
        error = np.sum((clipped - image.numpy()) ** 2, dtype=np.float64)
        lambda_rd = codec.model.config["lambda_rd"]
        return np.sum(low + soft * (high - low)) + lambda_rd / 3 * error

    decoded = codec.model.network.synthesize(latents + refinement._offset, 16, 32).numpy()
    assert np.mean((decoded < 0) | (decoded > 255)) >= clipped_share
    # With an empty mean of squares, the first step is the gradient's sign times the rate.
    numbers = [tensorflow.constant(value, tensorflow.float32) for value in (temperature, 1, 0.1)]
    moved, square = refinement._step(latents, 0 * latents, image, *numbers)
    gradient = np.sqrt(square.numpy() / 0.1)
    assert np.allclose(np.abs(moved.numpy() - latents), 1, atol=0.01)
    signed = gradient * np.sign(latents - moved.numpy())
    step = 1e-2
    fractions = latents[0] - np.floor(latents[0])
    inside = np.argwhere((fractions > 2 * step) & (fractions < 1 - 2 * step))
    assert len(inside) > 8
    for place in inside[:8]:
        where = (0, *place)
        up, down = latents.astype(np.float64).copy(), latents.astype(np.float64).copy()
        up[where] += step
        down[where] -= step
        slope = (relaxed(up) - relaxed(down)) / (2 * step)
        assert signed[where] == pytest.approx(slope, rel=0.05, abs=0.05)


def test_where_the_search_fails_the_latents_are_rounded(codec, monkeypatch):
    pixels = photo(48, 48)
    plain = codec.compress(pixels)
    monkeypatch.setattr(
        codec._refine, "_step", lambda relaxed, mean_square, *rest: (relaxed + 3, mean_square)
    )
    assert codec.compress(pixels, refine=True) == plain


def test_no_integer_moves_further_than_1(codec, monkeypatch):
    pixels = photo(48, 48)
    plain = codec.encode(pixels).latents
    monkeypatch.setattr(
        codec._refine, "_step", lambda relaxed, mean_square, *rest: (relaxed + 3, mean_square)
    )
    monkeypatch.setattr(codec._refine, "objective", lambda image, integers: -integers.sum())
    assert (codec.encode(pixels, refine=True).latents - plain == 1).all()


def test_values_beyond_the_tables_are_refined_too(codec, tensorflow):
    refinement = rate_alone(codec)
    pixels = noise(64, 64)
    # Latents of no image; most lie in no table.
    latents = 40 * codec.latents(pixels)[0]
    first = codec.model.tables["cdf_offset"]
    last = first + [len(table) - 2 for table in codec._code_lengths.tables]
    assert np.mean((latents < first) | (latents > last)) > 0.2
    image = tensorflow.constant(pixels[None].astype(np.float32))
    found = refinement(pixels, latents)
    before, after = (refinement.objective(image, x) for x in (np.rint(latents), found))
    assert after < before


def test_commands_and_interfaces_refine(codec, tmp_path):
    import balle2017.pillow  # noqa: F401
    from balle2017 import Family

    pixels = photo(64, 96)
    source = tmp_path / "photo.png"
    Image.fromarray(pixels).save(source)
    expected = codec.compress(pixels, refine=True)
    assert expected != codec.compress(pixels)
    options = ("--model", MODEL, "--refine")
    done = run_script("compress", source, "--out", tmp_path / "one.b17", *options)
    assert done.returncode == 0, done.stderr
    subprocess.run([PROGRAM, "compress", source, tmp_path / "two.b17", *options], check=True)
    Image.fromarray(pixels).save(tmp_path / "three.b17", lambda_rd=LAMBDA, refine=True)
    for name in ("one", "two", "three"):
        assert (tmp_path / f"{name}.b17").read_bytes() == expected
    choice = Family(MODEL).compress(pixels, max_bytes=len(expected), refine=True)
    assert choice.data == expected
    Image.fromarray(pixels).save(
        tmp_path / "four.b17", model=MODEL, max_bytes=len(expected), refine=True
    )
    assert (tmp_path / "four.b17").read_bytes() == expected


def test_evaluation_measures_refined_latents_under_names_of_their_own(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    pixels = photo(48, 64)
    Image.fromarray(pixels).save(images / "photo.png")
    done = run_script(
        *("evaluate", "--model", MODEL, "--images", images, "--out", tmp_path / "out", "--refine")
    )
    assert done.returncode == 0, done.stderr
    (static,) = read_json(tmp_path / "out" / "summary.json")
    (adaptive,) = read_json(tmp_path / "out" / "adaptive" / "summary.json")
    assert static["codec"] == "balle2017_refined"
    assert adaptive["codec"] == "balle2017_refined_adaptive"
    assert adaptive["psnr_rgb"] == static["psnr_rgb"]
    assert adaptive["bpp"] < static["bpp"]
    (row,) = read_table(tmp_path / "out" / "per_image.csv")
    written = (tmp_path / "out" / "bitstreams" / "photo.b17").read_bytes()
    assert written == Codec(MODEL).compress(pixels, adaptive=False, refine=True)
    assert float(row["bpp"]) == 8 * len(written) / (48 * 64)


def rate_alone(codec):
    """The search of a model whose lambda is zero."""
    tables = codec.model.tables
    return Refinement(
        codec.model.network,
        tables["quantization_offset"],
        codec._code_lengths,
        tables["cdf_offset"],
        0.0,
    )


def test_a_weight_of_zero_leaves_rate_alone(codec):
    """Without distortion every step lowers the bits of its latent."""
    pixels = photo(32, 32)
    latents = codec.latents(pixels)[0] - codec.model.tables["quantization_offset"]
    found, rounded = rate_alone(codec)(pixels, latents), np.rint(latents)
    channels = np.arange(latents.shape[-1])
    bits = [codec._code_lengths(channels, values.astype(int)) for values in (found, rounded)]
    assert (bits[0] <= bits[1]).all()
    assert bits[0].sum() < bits[1].sum()
