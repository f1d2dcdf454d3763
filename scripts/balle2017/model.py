"""The model of 2017: analysis transform, factorized prior, synthesis transform."""

import functools
import math

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.kernels import FourierKernel

#: The analysis transform reduces each side by this factor.
STRIDE = 16

# Pixels 0..255 enter the transforms as (pixel - 128) / 256: centred, so that
# training does not begin with learning the mean, and exact in bfloat16 too.
_PIXEL_CENTRE, _PIXEL_RANGE = 128.0, 256.0


def latent_shape(height: int, width: int) -> tuple[int, int]:
    """Return the latents' height and width for a picture of any size."""
    for stride in (4, 2, 2):
        height, width = -(-height // stride), -(-width // stride)
    return height, width


def _convolution(
    name: str,
    support: int,
    channels: tuple[int, int],
    policy: str,
    gain: float = 1.0,
    down: int = 1,
    up: int = 1,
    gdn: tfc.GDN | None = None,
    use_bias: bool = True,
) -> tfc.SignalConv2D:
    """Build one convolution; `channels` are those of its input and output."""
    # As variance_scaling: a truncated normal with variance 1 / fan_in.
    fan_in = support**2 * channels[0]
    initializer = tf.keras.initializers.TruncatedNormal(stddev=gain / math.sqrt(fan_in) / 0.8796)
    kernel = initializer((support, support, *channels)).numpy()
    return tfc.SignalConv2D(
        channels[1],
        (support, support),
        name=name,
        corr=up == 1,
        strides_down=down,
        strides_up=up,
        padding="same_zeros",
        use_bias=use_bias,
        activation=gdn,
        # Convolutions with explicit padding have no fast CPU kernel in TensorFlow.
        use_explicit=False,
        kernel_parameter=FourierKernel(kernel),
        dtype=tf.keras.mixed_precision.Policy(policy),
    )


def _gdn(name: str, policy: str, inverse: bool = False) -> tfc.GDN:
    return tfc.GDN(name=name, inverse=inverse, dtype=tf.keras.mixed_precision.Policy(policy))


class BalleEncoder(tf.keras.Sequential):
    """Analysis transform (paper, section 3): three convolutions, GDN between them.

    Maps centred pixels, float [n, height, width, 3] in [-1/2, 1/2), to float32
    latents [n, ceil(height / 16), ceil(width / 16), num_filters].
    """

    def __init__(self, num_filters: int, policy: str = "float32", latent_gain: float = 1.0):
        """Build the layers; the last one computes in float32 whatever the policy."""
        n = num_filters
        super().__init__(
            [
                _convolution("conv_0", 9, (3, n), policy, down=4, gdn=_gdn("gdn_0", policy)),
                _convolution("conv_1", 5, (n, n), policy, down=2, gdn=_gdn("gdn_1", policy)),
                # The latents are rounded to integers: bfloat16 would be too coarse.
                _convolution(
                    "conv_2", 5, (n, n), "float32", gain=latent_gain, down=2, use_bias=False
                ),
            ],
            name="analysis",
        )
        self.build((None, None, None, 3))


class BalleDecoder(tf.keras.Sequential):
    """Synthesis transform (paper, section 3): the analysis transform mirrored, with IGDN.

    Maps latents [n, h, w, num_filters] to centred pixels [n, 16 * h, 16 * w, 3].
    """

    def __init__(self, num_filters: int, policy: str = "float32", latent_gain: float = 1.0):
        """Build the layers; the first one computes in float32 whatever the policy."""
        n = num_filters
        igdn_0, igdn_1 = _gdn("igdn_0", policy, True), _gdn("igdn_1", policy, True)
        super().__init__(
            [
                _convolution(
                    "conv_0", 5, (n, n), "float32", gain=2 / latent_gain, up=2, gdn=igdn_0
                ),
                _convolution("conv_1", 5, (n, n), policy, gain=2, up=2, gdn=igdn_1),
                _convolution("conv_2", 9, (n, 3), policy, gain=4, up=4),
            ],
            name="synthesis",
        )
        self.build((None, None, None, n))


class Balle2017FactorizedPrior(tf.keras.Model):
    """The whole model: transforms and a fully factorized prior over the latents.

    Attributes:
        analysis: `BalleEncoder`.
        synthesis: `BalleDecoder`.
        prior: `tfc.NoisyDeepFactorized`, one density per channel, float32.
    """

    def __init__(self, num_filters: int, policy: str = "float32", latent_gain: float = 1.0):
        """Build all variables; seed TensorFlow before for a reproducible start.

        Args:
            num_filters: channels of the transforms and the latents.
            policy: Keras precision policy of the inner layers.
            latent_gain: factor on the latents' scale at the start; the first
                synthesis layer starts with its inverse.
        """
        super().__init__(name="balle2017")
        self.num_filters = num_filters
        self.analysis = BalleEncoder(num_filters, policy, latent_gain)
        self.synthesis = BalleDecoder(num_filters, policy, latent_gain)
        self.prior = tfc.NoisyDeepFactorized(batch_shape=(num_filters,))

    def analyze(self, pixels: tf.Tensor) -> tf.Tensor:
        """Map float32 or uint8 pixels on 0..255, [n, h, w, 3], to float32 latents."""
        centred = (tf.cast(pixels, tf.float32) - _PIXEL_CENTRE) / _PIXEL_RANGE
        return tf.cast(self.analysis(centred), tf.float32)

    def synthesize(self, latents: tf.Tensor, height: int, width: int) -> tf.Tensor:
        """Map latents to float32 pixels on 0..255, cropped to [n, height, width, 3]."""
        centred = tf.cast(self.synthesis(latents), tf.float32)
        pixels = centred * _PIXEL_RANGE + _PIXEL_CENTRE
        return pixels[:, :height, :width, :]

    def bits(self, log_probs: tf.Tensor) -> tf.Tensor:
        """Sum natural log probabilities [n, h, w, c] to bits [n]."""
        return tf.reduce_sum(log_probs, axis=(1, 2, 3)) / -math.log(2)

    def call(self, pixels: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the relaxed model of training: additive noise instead of rounding (section 3.1).

        Args:
            pixels: [n, height, width, 3] on 0..255, sides multiples of 16.
            noise: float32 in the latents' shape, uniform on [-1/2, 1/2).

        Returns:
            Float32 reconstruction on 0..255, not clipped, and bits float32 [n].
        """
        latents = self.analyze(pixels)
        log_probs, noisy = tfc.perturb_and_apply(
            self.prior.log_prob, latents, u=noise, expected_grads=False
        )
        shape = tf.shape(pixels)
        return self.synthesize(noisy, shape[1], shape[2]), self.bits(log_probs)

    def quantized(self, pixels: tf.Tensor, offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the model of evaluation: rounding, and the rate of the rounded latents.

        Args:
            pixels: [n, height, width, 3] on 0..255.
            offset: `quantization_offset()`, float32 [num_filters].

        Returns:
            As `call`.
        """
        latents = tf.round(self.analyze(pixels) - offset) + offset
        shape = tf.shape(pixels)
        bits = self.bits(self.prior.log_prob(latents))
        return self.synthesize(latents, shape[1], shape[2]), bits

    def coding_tables(self, range_coder_precision: int = 16) -> dict[str, np.ndarray]:
        """Build the range coder's tables from the present prior.

        They must be stored with the weights and never rebuilt: small numerical
        differences between machines would ruin every stream.

        Returns:
            Arguments of `tfc.ContinuousBatchedEntropyModel`: cdf int32, cdf_offset
            int32, quantization_offset float32 [num_filters].
        """

        @tf.function  # ten times faster than building them eagerly
        def build() -> dict[str, tf.Tensor]:
            model = tfc.ContinuousBatchedEntropyModel(
                self.prior,
                coding_rank=3,
                compression=True,
                stateless=True,
                range_coder_precision=range_coder_precision,
                bottleneck_dtype=tf.float32,
            )
            return {
                "cdf": model.cdf,
                "cdf_offset": model.cdf_offset,
                "quantization_offset": model.quantization_offset,
            }

        return {name: value.numpy() for name, value in build().items()}

    @functools.cached_property
    def _offset(self) -> tf.types.experimental.GenericFunction:
        return tf.function(
            lambda: tf.broadcast_to(tfc.quantization_offset(self.prior), [self.num_filters])
        )

    def quantization_offset(self) -> np.ndarray:
        """Return where each channel's rounding grid lies, float32 [num_filters].

        The median of each density, as tfc chooses it.
        """
        return self._offset().numpy()

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return all trained variables under stable, unique names."""
        named: dict[str, tf.Variable] = {}
        for transform in (self.analysis, self.synthesis):
            for layer in transform.layers:
                prefix = f"{transform.name}/{layer.name}"
                named[f"{prefix}/kernel"] = layer.kernel_parameter.coefficients
                if layer.use_bias:
                    named[f"{prefix}/bias"] = layer.bias_parameter
                if isinstance(layer.activation, tfc.GDN):
                    gdn = layer.activation
                    named[f"{prefix}/{gdn.name}/beta"] = gdn.beta_parameter.variable
                    named[f"{prefix}/{gdn.name}/gamma"] = gdn.gamma_parameter.variable
        for variable in self.prior.base.variables:
            named[f"prior/{variable.name.split('/')[-1].split(':')[0]}"] = variable
        return named
