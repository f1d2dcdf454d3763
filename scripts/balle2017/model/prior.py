"""The fully factorized prior over the latents (paper, section 3), and their rate.

The cumulative distribution of a channel is the logistic function of a small network
(Ballé et al., "Variational image compression with a scale hyperprior", appendix 6.1):
z = matrix h + bias, h = z + factor * tanh(z), with 3, 3 and 1 units as in
`tfc.DeepFactorized`; the last layer's z is the logit. The three units are too few for
matrix products: here every layer is a sum of three terms in one pass, and the
gradient computes z anew instead of reading it.

Shapes: a value [channels, n]; units [channels, k, 2, n], for values + 1/2 and
values - 1/2; a matrix [channels, outputs, inputs]; bias and factor [channels, k, 1].
"""

import functools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_compression as tfc

from balle2017.errors import WorkError
from balle2017.model.check import (
    MAX_LATENT,
    RANGE_CODER_PRECISION,
    TAIL_MASS,
    bisect,
    prior_logits,
)
from balle2017.model.fused import Elementwise

#: Parameters in the order of `nats`.
PARAMETERS = (
    *("matrix_0", "bias_0", "factor_0"),
    *("matrix_1", "bias_1", "factor_1"),
    *("matrix_2", "bias_2"),
)


def cumulative(values: tf.Tensor, parameters: list[tf.Tensor]) -> tf.Tensor:
    """Return the cumulative distribution at values, float32 [channels, n]: the formula.

    Args:
        values: float32 [channels, n].
        parameters: those of `PARAMETERS`, as `nats` takes them.
    """
    matrix_0, bias_0, factor_0, matrix_1, bias_1, factor_1, matrix_2, bias_2 = parameters
    z = tf.linalg.matmul(matrix_0, values[:, None]) + bias_0
    h = z + factor_0 * tf.math.tanh(z)
    z = tf.linalg.matmul(matrix_1, h) + bias_1
    h = z + factor_1 * tf.math.tanh(z)
    return tf.math.sigmoid(tf.linalg.matmul(matrix_2, h) + bias_2)[:, 0]


# `nats` in elementwise passes: d stands for the gradient of what follows it.


@Elementwise
def _sides(values: tf.Tensor) -> tf.Tensor:
    return values[:, None, None] + tf.constant([[0.5], [-0.5]])


