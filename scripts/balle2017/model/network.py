"""The model of 2017: analysis transform, factorized prior, synthesis transform.

     pixels 0..255 [h, w, 3]                             pixels 0..255 [h, w, 3]
        |  to_blocks, centre                                ^  to_pixels, from_blocks
    [h/4, w/4, 48]                                      [h/4, w/4, 48]
        |                                                   |
      conv_0  9x9, stride 4                               conv_2  9x9, stride 4, transposed
      gdn_0   x / (beta + gamma |x|)                      igdn_1  x * (beta + gamma |x|)
    [h/4, w/4, filters]                                 [h/4, w/4, filters]
        |                                                   |
      conv_1  5x5, stride 2                               conv_1  5x5, stride 2, transposed
      gdn_1                                               igdn_0
    [h/8, w/8, filters]                                 [h/8, w/8, filters]
        |                                                   |
      conv_2  5x5, stride 2                               conv_0  5x5, stride 2, transposed
        |                                                   |
        v           training: + noise                       |
     latents ------ coding: rounded, range coder ------> latents
    [h/16, w/16, latents]    |                          [h/16, w/16, latents]
                             v
                          prior.bits, the rate

On the left the analysis transform, on the right the synthesis transform. They begin and end
at blocks of 4x4 pixels, so a 9x9 convolution with stride 4 is one without a stride there.
"""

import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from balle2017.model.convolution import (
    Down,
    FromLatents,
    PixelsDown,
    PixelsUp,
    ToLatents,
    Up,
)
from balle2017.model.gdn import GDN
from balle2017.model.initialization import initial_kernels
from balle2017.model.loss import mean_squared_error
from balle2017.model.pixels import centre, from_blocks, to_blocks, to_pixels
from balle2017.model.prior import FactorizedPrior

#: The analysis transform reduces each side by this factor.
STRIDE = 16

#: Called with the name and value of each intermediate tensor; returns the value.
Watch = Callable[[str, tf.Tensor], tf.Tensor]


