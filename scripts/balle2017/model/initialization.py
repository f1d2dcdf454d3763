"""What the six convolutions start from: random kernels, or a block cosine transform.

A network that starts at random spends its first thousands of steps finding out
what every image coder knows: that neighbouring pixels and colours are alike.
Started as an orthonormal cosine transform of 16x16 blocks, of which it keeps the
low frequencies, and its inverse, it is a codec from the first step and learns the
rest: overlap, nonlinearity, and which frequencies pay.
"""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

# Orthonormal colour axes, luminance first.
_COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])
# Expected power of a colour difference relative to luminance, at equal frequency.
_COLOUR_POWER = 0.03
# How much of a random kernel is added to a cosine one, so that filters do not learn the same.
_PERTURBATION = 0.03


@dataclass(frozen=True)
class KernelShape:
    """What decides the scale of a random kernel.

    Attributes:
        support: side of the kernel.
        inputs: channels.
        outputs: channels.
        gain: factor on the scale that keeps the variance.
        transposed: the kernel is stored with outputs before inputs.
    """

    support: int
    inputs: int
    outputs: int
    gain: float = 1.0
    transposed: bool = False

    @property
    def scale(self) -> float:
        """Standard deviation of the kernel at a random start: variance scaling by fan-in."""
        return self.gain / math.sqrt(self.support**2 * self.inputs)

    def draw(self) -> np.ndarray:
        """Draw a kernel from TensorFlow's seed, a truncated normal, float32."""
        stddev = self.scale / 0.8796  # what truncation leaves of it
        initializer = tf.keras.initializers.TruncatedNormal(stddev=stddev)
        kernel = initializer((self.support, self.support, self.inputs, self.outputs)).numpy()
        return kernel.transpose(0, 1, 3, 2) if self.transposed else kernel


def kernel_shapes(num_filters: int, num_latents: int, latent_gain: float) -> dict[str, KernelShape]:
    """Return the shapes of the six kernels, by layer; see `initial_kernels`."""
    n, m, gain = num_filters, num_latents, latent_gain
    # Each output of a transposed convolution sees a 4th or a 16th of the kernel:
    # 2 or 4 times the gain keeps the scale.
    return {
        "analysis/conv_0": KernelShape(9, 3, n),
        "analysis/conv_1": KernelShape(5, n, n),
        "analysis/conv_2": KernelShape(5, n, m, gain),
        "synthesis/conv_0": KernelShape(5, m, n, 2 / gain, transposed=True),
        "synthesis/conv_1": KernelShape(5, n, n, 2, transposed=True),
        "synthesis/conv_2": KernelShape(9, n, 3, 4, transposed=True),
    }


def cosine_basis(size: int) -> np.ndarray:
    """Return the orthonormal cosine transform, float64 [frequency, sample]."""
    frequency, sample = np.arange(size)[:, None], np.arange(size)[None]
    basis = np.sqrt(2 / size) * np.cos(np.pi * (2 * sample + 1) * frequency / (2 * size))
    basis[0] /= np.sqrt(2)
    return basis


def strongest(size: int, count: int) -> list[tuple[int, int, int]]:
    """Return the `count` coefficients of a colour block with the most expected power.

    Natural images have power falling with the square of the frequency.

    Returns:
        (colour, vertical frequency, horizontal frequency), the strongest first; fewer
        than `count` if the block has fewer.
    """
    colour, vertical, horizontal = np.indices((3, size, size))
    power = np.where(colour == 0, 1, _COLOUR_POWER) / (vertical**2 + horizontal**2 + 0.25)
    order = np.argsort(-power, axis=None, kind="stable")[:count]
    return list(
        zip(*(axis.ravel()[order].tolist() for axis in (colour, vertical, horizontal)), strict=True)
    )


def _first(count: int) -> np.ndarray:
    """Return the kernel that transforms 4x4 pixels, [9, 9, 3, count]."""
    basis = cosine_basis(4)
    kernel = np.zeros((9, 9, 3, count))
    for channel, (colour, u, v) in enumerate(strongest(4, count)):
        # Samples 1 to 4 are the block's pixels, see convolution.py.
        block = np.multiply.outer(np.outer(basis[u], basis[v]), _COLOURS[colour])
        kernel[1:5, 1:5, :, channel] = block
    return kernel


def _merge(size: int, inputs: int, outputs: int) -> np.ndarray:
    """Return the kernel from 2x2 transformed blocks to one twice as large.

    [5, 5, inputs, outputs], for blocks of `size` x `size` coefficients.
    """
    small = cosine_basis(size)
    large = cosine_basis(2 * size).reshape(2 * size, 2, size)
    product = np.einsum("Uby,uy->Ubu", large, small)
    kernel = np.zeros((5, 5, inputs, outputs))
    for i, (colour, u, v) in enumerate(strongest(size, inputs)):
        for j, (other, big_u, big_v) in enumerate(strongest(2 * size, outputs)):
            if colour == other:
                # Samples 1 and 2 are the two blocks, see convolution.py.
                kernel[1:3, 1:3, i, j] = np.outer(product[big_u, :, u], product[big_v, :, v])
    return kernel


def initial_kernels(
    num_filters: int, num_latents: int, initialization: str, latent_gain: float
) -> dict[str, np.ndarray]:
    """Return the kernels at the start of training, by layer.

    Args:
        num_filters: channels inside the transforms.
        num_latents: channels of the latents.
        initialization: "random" or "cosine".
        latent_gain: factor on the latents; the synthesis starts with its inverse.

    Returns:
        Float32 [k, k, inputs, outputs] for "analysis/conv_0" to 2, and
        [k, k, outputs, inputs] for "synthesis/conv_0" to 2, as transposed
        convolutions have it.
    """
    shapes = kernel_shapes(num_filters, num_latents, latent_gain)
    chance = {name: shape.draw() for name, shape in shapes.items()}
    if initialization == "random":
        return chance
    n, m, gain = num_filters, num_latents, latent_gain
    first, second, third = _first(n), _merge(4, n, n), _merge(8, n, m)
    cosine = {
        "analysis/conv_0": first,
        "analysis/conv_1": second,
        "analysis/conv_2": third * gain,
        "synthesis/conv_0": third / gain,
        "synthesis/conv_1": second,
        "synthesis/conv_2": first,
    }
    kernels = {}
    for name, kernel in cosine.items():
        # Channels without a coefficient of their own start at random: they show the layers
        # behind something new.
        idle = ~kernel.any((0, 1, 2)) if name == "analysis/conv_0" else 0
        share = np.maximum(_PERTURBATION, idle)
        kernels[name] = (kernel + share * chance[name]).astype(np.float32)
    return kernels
