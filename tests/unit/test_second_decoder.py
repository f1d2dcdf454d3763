"""A decoder written from docs/b17.md reads what the codec writes: version 1, and the pixels."""

import numpy as np
import pytest
from balle2017.coding.bitstream import STATIC, Bitstream
from balle2017.coding.codec import Codec
from balle2017.coding.static import StaticCoder
from balle2017.model.tensors import load_tensors
from helpers import make_picture
from second_decoder import decode_static, synthesize

# TensorFlow is set up before anything uses it.
pytestmark = pytest.mark.usefixtures("tensorflow")


@pytest.fixture(scope="module")
def codec(small_model):
    return Codec(small_model)


@pytest.fixture(scope="module")
def arrays(codec):
    return load_tensors(codec.model.folder / "model.safetensors")[0]


def test_a_file_of_version_1_decodes_to_the_same_integers_and_pixels(codec, arrays):
    pixels = make_picture(5, 70, 101)
    data, latents = codec.encode(pixels)
    stream = Bitstream.from_bytes(data)
    assert stream.version == STATIC
    integers = decode_static(arrays, stream.payload, *stream.latent_shape[:2])
    np.testing.assert_array_equal(integers, latents)
    assert len(np.unique(integers)) > 3
    decoded = codec.decompress(data)
    second = synthesize(arrays, integers, stream.height, stream.width)
    # In float64: a value that lies close to a half may be rounded the other way.
    assert np.abs(decoded.astype(int) - second).max() <= 1
    assert (decoded != second).mean() < 1e-3
    assert decoded.std() > 5


def test_escape_codes_decode_to_the_same_integers(arrays):
    cdf, offsets = arrays["coding/cdf"], arrays["coding/cdf_offset"]
    integers = np.random.default_rng(1).integers(-40, 40, (5, 6, len(offsets)))
    ends = offsets + np.diff(np.append(np.flatnonzero(cdf == -16), len(cdf))) - 3
    # The last value of each table, the first beyond it on both sides, and the largest.
    integers[0, :4] = ends - 1, ends, offsets, offsets - 1
    integers[1, :2] = [[2**14], [-(2**14)]]
    payload = StaticCoder(cdf, offsets).encode(integers.astype(np.int16))
    np.testing.assert_array_equal(decode_static(arrays, payload, 5, 6), integers)