def _unwatched(_: str, value: tf.Tensor) -> tf.Tensor:
    return value


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Return the latents' height and width for an image of any size."""
    return -(-height // STRIDE), -(-width // STRIDE)


def rounded(latents: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Return latents rounded to the nearest integer plus their channel's offset."""
    return tf.round(latents - offset) + offset


@tf.custom_gradient
def _straight_through(latents: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Return `rounded` latents, with the gradient of the identity."""
    return rounded(latents, offset), lambda gradient: (gradient, None)


class _Transform(tf.Module):
    """Layers in a row."""

    layers: list

    def __call__(self, value: tf.Tensor, watch: Watch = _unwatched) -> tf.Tensor:
        """Apply all layers; `watch` sees what each of them returns."""
        for layer in self.layers:
            value = watch(f"{self.name}/{layer.name}", layer(value))
        return value

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return all trained variables under stable, unique names."""
        named: dict[str, tf.Variable] = {}
        for layer in self.layers:
            prefix = f"{self.name}/{layer.name}"
            if isinstance(layer, GDN):
                named[f"{prefix}/bias"] = layer.bias
                named[f"{prefix}/beta"] = layer.beta.variable
                named[f"{prefix}/gamma"] = layer.gamma.variable
            else:
                named[f"{prefix}/kernel"] = layer.kernel.coefficients
            if isinstance(layer, PixelsUp):
                named[f"{prefix}/bias"] = layer.bias
        return named


class BalleEncoder(_Transform):
    """Analysis transform (paper, section 2): three convolutions, GDN between them.

    Maps centred pixels in [-1/2, 1/2) as `to_blocks` arranges them, float
    [n, height / 4, width / 4, 48], to float32 latents
    [n, height / 16, width / 16, num_latents].
    """

    def __init__(self, kernels: dict[str, np.ndarray], dtype: tf.DType, fused: bool):
        """Build the layers; the last one computes in float32 whatever the type.

        Args:
            kernels: float32 arrays, of which those named "analysis/conv_0" to 2 are used; shapes
                as `initial_kernels` has them.
            dtype: of the other layers' computation and results, and of that one's gradients.
            fused: compile elementwise passes of GDN.
        """
        super().__init__(name="analysis")
        first, second, third = (kernels[f"analysis/conv_{index}"] for index in range(3))
        self.layers = [
            PixelsDown("conv_0", first, dtype),
            GDN("gdn_0", first.shape[3], dtype, fused=fused),
            Down("conv_1", second, dtype),
            GDN("gdn_1", second.shape[3], dtype, fused=fused),
            # The latents are rounded to integers: bfloat16 would be too coarse.
            ToLatents("conv_2", third, dtype),
        ]


class BalleDecoder(_Transform):
    """Synthesis transform (paper, section 2): the analysis transform mirrored, with IGDN.

    Maps latents [n, h, w, num_latents] to blocks of centred pixels [n, 4 h, 4 w, 48].
    """

    def __init__(self, kernels: dict[str, np.ndarray], dtype: tf.DType, fused: bool):
        """Build the layers; the first one computes in float32 whatever the type.

        Args:
            kernels: float32 arrays, of which those named "synthesis/conv_0" to 2 are used; shapes
                as `initial_kernels` has them.
            dtype: of the other layers' computation and results, and of that one's gradients.
            fused: compile elementwise passes of IGDN.
        """
        super().__init__(name="synthesis")
        first, second, third = (kernels[f"synthesis/conv_{index}"] for index in range(3))
        self.layers = [
            FromLatents("conv_0", first, dtype),
            GDN("igdn_0", first.shape[2], dtype, inverse=True, fused=fused),
            Up("conv_1", second, dtype),
            GDN("igdn_1", second.shape[2], dtype, inverse=True, fused=fused),
            PixelsUp("conv_2", third, dtype),
        ]


class Balle2017FactorizedPrior(tf.Module):
    """The whole model: transforms and a fully factorized prior over the latents.

    Attributes:
        num_filters: channels inside the transforms.
        num_latents: channels of the latents; the paper's model has num_filters.
        analysis: `BalleEncoder`.
        synthesis: `BalleDecoder`.
        prior: `FactorizedPrior`, one density per channel, float32.
    """

    def __init__(
        self,
        num_filters: int,
        num_latents: int | None = None,
        policy: str = "float32",
        initialization: str = "random",
        latent_gain: float = 1.0,
        fused: bool = False,
    ):
        """Build all variables; seed TensorFlow before for a reproducible start.

        Args:
            num_filters: channels inside the transforms.
            num_latents: channels of the latents; none: num_filters.
            policy: Keras precision policy of the inner layers.
            initialization: see `initial_kernels`.
            latent_gain: see `initial_kernels`.
            fused: compile elementwise passes, which pays where shapes do not change.
        """
        super().__init__(name="balle2017")
        self.num_filters = num_filters
        self.num_latents = num_latents or num_filters
        kernels = initial_kernels(num_filters, self.num_latents, initialization, latent_gain)
        self._dtype = tf.as_dtype(tf.keras.mixed_precision.Policy(policy).compute_dtype)
        self._fused = fused
        self.analysis = BalleEncoder(kernels, self._dtype, fused)
        self.synthesis = BalleDecoder(kernels, self._dtype, fused)
        self.prior = FactorizedPrior(self.num_latents, fused)

    def analyze(self, pixels: tf.Tensor, watch: Watch = _unwatched) -> tf.Tensor:
        """Map pixels on 0..255, any type, [n, height, width, 3], to float32 latents.

        Sides that are not multiples of 16 are extended by repeating the last row
        and column.
        """
        for axis in (1, 2):
            if pixels.shape[axis] is None or pixels.shape[axis] % STRIDE:
                side = tf.shape(pixels)[axis]
                extended = tf.range(-(-side // STRIDE) * STRIDE)
                pixels = tf.gather(pixels, tf.minimum(extended, side - 1), axis=axis)
        return self.analysis(centre(to_blocks(pixels), self._dtype), watch)

    def synthesize(
        self,
        latents: tf.Tensor,
        height: int | tf.Tensor,
        width: int | tf.Tensor,
        watch: Watch = _unwatched,
    ) -> tf.Tensor:
        """Map latents to pixels, cropped to a height and width.

        Args:
            latents: float32 [n, h, w, num_latents].
            height: at most 16 h.
            width: at most 16 w.
            watch: sees every layer's output.

        Returns:
            Float32 [n, height, width, 3] on 0..255, neither rounded nor clipped.
        """
        pixels = from_blocks(to_pixels(self.synthesis(latents, watch)))
        return pixels[:, :height, :width, :]

    def __call__(
        self,
        pixels: tf.Tensor,
        noise: tf.Tensor,
        offset: tf.Tensor | None = None,
        watch: Watch = _unwatched,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the relaxed model of training: additive noise instead of rounding (section 3).

        Args:
            pixels: uint8 [n, height, width, 3], sides multiples of 16.
            noise: float32 in the latents' shape, uniform on [-1/2, 1/2).
            offset: float32 [num_latents], `prior.quantization_offset()`: the synthesis
                transform sees latents rounded with it, and the gradient ignores the rounding
                (Minnen & Singh, "Channel-wise autoregressive entropy models", 2020);
                none: it sees the noise, as the prior does.
            watch: sees every layer's output.

        Returns:
            Mean squared error on 0..255, float32 scalar, and bits float32 [n].
        """
        blocks = to_blocks(pixels)
        latents = self.analysis(centre(blocks, self._dtype), watch)
        noisy = latents + noise
        bits = watch("bits", self.prior.bits(noisy))
        seen = noisy if offset is None else _straight_through(latents, offset)
        # Blocks are compared with blocks, because nobody looks at these pixels.
        return mean_squared_error(blocks, self.synthesis(seen, watch), self._fused), bits

    def quantized(
        self, pixels: tf.Tensor, offset: tf.Tensor, watch: Watch = _unwatched
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the model of evaluation: rounding, and the rate of the rounded latents.

        Args:
            pixels: [n, height, width, 3] on 0..255.
            offset: `prior.quantization_offset()`, float32 [num_latents].
            watch: sees every layer's output.

        Returns:
            Float32 reconstruction on 0..255, not clipped, and bits float32 [n].
        """
        latents = rounded(self.analyze(pixels, watch), offset)
        shape = tf.shape(pixels)
        return self.synthesize(latents, shape[1], shape[2], watch), self.prior.bits(latents)

    def gdn_inputs(self) -> dict[str, GDN]:
        """Return every GDN under the name of the layer whose output it takes."""
        return {
            f"{transform.name}/{before.name}": layer
            for transform in (self.analysis, self.synthesis)
            for before, layer in itertools.pairwise(transform.layers)
            if isinstance(layer, GDN)
        }

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return all trained variables under stable, unique names."""
        prior = {f"prior/{name}": v for name, v in self.prior.named_variables().items()}
        return self.analysis.named_variables() | self.synthesis.named_variables() | prior
