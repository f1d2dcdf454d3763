"""The weights that training starts from when it starts from a trained model.

The model may be one of another lambda, and may have more latents than are wanted.
"""

import math

import numpy as np

from balle2017.errors import InputError
from balle2017.model.check import RANGE_CODER_PRECISION, split_tables
from balle2017.model.files import TrainedModel
from balle2017.model.packing import COEFFICIENTS


def starting_weights(
    model: TrainedModel, lambda_rd: float, num_filters: int, num_latents: int
) -> dict[str, np.ndarray]:
    """Return a trained model's weights, made to suit another lambda and fewer latents.

    The latents that cost the most bits are kept. At high rates the quantization step that
    suits a lambda is proportional to 1 / sqrt(lambda), so analysis transform, prior and
    synthesis transform are scaled together: without rounding the model computes the same.

    Args:
        model: as `load_model` returns it; its config.json tells its lambda.
        lambda_rd: of the training to come.
        num_filters: wanted channels of the transforms.
        num_latents: wanted channels of the latents.

    Returns:
        Float32 arrays under the names of `Balle2017FactorizedPrior.named_variables`.

    Raises:
        InputError: other filters, or fewer latents than wanted.
    """
    network = model.network
    if network.num_filters != num_filters or network.num_latents < num_latents:
        raise InputError(
            f"the model has {network.num_filters} filters and {network.num_latents} latents, "
            f"the settings ask for {num_filters} and {num_latents}"
        )
    weights = {name: variable.numpy() for name, variable in network.named_variables().items()}
    # In their order, so that nothing changes if all are kept.
    kept = np.sort(np.argsort(-latent_bits(model.tables["cdf"]), kind="stable")[:num_latents])
    gain = math.sqrt(lambda_rd / model.config["lambda_rd"])
    for name, value in weights.items():
        if name.startswith("prior/"):
            weights[name] = value[kept]
    # Fourier coefficients [COEFFICIENTS, filters * latents], see `FourierKernel`.
    for name, factor in (("analysis/conv_2/kernel", gain), ("synthesis/conv_0/kernel", 1 / gain)):
        kernel = weights[name].reshape(COEFFICIENTS, num_filters, network.num_latents)[..., kept]
        weights[name] = (kernel * factor).reshape(COEFFICIENTS, -1).astype(np.float32)
    # The density sees softplus(matrix_0) times a latent, see `FactorizedPrior`.
    slope = np.logaddexp(weights["prior/matrix_0"].astype(np.float64), 0) / gain
    if not (slope > 0).all():
        raise InputError("its prior does not depend on the latents")
    if gain != 1:
        weights["prior/matrix_0"] = (slope + np.log(-np.expm1(-slope))).astype(np.float32)
    return weights


def latent_bits(cdf: np.ndarray) -> np.ndarray:
    """Return the bits that one value of each latent channel costs on average.

    Args:
        cdf: the range coder's tables as `FactorizedPrior.coding_tables` has them, int32
            [n], see `split_tables`.

    Returns:
        Float64 [channels], the entropy of each channel's own distribution.
    """
    tables = split_tables(cdf)
    shares = [np.diff(table[1:]) / (1 << RANGE_CODER_PRECISION) for table in tables]
    return np.array([-(share * np.log2(share)).sum() for share in shares])
