"""Weights as a model's file holds them."""

import numpy as np
import pytest
from balle2017.model.packing import BITS, pack_weights, rounded_weights, unpack_weights

FILTERS, LATENTS = 3, 5


def kernel(seed=1):
    """Coefficients whose magnitude differs from channel to channel."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(25, FILTERS, LATENTS)) * 10.0 ** np.arange(-3, 2)
    return values.astype(np.float32).reshape(25, -1)


def test_large_kernels_keep_ten_bits_of_each_channels_largest():
    name = "analysis/conv_2/kernel"
    value = kernel()
    value[4, ::LATENTS] = 0
    arrays = pack_weights({name: value}, FILTERS)
    assert sorted(arrays) == [f"{name}:numbers", f"{name}:scale"]
    assert arrays[f"{name}:numbers"].nbytes == -(-value.size * BITS // 8)
    back = unpack_weights(arrays, FILTERS)[name]
    assert back.dtype == np.float32
    error, shaped = (x.reshape(25, FILTERS, LATENTS) for x in (np.abs(back - value), value))
    bound = np.abs(shaped).max(1, keepdims=True) / (2**BITS - 2)
    assert (error <= 1.001 * bound).all()
    assert error.max() > 0
    # What was packed is packed without loss again.
    np.testing.assert_allclose(rounded_weights({name: back}, FILTERS)[name], back, rtol=1e-6)


def test_other_weights_are_in_half_precision_where_it_can_hold_them():
    small, large = np.float32([1 + 2**-12, 3]), np.float32([70000, 1])
    weights = {"analysis/gdn_0/beta": small, "analysis/gdn_0/gamma": large, "prior/bias_0": small}
    arrays = pack_weights(weights, FILTERS)
    assert {name: array.dtype for name, array in arrays.items()} == {
        "analysis/gdn_0/beta": np.float16,
        "analysis/gdn_0/gamma": np.float32,
        "prior/bias_0": np.float32,
    }
    back = unpack_weights(arrays, FILTERS)
    assert back["analysis/gdn_0/beta"].tolist() == [1, 3]
    assert back["prior/bias_0"].tolist() == small.tolist()


def test_what_does_not_fit_is_refused():
    arrays = pack_weights({"synthesis/conv_1/kernel": kernel()}, FILTERS)
    numbers, scale = "synthesis/conv_1/kernel:numbers", "synthesis/conv_1/kernel:scale"
    with pytest.raises(ValueError, match="bytes do not hold 375 numbers of 10 bits"):
        unpack_weights(arrays | {numbers: arrays[numbers][:-1]}, FILTERS)
    with pytest.raises(ValueError, match="has numbers and no scale"):
        unpack_weights({numbers: arrays[numbers], "x": arrays[scale]}, FILTERS)
