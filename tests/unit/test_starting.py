"""Training that starts from a model of another lambda, or with more latents."""

import numpy as np
import pytest
from balle2017.errors import InputError
from balle2017.files import write_json
from balle2017.model.check import FORMAT
from balle2017.model.files import load_model, save_model
from balle2017.model.find import find_model, nearest_model
from balle2017.model.network import Balle2017FactorizedPrior
from balle2017.training.start import latent_bits, starting_weights


@pytest.fixture(scope="module")
def model(tensorflow, tmp_path_factory):
    """A model whose latents cost unequally much."""
    network = Balle2017FactorizedPrior(8, latent_gain=20)
    matrix = network.prior.named_variables()["matrix_0"]
    order = np.random.default_rng(1).permutation(8).astype(np.float32)
    matrix.assign(matrix + 0.3 * order[:, None, None])
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, network, lambda_rd=0.01, seed=1)
    return load_model(folder)


def started(model, lambda_rd, num_latents):
    """A network with the starting weights."""
    filters = model.network.num_filters
    network = Balle2017FactorizedPrior(filters, num_latents)
    weights = starting_weights(model, lambda_rd, filters, num_latents)
    for name, variable in network.named_variables().items():
        variable.assign(weights[name])
    return network


def test_a_prior_that_ignores_its_latents_is_refused(model):
    """Its slope has no logarithm, and the training would end with NaN."""
    matrix = model.network.prior.named_variables()["matrix_0"]
    before = matrix.numpy()
    matrix.assign(np.full_like(before, -1000))
    try:
        with pytest.raises(InputError, match="its prior does not depend on the latents"):
            starting_weights(model, 0.02, model.network.num_filters, model.network.num_latents)
    finally:
        matrix.assign(before)


def pixels():
    return np.random.default_rng(2).integers(0, 256, (1, 32, 48, 3), np.uint8)


def test_the_same_lambda_and_latents_change_nothing(model):
    filters, latents = model.network.num_filters, model.network.num_latents
    weights = starting_weights(model, model.config["lambda_rd"], filters, latents)
    for name, variable in model.network.named_variables().items():
        np.testing.assert_array_equal(weights[name], variable.numpy(), err_msg=name)


def test_another_lambda_scales_the_latents_and_what_reads_them(model):
    other = started(model, 4 * model.config["lambda_rd"], model.network.num_latents)
    latents = model.network.analyze(pixels()).numpy()
    np.testing.assert_allclose(other.analyze(pixels()), 2 * latents, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        other.synthesize(2 * latents, 32, 48),
        model.network.synthesize(latents, 32, 48),
        rtol=1e-4,
        atol=1e-3,
    )
    # The densities before noise widen by the same factor.
    values = np.linspace(-20, 20, 41, dtype=np.float32)[:, None]
    np.testing.assert_allclose(
        other.prior.distribution.base.cdf(2 * values),
        model.network.prior.distribution.base.cdf(values),
        rtol=1e-4,
    )


def test_the_latents_that_cost_most_are_kept(model):
    bits = latent_bits(model.tables["cdf"])
    count = model.network.num_latents - 2
    kept = np.sort(np.argsort(bits)[2:])
    fewer = started(model, model.config["lambda_rd"], count)
    latents = model.network.analyze(pixels()).numpy()
    np.testing.assert_allclose(fewer.analyze(pixels()), latents[..., kept], rtol=1e-4, atol=1e-5)
    alone = np.zeros_like(latents)
    alone[..., kept] = latents[..., kept]
    np.testing.assert_allclose(
        fewer.synthesize(latents[..., kept], 32, 48),
        model.network.synthesize(alone, 32, 48),
        rtol=1e-4,
        atol=1e-3,
    )


def test_bits_of_a_latent_are_the_entropy_of_its_density(model):
    prior = model.network.prior
    grid = np.arange(-3000, 3001, dtype=np.float32)[:, None] + prior.quantization_offset()
    shares = prior.distribution.prob(grid).numpy().astype(np.float64)
    entropy = -(shares * np.log2(np.maximum(shares, 1e-30))).sum(0)
    # The tables have 16 bits, and one symbol for all that is rare.
    np.testing.assert_allclose(latent_bits(model.tables["cdf"]), entropy, rtol=0.02)


@pytest.mark.parametrize(("filters", "more"), [(1, 0), (0, 1)])
def test_what_the_model_lacks_is_refused(model, filters, more):
    network = model.network
    with pytest.raises(InputError, match=r"the model has \d+ filters and \d+ latents"):
        starting_weights(model, 0.01, network.num_filters + filters, network.num_latents + more)


def test_the_model_of_the_nearest_lambda_is_found(tmp_path):
    models = (("a", 0.001, 8, 8), ("b/model", 0.01, 8, 24), ("c", 0.003, 16, 16))
    for name, lambda_rd, filters, latents in models:
        config = {"format": FORMAT, "seed": 1, "model_sha256": "0" * 64, "lambda_rd": lambda_rd}
        config |= {"num_filters": filters, "num_latents": latents}
        write_json(tmp_path / name / "config.json", config)
    assert nearest_model(tmp_path, 0.0035, 8, None) == tmp_path / "b" / "model"
    assert nearest_model(tmp_path, 0.003, 8, 8) == tmp_path / "a"
    assert nearest_model(tmp_path, 0.003, 8, 9) == tmp_path / "b" / "model"
    assert nearest_model(tmp_path, 1, 16, None) == tmp_path / "c"
    # A folder that is a model is that model, whatever its lambda.
    assert nearest_model(tmp_path / "b", 5, 8, None) == tmp_path / "b" / "model"
    with pytest.raises(InputError, match=r"no model of 4 filters; its .* 8/8, 8/24, 16/16; ask"):
        nearest_model(tmp_path, 0.01, 4, None)
    with pytest.raises(InputError, match="of 8 filters and 32 latents; its"):
        nearest_model(tmp_path, 0.01, 8, 32)
    with pytest.raises(InputError, match=r"d does not exist; .* has a, b, c$"):
        nearest_model(tmp_path / "d", 0.01, 8, None)
    with pytest.raises(InputError, match="does not exist; a model is a folder with"):
        find_model(tmp_path / "none" / "d")
    with pytest.raises(InputError, match=r"give one of the folders in it: a, b, c\)"):
        find_model(tmp_path)
