"""The model's convolutions, in the forms that TensorFlow computes fastest on a CPU.

They are the layers `tfc.SignalConv2D` (padding "same_zeros") applied to the
image turned by 180 degrees: there the kernel's centre falls where TensorFlow's
own "SAME" padding puts it, so that neither padding nor cropping costs a pass over
memory. The two stride-4 layers at the pixels run without a stride, over blocks of
4x4 pixels taken as channels: three channels are too few for a fast kernel.

Their kernels are trained in the Fourier domain, which helps Adam: natural images have
very unequal power over frequency, and the coefficients let each frequency have its own
step size. tfc's own "rdft" parameterization runs FFTs in every step; here the same
orthonormal change of basis is a constant matrix.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from balle2017.model.pixels import BLOCK


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


def _down(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return tf.nn.conv2d(x, kernel, 2, "SAME")


def _up(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    shape = tf.shape(x)
    output = (shape[0], shape[1] * 2, shape[2] * 2, kernel.shape[2])
    return tf.nn.conv2d_transpose(x, kernel, output, 2, "SAME")


def _down_gradient(x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    dx = tf.nn.conv2d_transpose(dy, kernel, tf.shape(x), 2, "SAME")
    return dx, tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=kernel.shape, out_backprop=dy, strides=[1, 2, 2, 1], padding="SAME"
    )


def _up_gradient(x: tf.Tensor, kernel: tf.Tensor, dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.nn.conv2d(dy, kernel, 2, "SAME"), tf.raw_ops.Conv2DBackpropFilter(
        input=dy, filter_sizes=kernel.shape, out_backprop=x, strides=[1, 2, 2, 1], padding="SAME"
    )


def _precise(convolve: Callable, gradient: Callable, dtype: tf.DType) -> Callable:
    """Return `convolve` in float32 with its gradients computed in a shorter type.

    What is rounded to integers, and what is read from it, needs the precision of
    float32; the direction of a step does not.
    """

    @tf.custom_gradient
    def apply(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def grad(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx, dkernel = gradient(*(tf.cast(value, dtype) for value in (x, kernel, dy)))
            return tf.cast(dx, tf.float32), tf.cast(dkernel, tf.float32)

        return convolve(x, kernel), grad

    return apply


class Convolution(tf.Module):
    """A trained kernel, and the type it is applied in.

    There is no bias: GDN adds it.

    Attributes:
        kernel: `FourierKernel`.
        dtype: type of computation and result.
    """

    #: BLOCK for the layers at the pixels.
    stride = 1

    def __init__(self, name: str, kernel: np.ndarray, dtype: tf.DType):
        """Start from a kernel, float32.

        Args:
            name: of the layer.
            kernel: [k, k, inputs, outputs], or [k, k, outputs, inputs] if transposed.
            dtype: type of computation and result.
        """
        super().__init__(name=name)
        self.kernel = FourierKernel(kernel, self.stride)
        self.dtype = tf.as_dtype(dtype)


class PixelsDown(Convolution):
    """9x9 convolution with stride 4 of pixels in blocks: [n, h, w, 48] to [n, h, w, outputs]."""

    stride = BLOCK

    def __call__(self, blocks: tf.Tensor) -> tf.Tensor:
        """Convolve what `pixels.to_blocks` returns."""
        return tf.nn.conv2d(
            tf.cast(blocks, self.dtype), tf.cast(self.kernel(), self.dtype), 1, "SAME"
        )


class PixelsUp(Convolution):
    """9x9 transposed convolution with stride 4: [n, h, w, inputs] to blocks [n, h, w, 48].

    Attributes:
        bias: variable, float32 [3].
    """

    stride = BLOCK

    def __init__(self, name: str, kernel: np.ndarray, dtype: tf.DType):
        """See `Convolution`."""
        super().__init__(name, kernel, dtype)
        self.bias = tf.Variable(tf.zeros(3), name="bias")

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve and add the bias; `pixels.from_blocks` makes pixels of it."""
        # A transposed convolution gathers with the kernel turned over.
        kernel = tf.transpose(tf.reverse(self.kernel(), (0, 1)), (0, 1, 3, 2))
        blocks = tf.nn.conv2d(tf.cast(x, self.dtype), tf.cast(kernel, self.dtype), 1, "SAME")
        # A gradient over 16 times 3 channels is ten times as fast as one over 3.
        bias = tf.tile(tf.cast(self.bias, self.dtype), [BLOCK**2])
        return tf.nn.bias_add(blocks, bias)


class Down(Convolution):
    """5x5 convolution with stride 2: [n, h, w, inputs] to [n, h / 2, w / 2, outputs]."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve; h and w must be multiples of 2."""
        return _down(tf.cast(x, self.dtype), tf.cast(self.kernel(), self.dtype))


class Up(Convolution):
    """5x5 transposed convolution with stride 2: [n, h, w, inputs] to [n, 2 h, 2 w, outputs]."""

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve."""
        return _up(tf.cast(x, self.dtype), tf.cast(self.kernel(), self.dtype))


class ToLatents(Convolution):
    """`Down` in float32, with gradients computed in another type."""

    def __init__(self, name: str, kernel: np.ndarray, gradient_dtype: tf.DType):
        """See `Convolution`."""
        super().__init__(name, kernel, tf.float32)
        self._convolve = _precise(_down, _down_gradient, tf.as_dtype(gradient_dtype))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve; h and w must be multiples of 2."""
        return self._convolve(tf.cast(x, tf.float32), self.kernel())


class FromLatents(Convolution):
    """`Up` in float32, with gradients computed in another type."""

    def __init__(self, name: str, kernel: np.ndarray, gradient_dtype: tf.DType):
        """See `Convolution`."""
        super().__init__(name, kernel, tf.float32)
        self._convolve = _precise(_up, _up_gradient, tf.as_dtype(gradient_dtype))

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Convolve."""
        return self._convolve(x, self.kernel())
