import subprocess
import sys

import numpy as np
import pytest
from balle2017.errors import InputError
from balle2017.files import read_json, write_json
from balle2017.model.convolution import (
    FourierKernel,
    FromLatents,
    PixelsDown,
    PixelsUp,
    Up,
    fourier_basis,
)
from balle2017.model.files import load_model
from balle2017.model.find import find_model
from balle2017.model.gdn import GDN, gdn, inverse_gdn
from balle2017.model.loss import compute_rate_distortion_loss, mean_squared_error
from balle2017.model.network import Balle2017FactorizedPrior, latent_shape
from balle2017.model.packing import unpack_weights
from balle2017.model.pixels import centre, from_blocks, to_blocks, to_pixels
from balle2017.model.prior import PARAMETERS, FactorizedPrior, cumulative, nats
from balle2017.model.tensors import load_tensors, save_tensors
from helpers import ROOT


def test_loss_by_hand(tensorflow):
    original = np.full((2, 16, 16, 3), 7, np.uint8)
    differing = original + np.array([2.0, 4.0], np.float32)[:, None, None, None]
    mse = mean_squared_error(original, centre(differing, "float32"), False)
    result = compute_rate_distortion_loss(mse, tensorflow.constant([256.0, 768.0]), 256, 0.5)
    # 512 bits on average over 256 pixels; (4 + 16) / 2 = 10; 2 + 0.5 * 10 = 7.
    assert [float(value) for value in result] == [7, 2, 10]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_squared_error_has_the_gradient_of_its_formula(tensorflow, dtype, fused):
    rng = np.random.default_rng(1)
    original = rng.integers(0, 256, (2, 4, 4, 48), np.uint8)
    centred = tensorflow.cast(rng.uniform(-0.6, 0.6, original.shape), dtype)
    with tensorflow.GradientTape(persistent=True) as tape:
        tape.watch(centred)
        actual = 3 * mean_squared_error(original, centred, fused)
        expected = 3 * tensorflow.reduce_mean(
            (to_pixels(centred) - original.astype(np.float32)) ** 2
        )
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    gradients = [
        tensorflow.cast(tape.gradient(value, centred), "float32") for value in (actual, expected)
    ]
    scale = np.abs(gradients[1]).max()
    tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(*gradients, atol=tolerance * scale)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_centring_is_exact_in_every_type(tensorflow, dtype):
    pixels = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_pixels(centre(pixels, dtype)), pixels)


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


def tfc_layer(convolution, normalization):
    """Build tfc's default layer with the weights of ours, kernels turned by 180 degrees."""
    import tensorflow_compression as tfc

    up = isinstance(convolution, Up | PixelsUp | FromLatents)
    stride = 4 if isinstance(convolution, PixelsUp | PixelsDown) else 2
    coefficients = convolution.kernel.coefficients.numpy()
    size = round(len(coefficients) ** 0.5)
    filters = 3 if isinstance(convolution, PixelsUp) else 8
    kernel = (fourier_basis(size) @ coefficients).reshape(
        (size, size, filters, -1) if up else (size, size, -1, filters)
    )
    kernel = kernel.transpose(0, 1, 3, 2) if up else kernel
    bias = getattr(normalization or convolution, "bias", None)
    activation = normalization and tfc.GDN(
        inverse=up, beta_parameter=normalization.beta, gamma_parameter=normalization.gamma
    )
    return tfc.SignalConv2D(
        filters,
        (size, size),
        corr=not up,
        strides_down=1 if up else stride,
        strides_up=stride if up else 1,
        padding="same_zeros",
        extra_pad_end=True,
        use_bias=bias is not None,
        kernel_parameter=tf_constant(kernel[::-1, ::-1]),
        bias_parameter="variable" if bias is None else bias,
        activation=activation,
    )


def tf_constant(array):
    import tensorflow as tf

    return tf.constant(np.ascontiguousarray(array))


@pytest.fixture
def random_network(tensorflow):
    """Return 8 filters with every parameter off its symmetric start."""
    network = Balle2017FactorizedPrior(8)
    rng = np.random.default_rng(1)
    for name, variable in network.named_variables().items():
        if "/conv" not in name or "bias" in name:
            noise = rng.uniform(0.01, 0.2, variable.shape).astype(np.float32)
            variable.assign_add(noise)
    return network


