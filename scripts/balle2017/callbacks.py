"""The callbacks of a training under their documented names; see `balle2017.training.callbacks`."""

from balle2017.faces import lookup

__getattr__ = lookup(
    __name__,
    {
        name: "balle2017.training.callbacks"
        for name in ("EarlyStopping", "ImageLoggingCallback", "KeepLastNCheckpoints")
    },
)
