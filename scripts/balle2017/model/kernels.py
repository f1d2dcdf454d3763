"""A convolution kernel trained in the Fourier domain, at the price of one matrix product.

Training the Fourier coefficients of a kernel instead of its samples helps Adam:
natural images have very unequal power over frequency, and the coefficients let
each frequency have its own step size. tfc's own "rdft" parameterization runs
FFTs in every step; here the same orthonormal change of basis is a constant
matrix.
"""

import functools

import numpy as np
import tensorflow as tf


@functools.cache
def fourier_basis(size: int) -> np.ndarray:
    """Return the real orthonormal Fourier basis of size x size kernels.

    Returns:
        float32 [size * size, size * size]; column j is basis function j, in row-major
        order of the kernel's samples. `size` must be odd.
    """
    if size % 2 == 0:
        raise ValueError(f"the basis is defined for odd sizes, not {size}")
    grid = np.arange(size)
    columns = [np.full((size, size), 1 / size)]
    for u in range(size):
        for v in range(size):
            # One of each conjugate pair of frequencies; (0, 0) stands above.
            if (u, v) <= ((-u) % size, (-v) % size) and (u, v) != (0, 0):
                angle = 2 * np.pi * (u * grid[:, None] + v * grid[None, :]) / size
                columns += [np.sqrt(2) / size * wave(angle) for wave in (np.cos, np.sin)]
    return np.stack([column.ravel() for column in columns], axis=1).astype(np.float32)


def block_rows(rows: np.ndarray, stride: int) -> np.ndarray:
    """Arrange a kernel's samples for a convolution of stride x stride blocks.

    A convolution with a stride equals one without, over an image whose blocks of
    stride x stride pixels have become channels. The kernel is extended with
    zeros at the top and the left to whole blocks.

    Args:
        rows: [size * size, n], a row for each sample of a size x size kernel.
        stride: side of a block.

    Returns:
        [blocks * blocks * stride * stride, n]: rows ordered by block row, block
        column, row in the block, column in the block.
    """
    size = round(len(rows) ** 0.5)
    blocks = -(-size // stride)
    extra = blocks * stride - size
    padded = np.pad(rows.reshape(size, size, -1), ((extra, 0), (extra, 0), (0, 0)))
    padded = padded.reshape(blocks, stride, blocks, stride, -1)
    return padded.transpose(0, 2, 1, 3, 4).reshape((blocks * stride) ** 2, -1)


class FourierKernel(tf.Module):
    """A trained kernel.

    Attributes:
        coefficients: Fourier coefficients, float32 [k * k, a * b].
    """

    def __init__(self, kernel: np.ndarray, stride: int = 1):
        """Start from a kernel, float32 [k, k, a, b], k odd.

        Args:
            kernel: samples at the start.
            stride: more than 1: return the kernel arranged as by `block_rows`.
        """
        super().__init__(name="kernel")
        size, _, *channels = kernel.shape
        basis = fourier_basis(size)
        self._channels = channels
        self._matrix = basis if stride == 1 else block_rows(basis, stride)
        self._size = round(len(self._matrix) ** 0.5) // stride
        initial = basis.T @ kernel.reshape(size * size, -1)
        self.coefficients = tf.Variable(initial, name="coefficients")

    def __call__(self) -> tf.Tensor:
        """Return the samples, float32 [k, k, a, b].

        With a stride: [blocks, blocks, stride * stride * a, b], where the samples
        of a block come before the channels a.
        """
        samples = tf.linalg.matmul(tf.constant(self._matrix), self.coefficients)
        return tf.reshape(samples, (self._size, self._size, -1, self._channels[1]))
