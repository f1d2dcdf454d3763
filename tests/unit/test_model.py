import subprocess
import sys

import numpy as np
import pytest
from balle2017.errors import InputError
from balle2017.files import read_json, write_json
from balle2017.kernels import FourierKernel, fourier_basis
from balle2017.losses import compute_rate_distortion_loss
from balle2017.model import Balle2017FactorizedPrior, latent_shape
from balle2017.model_io import find_model, load_model
from balle2017.tensors import load_tensors, save_tensors
from helpers import ROOT


def test_loss_by_hand(tensorflow):
    original = tensorflow.zeros((2, 16, 16, 3))
    reconstruction = original + tensorflow.constant([2.0, 4.0])[:, None, None, None]
    bits = tensorflow.constant([256.0, 768.0])
    result = compute_rate_distortion_loss(original, reconstruction, bits, 0.5)
    # 512 bits on average over 256 pixels; (4 + 16) / 2 = 10; 2 + 0.5 * 10 = 7.
    assert [float(value) for value in result] == [7, 2, 10]


@pytest.mark.parametrize("size", [3, 5, 9])
def test_fourier_basis_is_orthonormal(size):
    basis = fourier_basis(size).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(size * size), atol=1e-6)


def test_each_basis_function_has_one_frequency():
    for column in fourier_basis(5).T:
        power = np.abs(np.fft.fft2(column.reshape(5, 5))) ** 2
        frequencies = np.argwhere(power > 1e-6 * power.max())
        assert len(frequencies) <= 2
        assert ((frequencies[0] + frequencies[-1]) % 5 == 0).all()


def test_fourier_kernel_starts_as_the_kernel_it_was_given(tensorflow):
    kernel = np.random.default_rng(1).normal(size=(5, 5, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(FourierKernel(kernel)().numpy(), kernel, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "latents"),
    [((256, 256), (16, 16)), ((65, 70), (5, 5)), ((1, 1), (1, 1)), ((17, 16), (2, 1))],
)
def test_shapes(tensorflow, size, latents):
    network = Balle2017FactorizedPrior(8)
    pixels = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    encoded = network.analyze(pixels)
    assert encoded.shape == (2, *latents, 8)
    assert latent_shape(*size) == latents
    decoded = network.synthesize(encoded, *size)
    assert decoded.shape == (2, *size, 3)
    assert decoded.dtype == tensorflow.float32


def test_layers_equal_the_default_ones_of_tensorflow_compression(tensorflow):
    """Explicit padding, which tfc uses by default, gives the same values."""
    import tensorflow_compression as tfc

    network = Balle2017FactorizedPrior(8)
    pixels = tensorflow.random.stateless_uniform((1, 64, 48, 3), (1, 2), -0.5, 0.5)
    for transform, value in ((network.analysis, pixels), (network.synthesis, None)):
        value = network.analysis(pixels) if value is None else value
        expected = value
        for layer in transform.layers:
            reference = tfc.SignalConv2D(
                layer.filters,
                layer.kernel_support,
                corr=layer.corr,
                strides_down=layer.strides_down,
                strides_up=layer.strides_up,
                padding="same_zeros",
                extra_pad_end=True,
                use_bias=layer.use_bias,
                kernel_parameter=layer.kernel,
                bias_parameter=layer.bias if layer.use_bias else "variable",
                activation=layer.activation,
            )
            expected = reference(expected)
        actual = transform(value)
        scale = float(tensorflow.reduce_max(tensorflow.abs(expected)))
        np.testing.assert_allclose(actual, expected, atol=1e-4 * scale)


def test_rounding_grid_is_the_one_of_the_coding_tables(tensorflow):
    network = Balle2017FactorizedPrior(8)
    np.testing.assert_array_equal(
        network.quantization_offset(), network.coding_tables()["quantization_offset"]
    )


def test_rate_is_that_of_the_prior(tensorflow):
    """The prior's probabilities of all integers around the median sum to one."""
    network = Balle2017FactorizedPrior(8)
    offset = network.quantization_offset()
    grid = np.arange(-3000, 3001, dtype=np.float32)[:, None] + offset
    np.testing.assert_allclose(network.prior.prob(grid).numpy().sum(0), 1, atol=1e-2)


def test_mixed_precision_keeps_latents_and_pixels_in_float32(tensorflow):
    network = Balle2017FactorizedPrior(8, "mixed_bfloat16")
    latents = network.analyze(np.zeros((1, 32, 32, 3), np.uint8))
    assert latents.dtype == tensorflow.float32
    assert network.analysis.layers[-1].compute_dtype == "float32"
    assert network.synthesis.layers[0].compute_dtype == "float32"
    assert network.analysis.layers[0].compute_dtype == "bfloat16"


def test_every_variable_is_named(tensorflow):
    network = Balle2017FactorizedPrior(8)
    named = {id(variable) for variable in network.named_variables().values()}
    assert named == {id(variable) for variable in network.trainable_variables}


def test_loaded_model_equals_the_saved_one(small_model):
    loaded = load_model(small_model)
    arrays, _, digest = load_tensors(small_model / "model.safetensors")
    for name, variable in loaded.network.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), arrays[name])
    assert loaded.model_id == bytes.fromhex(digest)[:8]
    assert find_model(small_model.parent / small_model.name) == small_model


def copy_model(source, target):
    target.mkdir()
    for path in source.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.mark.parametrize("position", [10, 200, -1])
def test_a_damaged_model_is_refused(small_model, tmp_path, position):
    folder = copy_model(small_model, tmp_path / "m")
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_model(folder)


def test_a_truncated_model_is_refused(small_model, tmp_path):
    folder = copy_model(small_model, tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_model(folder)


def test_a_foreign_config_is_refused(small_model, tmp_path):
    folder = copy_model(small_model, tmp_path / "m")
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"model_sha256": "0" * 64})
    with pytest.raises(InputError, match="does not belong"):
        load_model(folder)


def test_a_wrong_shape_is_named(small_model, tmp_path):
    folder = copy_model(small_model, tmp_path / "m")
    path = folder / "model.safetensors"
    arrays, description, _ = load_tensors(path)
    arrays["analysis/conv_0/bias"] = np.zeros(9, np.float32)
    digest = save_tensors(path, arrays, description)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"model_sha256": digest})
    with pytest.raises(InputError, match=r"analysis/conv_0/bias is float32\[9\], expected .*\[8\]"):
        load_model(folder)


def test_equal_content_gives_equal_bytes_in_every_process(small_model, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from balle2017.tensors import load_tensors, save_tensors\n"
        "arrays, description, _ = load_tensors(sys.argv[2])\n"
        "save_tensors(sys.argv[3], arrays, description)\n"
    )
    for index in range(5):
        path = tmp_path / str(index)
        source = small_model / "model.safetensors"
        subprocess.run([sys.executable, "-c", code, ROOT / "scripts", source, path], check=True)
        assert path.read_bytes() == source.read_bytes()


def test_scalars_keep_their_shape_on_disk(tmp_path):
    save_tensors(tmp_path / "x", {"a": np.array(3, np.int64)}, None)
    assert load_tensors(tmp_path / "x")[0]["a"].shape == ()
