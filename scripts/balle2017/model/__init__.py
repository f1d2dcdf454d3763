"""The network: transforms, prior, objective, and the file that a trained model is."""

from balle2017.faces import lookup

__getattr__ = lookup(
    __name__,
    {
        "BalleEncoder": "balle2017.model.network",
        "BalleDecoder": "balle2017.model.network",
        "Balle2017FactorizedPrior": "balle2017.model.network",
    },
)