@pytest.mark.parametrize("size", [(64, 48), (16, 16)])
@pytest.mark.parametrize("name", ["analysis", "synthesis"])
def test_layers_equal_the_default_ones_of_tensorflow_compression(random_network, name, size):
    """Ours see the picture turned by 180 degrees, where padding needs no pass of its own."""
    transform = getattr(random_network, name)
    rng = np.random.default_rng(2)
    shape = (2, *size, 3) if name == "analysis" else (2, size[0] // 16, size[1] // 16, 8)
    value = rng.uniform(-0.5, 0.5, shape).astype(np.float32)
    convolutions, gdns = transform.layers[::2], [*transform.layers[1::2], None]
    expected = value
    turned = value[:, ::-1, ::-1]
    actual = transform(to_blocks(turned) if name == "analysis" else turned)
    actual = actual if name == "analysis" else from_blocks(actual)
    for convolution, normalization in zip(convolutions, gdns, strict=True):
        expected = tfc_layer(convolution, normalization)(expected)
    np.testing.assert_allclose(actual[:, ::-1, ::-1], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_gdn_and_its_gradients_equal_those_of_tensorflow_compression(tensorflow, inverse, fused):
    import tensorflow_compression as tfc

    ours = GDN("gdn", 8, "float32", inverse, fused)
    rng = np.random.default_rng(3)
    ours.beta.variable.assign_add(rng.uniform(0, 1, 8).astype(np.float32))
    ours.gamma.variable.assign_add(rng.uniform(0, 0.3, (8, 8)).astype(np.float32))
    reference = tfc.GDN(inverse=inverse, beta_parameter=ours.beta, gamma_parameter=ours.gamma)
    ours.bias.assign(rng.normal(size=8).astype(np.float32))
    x = tensorflow.constant(rng.normal(size=(2, 3, 4, 8)).astype(np.float32))
    weights = rng.normal(size=x.shape).astype(np.float32)
    variables = [ours.bias, ours.beta.variable, ours.gamma.variable]
    results = []
    formula = inverse_gdn if inverse else gdn
    for apply in (
        lambda: reference(x + ours.bias),
        lambda: formula(x + ours.bias, ours.beta(), ours.gamma()),
        lambda: ours(x),
    ):
        with tensorflow.GradientTape() as tape:
            tape.watch(x)
            y = apply()
            total = tensorflow.reduce_sum(y * weights)
        results.append([y, *tape.gradient(total, [x, *variables])])
    for expected, *others in zip(*results, strict=True):
        scale = np.abs(expected).max()
        for actual in others:
            np.testing.assert_allclose(actual, expected, atol=1e-5 * scale)


@pytest.mark.parametrize("fused", [False, True])
def test_bits_and_their_gradients_are_those_of_the_distribution(tensorflow, fused):
    prior = FactorizedPrior(8, fused)
    rng = np.random.default_rng(4)
    # From the middle far into the tails, where probabilities underflow.
    latents = tensorflow.constant((rng.normal(size=(3, 5, 4, 8)) * 40).astype(np.float32))
    variables = list(prior.named_variables().values())
    for variable in variables:
        variable.assign_add(rng.uniform(0.01, 0.2, variable.shape).astype(np.float32))
    results = []
    for bits in (
        lambda: prior.bits(latents),
        lambda: tensorflow.reduce_sum(prior.distribution.log_prob(latents), (1, 2, 3)) / -np.log(2),
    ):
        with tensorflow.GradientTape() as tape:
            tape.watch(latents)
            value = bits()
        results.append([value, *tape.gradient(value, [latents, *variables])])
    for actual, expected in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("fused", [False, True])
def test_nats_and_their_gradients_are_those_of_the_formula(tensorflow, fused):
    rng = np.random.default_rng(6)
    shapes = {"matrix_0": (3, 1), "matrix_1": (3, 3), "matrix_2": (1, 3), "bias_2": (1, 1)}
    parameters = [
        tensorflow.constant(rng.uniform(0.1, 0.6, (4, *shapes.get(name, (3, 1)))), "float32")
        for name in PARAMETERS
    ]
    values = tensorflow.constant(rng.normal(size=(4, 50)) * 3, "float32")
    results = []
    for information in (
        lambda: nats(values, parameters, fused),
        lambda: (
            -tensorflow.math.log(
                cumulative(values + 0.5, parameters) - cumulative(values - 0.5, parameters)
            )
        ),
    ):
        with tensorflow.GradientTape() as tape:
            tape.watch([values, *parameters])
            result = information()
        results.append([result, *tape.gradient(result, [values, *parameters])])
    for actual, expected in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4 * scale)


def test_mixed_precision_differs_little_and_its_gradients_point_the_same_way(tensorflow):
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    noise = rng.uniform(-0.5, 0.5, (2, 4, 4, 16)).astype(np.float32)
    results = []
    for policy in ("float32", "mixed_bfloat16"):
        tensorflow.keras.utils.set_random_seed(7)
        network = Balle2017FactorizedPrior(16, policy=policy, latent_gain=10, fused=True)
        with tensorflow.GradientTape() as tape:
            mse, bits = network(pixels, noise)
            loss = compute_rate_distortion_loss(mse, bits, 64 * 64, 0.01).loss
        gradients = tape.gradient(loss, network.named_variables())
        results.append((float(loss), {name: g.numpy().ravel() for name, g in gradients.items()}))
    (full, full_gradients), (mixed, mixed_gradients) = results
    assert abs(full - mixed) < 0.01 * full
    for name, gradient in full_gradients.items():
        other = mixed_gradients[name]
        cosine = gradient @ other / (np.linalg.norm(gradient) * np.linalg.norm(other))
        assert cosine > 0.99, name


def test_mixed_quantization_measures_what_evaluation_does(tensorflow):
    """The rate is that of noise, the distortion that of rounding, with a gradient through it."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    noise = rng.uniform(-0.5, 0.5, (2, 2, 2, 8)).astype(np.float32)
    network = Balle2017FactorizedPrior(8, latent_gain=10)
    offset = tensorflow.constant(network.prior.quantization_offset())
    with tensorflow.GradientTape() as tape:
        mse, bits = network(pixels, noise, offset)
    reconstruction, _ = network.quantized(pixels, offset)
    expected = np.mean((reconstruction.numpy() - pixels) ** 2)
    np.testing.assert_allclose(mse, expected, rtol=1e-5)
    np.testing.assert_array_equal(bits, network(pixels, noise)[1])
    gradient = tape.gradient(mse, network.named_variables()["analysis/conv_2/kernel"])
    assert np.abs(gradient).max() > 0


def test_edges_are_extended_by_repeating_the_last_pixels(tensorflow):
    network = Balle2017FactorizedPrior(8)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 21, 30, 3), np.uint8)
    extended = np.pad(pixels, ((0, 0), (0, 11), (0, 2), (0, 0)), mode="edge")
    np.testing.assert_array_equal(network.analyze(pixels), network.analyze(extended))


def test_blocks_and_back(tensorflow):
    pixels = np.arange(2 * 8 * 12 * 3).reshape(2, 8, 12, 3)
    blocks = to_blocks(pixels)
    np.testing.assert_array_equal(blocks, tensorflow.nn.space_to_depth(pixels, 4))
    np.testing.assert_array_equal(from_blocks(blocks), pixels)


def test_rounding_grid_is_the_one_of_the_coding_tables(tensorflow):
    network = Balle2017FactorizedPrior(8)
    np.testing.assert_array_equal(
        network.prior.quantization_offset(), network.prior.coding_tables()["quantization_offset"]
    )


def test_coding_tables_follow_the_weights(tensorflow):
    """As in a training that exports several models: later tables are those of later weights."""
    trained, fresh = Balle2017FactorizedPrior(8).prior, Balle2017FactorizedPrior(8).prior
    before = trained.coding_tables()
    weights = trained.named_variables()
    weights["matrix_0"].assign_add(tensorflow.ones((8, 3, 1)))
    for name, variable in fresh.named_variables().items():
        variable.assign(weights[name])
    after, expected = trained.coding_tables(), fresh.coding_tables()
    assert len(after["cdf"]) != len(before["cdf"])
    for name, table in expected.items():
        np.testing.assert_array_equal(after[name], table)


def test_rate_is_that_of_the_prior(tensorflow):
    """The prior's probabilities of all integers around the median sum to one."""
    network = Balle2017FactorizedPrior(8)
    offset = network.prior.quantization_offset()
    grid = np.arange(-3000, 3001, dtype=np.float32)[:, None] + offset
    np.testing.assert_allclose(network.prior.distribution.prob(grid).numpy().sum(0), 1, atol=1e-2)


def test_mixed_precision_keeps_latents_and_pixels_in_float32(tensorflow):
    network = Balle2017FactorizedPrior(8, policy="mixed_bfloat16")
    latents = network.analyze(np.zeros((1, 32, 32, 3), np.uint8))
    assert latents.dtype == tensorflow.float32
    assert network.analysis.layers[-1].dtype == "float32"
    assert network.synthesis.layers[0].dtype == "float32"
    assert network.analysis.layers[0].dtype == "bfloat16"


def test_every_variable_is_named(tensorflow):
    network = Balle2017FactorizedPrior(8)
    named = {id(variable) for variable in network.named_variables().values()}
    assert named == {id(variable) for variable in network.trainable_variables}


def test_loaded_model_equals_the_saved_one(small_model):
    loaded = load_model(small_model)
    arrays, _, digest = load_tensors(small_model / "model.safetensors")
    weights = unpack_weights(arrays, loaded.network.num_filters)
    for name, variable in loaded.network.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), weights[name])
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
    arrays["analysis/gdn_0/bias"] = np.zeros(9, np.float32)
    digest = save_tensors(path, arrays, description)
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"model_sha256": digest})
    with pytest.raises(InputError, match=r"analysis/gdn_0/bias is float32\[9\], expected .*\[8\]"):
        load_model(folder)


def test_equal_content_gives_equal_bytes_in_every_process(small_model, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from balle2017.model.tensors import load_tensors, save_tensors\n"
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
