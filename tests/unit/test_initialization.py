import numpy as np
import pytest
from balle2017.model import initialization
from balle2017.model.initialization import cosine_basis, initial_kernels, kernel_shapes, strongest
from balle2017.model.network import Balle2017FactorizedPrior
from helpers import make_picture


@pytest.mark.parametrize("size", [4, 8, 16])
def test_cosine_basis_is_orthonormal(size):
    basis = cosine_basis(size)
    np.testing.assert_allclose(basis @ basis.T, np.eye(size), atol=1e-12)


def test_the_strongest_coefficients_come_first():
    order = strongest(4, 100)
    assert len(order) == len(set(order)) == 48
    assert order[0] == (0, 0, 0)
    # A colour's mean before the luminance's highest frequency.
    assert order.index((1, 0, 0)) < order.index((0, 3, 3))
    assert order.index((0, 0, 1)) < order.index((0, 1, 1)) < order.index((0, 2, 2))


@pytest.mark.parametrize("initialization", ["random", "cosine"])
def test_shapes_follow_the_channels(tensorflow, initialization):
    kernels = initial_kernels(6, 10, initialization, 1.0)
    assert {name: kernel.shape for name, kernel in kernels.items()} == {
        "analysis/conv_0": (9, 9, 3, 6),
        "analysis/conv_1": (5, 5, 6, 6),
        "analysis/conv_2": (5, 5, 6, 10),
        "synthesis/conv_0": (5, 5, 6, 10),
        "synthesis/conv_1": (5, 5, 6, 6),
        "synthesis/conv_2": (9, 9, 3, 6),
    }
    assert all(kernel.dtype == np.float32 for kernel in kernels.values())


def test_random_kernels_have_their_scale(tensorflow):
    shapes = kernel_shapes(64, 96, latent_gain=3.0)
    for name, kernel in initial_kernels(64, 96, "random", 3.0).items():
        assert kernel.std() == pytest.approx(shapes[name].scale, rel=0.05), name


def linear_network(monkeypatch, num_filters, num_latents, gain=1.0):
    """A network with a pure cosine start and normalizations that do nothing."""
    monkeypatch.setattr(initialization, "_PERTURBATION", 0.0)
    network = Balle2017FactorizedPrior(
        num_filters, num_latents, initialization="cosine", latent_gain=gain
    )
    for name, variable in network.named_variables().items():
        if name.endswith("/gamma"):
            variable.assign(variable * 0)
    return network


def test_the_start_is_a_transform_and_its_inverse(tensorflow, monkeypatch):
    # With all 192 coefficients of an 8x8 block and all 768 of a 16x16 one nothing is lost.
    network = linear_network(monkeypatch, 192, 768, gain=5.0)
    pixels = make_picture(1, 48, 64)[None]
    latents = network.analyze(pixels)
    decoded = network.synthesize(latents, 48, 64)
    np.testing.assert_allclose(decoded, pixels, atol=0.01)
    # Orthonormal: the energy of the latents is that of the pixels.
    energy = np.sum(((pixels.astype(float) - 128) / 256) ** 2)
    assert np.sum(latents.numpy() ** 2) / 25 == pytest.approx(energy, rel=1e-4)


def test_few_channels_keep_the_low_frequencies(tensorflow, monkeypatch):
    network = linear_network(monkeypatch, 48, 128)
    grey = make_picture(1, 48, 64).mean(axis=-1, keepdims=True)
    pixels = np.repeat(grey, 3, axis=-1)[None].astype(np.float32)
    decoded = network.synthesize(network.analyze(pixels), 48, 64)
    error = np.mean((decoded - pixels.astype(float)) ** 2)
    assert error < 0.01 * pixels.astype(float).var()


def test_filters_are_not_alike(tensorflow):
    for name, kernel in initial_kernels(64, 64, "cosine", 1.0).items():
        flat = kernel.reshape(-1, 64)
        flat = flat / np.linalg.norm(flat, axis=0)
        np.fill_diagonal(product := flat.T @ flat, 0)
        assert np.abs(product).max() < 0.9, name
