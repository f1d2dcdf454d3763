"""The objective under its documented name; see `balle2017.model.loss`."""

from balle2017.faces import lookup

__getattr__ = lookup(__name__, {"compute_rate_distortion_loss": "balle2017.model.loss"})
