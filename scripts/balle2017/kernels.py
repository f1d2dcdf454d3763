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
import tensorflow_compression as tfc


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


class FourierKernel(tfc.Parameter):
    """Kernel parameter for `tfc.SignalConv2D`: Fourier coefficients, float32.

    Attributes:
        coefficients: variable [k * k, input channels * filters].
    """

    def __init__(self, kernel: np.ndarray, name: str = "kernel"):
        """Start from a kernel, float32 [k, k, input channels, filters], k odd."""
        super().__init__(name=name)
        self._shape = kernel.shape
        self._basis = fourier_basis(kernel.shape[0])
        initial = self._basis.T @ np.reshape(kernel, (kernel.shape[0] ** 2, -1))
        self.coefficients = tf.Variable(initial, name=f"{name}_coefficients")

    def __call__(self, compute_dtype: tf.DType | None = None) -> tf.Tensor:
        """Return the kernel [k, k, input channels, filters] in `compute_dtype`."""
        kernel = tf.linalg.matmul(tf.constant(self._basis), self.coefficients)
        kernel = tf.reshape(kernel, self._shape)
        return kernel if compute_dtype is None else tf.cast(kernel, compute_dtype)

    def get_config(self) -> dict:
        """Return what the base class asks for."""
        return super().get_config()