def _linear(h: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    terms = [matrix[:, :, k, None, None] * h[:, k, None] for k in range(matrix.shape[2])]
    return tf.add_n(terms) + bias[..., None]


def _linear_gradient(dz: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    return tf.add_n([matrix[:, j, :, None, None] * dz[:, j, None] for j in range(matrix.shape[1])])


@Elementwise
def _layer(h: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    z = _linear(h, matrix, bias)
    return z + factor[..., None] * tf.math.tanh(z)


@Elementwise
def _dz(
    above: tf.Tensor,
    matrix_above: tf.Tensor,
    h: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    factor: tf.Tensor,
) -> tf.Tensor:
    """Return dz of a layer with input h, from the dz of the layer above."""
    tanh = tf.math.tanh(_linear(h, matrix, bias))
    return _linear_gradient(above, matrix_above) * (1 + factor[..., None] * (1 - tanh * tanh))


@Elementwise
def _dfactor(
    above: tf.Tensor, matrix_above: tf.Tensor, h: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor
) -> tf.Tensor:
    """Return what the gradient of a layer's factor is the sum of."""
    return _linear_gradient(above, matrix_above) * tf.math.tanh(_linear(h, matrix, bias))


@Elementwise
def _nats(h: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    logits = _linear(h, matrix, bias)
    upper, lower = logits[:, 0, 0], logits[:, 0, 1]
    # With s the logistic function, s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)): no
    # difference of nearly equal numbers in either tail.
    nats = tf.nn.softplus(-upper) + tf.nn.softplus(lower)
    return nats - tf.math.log(-tf.math.expm1(lower - upper))


@Elementwise
def _dlogits(dnats: tf.Tensor, h: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    logits = _linear(h, matrix, bias)
    # One formula for both sides, with the sign turned on the upper one.
    sign = tf.constant([[-1.0], [1.0]])
    difference = sign * (logits - tf.reverse(logits, [2]))
    slope = tf.math.sigmoid(sign * logits) + 1 / tf.math.expm1(-difference)
    return dnats[:, None, None] * sign * slope


# The same where the layer is the first, whose input is made of the values.


@Elementwise
def _first_layer(
    values: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    return _layer(_sides(values), matrix, bias, factor)


@Elementwise
def _first_dz(
    above: tf.Tensor,
    matrix_above: tf.Tensor,
    values: tf.Tensor,
    matrix: tf.Tensor,
    bias: tf.Tensor,
    factor: tf.Tensor,
) -> tf.Tensor:
    return _dz(above, matrix_above, _sides(values), matrix, bias, factor)


@Elementwise
def _first_dfactor(
    above: tf.Tensor, matrix_above: tf.Tensor, values: tf.Tensor, matrix: tf.Tensor, bias: tf.Tensor
) -> tf.Tensor:
    return _dfactor(above, matrix_above, _sides(values), matrix, bias)


@Elementwise
def _dvalues(dz: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(_linear_gradient(dz, matrix), (1, 2))


def _sum(units: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(units, (2, 3))[..., None]


def _matrix_gradient(dz: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    rows = [tf.reshape(x, (x.shape[0], x.shape[1], -1)) for x in (dz, h)]
    return tf.linalg.matmul(rows[0], rows[1], transpose_b=True)


def nats(values: tf.Tensor, parameters: list[tf.Tensor], fused: bool) -> tf.Tensor:
    """Return -log of the probability of each value plus or minus 1/2.

    That is -log(cumulative(values + 1/2) - cumulative(values - 1/2)), also where the
    difference is too small for float32.

    Args:
        values: float32 [channels, n], n may be unknown.
        parameters: those of `PARAMETERS`, matrices positive.
        fused: compile the elementwise passes.

    Returns:
        float32 [channels, n].
    """

    @tf.custom_gradient
    def apply(values: tf.Tensor, *parameters: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        first, second, last = parameters[:3], parameters[3:6], parameters[6:]
        h_0 = _first_layer.run(fused, values, *first)
        h_1 = _layer.run(fused, h_0, *second)

        def grad(dnats: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dz_2 = _dlogits.run(fused, dnats, h_1, *last)
            dz_1 = _dz.run(fused, dz_2, last[0], h_0, *second)
            dfactor_1 = _dfactor.run(fused, dz_2, last[0], h_0, *second[:2])
            dz_0 = _first_dz.run(fused, dz_1, second[0], values, *first)
            dfactor_0 = _first_dfactor.run(fused, dz_1, second[0], values, *first[:2])
            sides = _sides.run(fused, values)
            return (
                _dvalues.run(fused, dz_0, first[0]),
                *(_matrix_gradient(dz_0, sides), _sum(dz_0), _sum(dfactor_0)),
                *(_matrix_gradient(dz_1, h_0), _sum(dz_1), _sum(dfactor_1)),
                *(_matrix_gradient(dz_2, h_1), _sum(dz_2)),
            )

        return _nats.run(fused, h_1, *last), grad

    return apply(values, *parameters)


def find_quantiles(
    func: Callable, target: float, channels: int, steps: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where rising functions of one value each reach a target, as tfc looks for it.

    This is `tfc.estimate_tails`, operation by operation, because the tables and rounding grids
    of all models come from it, but with a limit on its steps. Without one it never ends where
    a function is flat at 0, as a density in a model of unknown origin may be.

    Args:
        func: takes and returns float32 [channels].
        target: of all functions.
        channels: how many there are.
        steps: integer, the largest number of steps; each moves by at most about 0.1.

    Returns:
        float32 [channels], and whether tfc's search would have ended by then.
    """

    def goes_on(loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        # A loss that is NaN ends it too.
        return tf.logical_and(tf.reduce_max(loss) > 1e-8, tf.reduce_min(count) < 100)

    def step(state: tuple[tf.Tensor, ...]) -> tuple[tuple[tf.Tensor, ...]]:
        x, m, v, _, count, best_x, best_loss = state
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            loss = abs(func(x) - target)
        better = loss < best_loss
        best_x = tf.where(better, x, best_x)
        best_loss = tf.where(better, loss, best_loss)
        gradient = tape.gradient(loss, x)
        previous = m
        m = (m + gradient) / 2
        v = (v + tf.square(gradient)) / 2
        k = tf.math.sqrt(tf.cast(count + 1, tf.float32))
        x -= 0.1 * m / (k * tf.sqrt(v) + 1e-20)
        # The gradient changes its sign where the target is passed; 100 more steps make it exact.
        passed = tf.math.logical_or(count > 0, previous * gradient < 0)
        count = tf.where(passed, count + 1, count)
        return ((x, m, v, loss, count, best_x, best_loss),)

    zeros, ones = tf.zeros(channels), tf.ones(channels)
    far = ones * tf.float32.max
    start = (zeros, zeros, ones, far, tf.zeros(channels, tf.int32), zeros, far)
    ((*_, loss, count, best_x, _),) = tf.while_loop(
        lambda state: goes_on(state[3], state[4]), step, (start,), maximum_iterations=steps
    )
    return best_x, tf.logical_not(goes_on(loss, count))


class FactorizedPrior(tf.Module):
    """One density for each channel: `tfc.NoisyDeepFactorized`, float32.

    Attributes:
        distribution: the density of latents with uniform noise, or rounded.
    """

    def __init__(self, channels: int, fused: bool = False):
        """Start from tfc's broad density.

        Args:
            channels: of the latents.
            fused: compile elementwise passes, which pays where shapes do not change.
        """
        super().__init__(name="prior")
        self.channels = channels
        self._fused = fused
        self.distribution = tfc.NoisyDeepFactorized(batch_shape=(channels,))

    def named_variables(self) -> dict[str, tf.Variable]:
        """Return the trained variables under tfc's names: matrix_0, bias_0, ..."""
        variables = self.distribution.base.variables
        return {variable.name.split("/")[-1].split(":")[0]: variable for variable in variables}

    def bits(self, latents: tf.Tensor) -> tf.Tensor:
        """Return the information content of each image's latents.

        -log2 of what `distribution.prob` gives, in a form with one evaluation of
        the cumulative distribution on each side of a value, where tfc makes two.

        Args:
            latents: float32 [n, h, w, channels], with noise or rounded.

        Returns:
            Bits, float32 [n].
        """
        values = tf.transpose(tf.reshape(latents, (-1, self.channels)))
        positions = tf.reduce_sum(nats(values, self._parameters(), self._fused), 0)
        per_picture = tf.reshape(positions, (tf.shape(latents)[0], -1))
        return tf.reduce_sum(per_picture, 1) / math.log(2)

    def _parameters(self) -> list[tf.Tensor]:
        """Return what `nats` takes, from the unconstrained variables."""
        constraints = {"matrix": tf.nn.softplus, "bias": tf.identity, "factor": tf.math.tanh}
        variables = self.named_variables()
        return [constraints[name.split("_")[0]](variables[name]) for name in PARAMETERS]

    # As functions: ten times faster than eagerly, and traced once.

    @functools.cached_property
    def _tables(self) -> tf.types.experimental.GenericFunction:
        def build() -> dict[str, tf.Tensor]:
            model = tfc.ContinuousBatchedEntropyModel(
                self.distribution,
                coding_rank=3,
                compression=True,
                stateless=True,
                range_coder_precision=RANGE_CODER_PRECISION,
                bottleneck_dtype=tf.float32,
            )
            return {
                "cdf": model.cdf,
                "cdf_offset": model.cdf_offset,
                "quantization_offset": model.quantization_offset,
            }

        return tf.function(build, autograph=False)

    @functools.cached_property
    def _quantiles(self) -> tf.types.experimental.GenericFunction:
        def find(logit: tf.Tensor, steps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = self.distribution.base._logits_cumulative
            return find_quantiles(logits, logit, self.channels, steps)

        return tf.function(find, autograph=False)

    def _find(self, logit: float) -> np.ndarray:
        """Return the values where the cumulative distribution has a logit, float32 [channels].

        Raises:
            WorkError: one is not found.
        """
        prior = {name: variable.numpy() for name, variable in self.named_variables().items()}
        places = bisect(lambda values: prior_logits(prior, values), logit)
        # NaN in the weights is reported elsewhere, and ends the search below at once.
        places[np.isnan(prior_logits(prior, places[:, None])[:, 0])] = 0
        farthest = float(np.abs(places).max())
        if farthest < MAX_LATENT - 1:
            # Twice the distance in steps of a tenth, and more because the first are shorter.
            steps = tf.constant(int(20 * farthest) + 1000)
            found, ended = self._quantiles(tf.constant(logit, tf.float32), steps)
            if ended:
                return found.numpy()
        raise WorkError(
            "the prior is broken: the median or a tail of a density is not found within "
            f"latents from -{MAX_LATENT} to {MAX_LATENT}"
        )

    def check_quantiles(self) -> None:
        """Check that `coding_tables` and `quantization_offset` find what they look for.

        Raises:
            WorkError: they do not, because the densities make no sense.
        """
        # As tfc computes it, so that its search is this one.
        share = TAIL_MASS / 2 / (1.0 - TAIL_MASS / 2)
        logit = float(np.log(np.float32(share)))
        for each in (logit, 0.0, -logit):
            self._find(each)

    def coding_tables(self) -> dict[str, np.ndarray]:
        """Build the range coder's tables from the present densities.

        They must be stored with the weights and never rebuilt: small numerical
        differences between machines would ruin every stream.

        Returns:
            Arguments of `tfc.ContinuousBatchedEntropyModel`: cdf int32, cdf_offset
            int32, quantization_offset float32 [channels].

        Raises:
            WorkError: see `check_quantiles`.
        """
        self.check_quantiles()
        return {name: value.numpy() for name, value in self._tables().items()}

    def quantization_offset(self) -> np.ndarray:
        """Return where each channel's rounding grid lies, float32 [channels].

        The median of each density less the integer nearest to it, as tfc chooses it, in
        [-1/2, 1/2].

        Raises:
            WorkError: see `check_quantiles`.
        """
        median = self._find(0.0)
        return median - np.rint(median)
