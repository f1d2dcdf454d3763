"""Looking for medians and tails of the prior: as tensorflow-compression does, but it ends."""

import json

import numpy as np
import pytest
from balle2017.errors import WorkError
from balle2017.files import read_json
from balle2017.model.check import prior_logits
from balle2017.model.tensors import load_tensors, save_tensors
from helpers import make_picture, run_script
from PIL import Image

# Of the unconstrained variable whose softplus is the factor.
STEEP = 3e4


def bowl(weights):
    """In the first channel z - tanh(z) has no slope at 0, and the median lies elsewhere."""
    for name in ("bias_0", "bias_1"):
        weights[name][0] = 0
    for name in ("factor_0", "factor_1"):
        weights[name][0] = -30
    weights["bias_2"][0] = 1


def fill(value, *names):
    def change(weights):
        for name in names or list(weights):
            weights[name][:] = value

    return change


# What never ended, or led to it.
NEVER_FOUND = {
    "flat at zero": bowl,
    "all large": fill(1e9),
    "far away": fill(1e6, "bias_2"),
    "beyond all numbers": fill(3e38, "bias_0", "bias_2"),
    "no slope": fill(-200, "matrix_0"),
    "infinite": fill(np.inf, "bias_1"),
}
FOUND = {
    "zero": fill(0),
    "tiny": fill(1e-30),
    "steep": fill(STEEP, "matrix_0"),
    "steep in all layers": fill(STEEP, "matrix_0", "matrix_1", "matrix_2"),
    "at a distance": fill(-3, "bias_2"),
}


@pytest.fixture
def prior(tensorflow):
    from balle2017.model.prior import FactorizedPrior

    tensorflow.keras.utils.set_random_seed(7)
    return FactorizedPrior(5)


def change(prior, function):
    variables = prior.named_variables()
    weights = {name: variable.numpy() for name, variable in variables.items()}
    function(weights)
    for name, value in weights.items():
        variables[name].assign(value)


def shake(weights):
    chance = np.random.default_rng(1)
    for value in weights.values():
        value += chance.normal(0, 0.7, value.shape).astype(np.float32)


def test_what_is_found_is_to_the_bit_what_tfc_finds(tensorflow):
    import tensorflow_compression as tfc
    from balle2017.model.check import TAIL_MASS
    from balle2017.model.prior import FactorizedPrior

    def change_ten_of_fifteen(weights):
        shake({name: value[5:10] for name, value in weights.items()})
        FOUND["at a distance"]({name: value[10:] for name, value in weights.items()})

    tensorflow.keras.utils.set_random_seed(7)
    prior = FactorizedPrior(15)
    change(prior, change_ten_of_fifteen)
    offset = tfc.quantization_offset(prior.distribution).numpy()
    np.testing.assert_array_equal(prior.quantization_offset(), offset)
    base = prior.distribution.base
    logit = np.log(np.float32(TAIL_MASS / 2 / (1 - TAIL_MASS / 2)))
    for found, expected in (
        (prior._find(float(logit)), base._lower_tail(TAIL_MASS)),
        (prior._find(-float(logit)), base._upper_tail(TAIL_MASS)),
    ):
        np.testing.assert_array_equal(found, expected.numpy())


@pytest.mark.parametrize("name", FOUND)
def test_odd_densities_are_found(prior, name):
    change(prior, FOUND[name])
    # Half of the mass is on either side of the medians.
    median = prior._find(0.0)
    weights = {name: variable.numpy() for name, variable in prior.named_variables().items()}
    lower, upper = prior_logits(weights, np.stack([median - 1e-3, median + 1e-3], 1)).T
    assert (lower <= 0).all()
    assert (upper >= 0).all()
    assert prior.coding_tables()["cdf"].size >= 4 * 5


@pytest.mark.parametrize("name", NEVER_FOUND)
def test_the_search_ends_where_there_is_nothing_to_find(prior, name):
    change(prior, NEVER_FOUND[name])
    with pytest.raises(WorkError, match="the prior is broken"):
        prior.coding_tables()


def test_weights_that_are_nan_are_left_to_the_loss(prior):
    change(prior, fill(np.nan, "bias_0"))
    assert not prior.quantization_offset().any()


@pytest.mark.parametrize("quantization", ["noise", "mixed"])
def test_training_from_such_a_model_is_refused(small_model, tmp_path, quantization):
    arrays, description, _ = load_tensors(small_model / "model.safetensors")
    weights = {name: value.copy() for name, value in arrays.items() if name.startswith("prior/")}
    bowl({name.removeprefix("prior/"): value for name, value in weights.items()})
    model = tmp_path / "hostile"
    digest = save_tensors(model / "model.safetensors", arrays | weights, description)
    config = read_json(small_model / "config.json") | {"model_sha256": digest}
    (model / "config.json").write_text(json.dumps(config))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for seed in range(4):
        Image.fromarray(make_picture(seed)).save(pictures / f"{seed}.png")
    done = run_script(
        *("train", "--data_dir", pictures, "--save_dir", tmp_path / "out", "--init_from", model),
        *("--patch_size", 32, "--batch_size", 1, "--num_filters", 8, "--threads", 1),
        *("--epochs", 1, "--steps_per_epoch", 2, "--val_split", 0.5),
        *("--quantization", quantization),
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"error: init_from is {model}: the prior is broken: the median or a tail of a" in line
    assert not (tmp_path / "out" / "model").exists()
