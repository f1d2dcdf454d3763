"""The grid of models: every lambda, width and seed of a config, and the models' names."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from balle2017.errors import InputError

#: In a map of widths, the key for all lambdas that have none of their own.
DEFAULT = "default"


def lambda_name(value: float) -> str:
    """Return a lambda as file names have it: four decimals, more if it needs them."""
    text = f"{Decimal(repr(float(value))):f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(4, '0')}"


def model_name(lambda_rd: float, num_filters: int, seed: int) -> str:
    """Return the name of a model's folder, such as 0.0130-f128-s1."""
    return f"{lambda_name(lambda_rd)}-f{num_filters}-s{seed}"


def _families(
    num_filters: int | list[int] | Mapping[str, int], lambdas: list[float]
) -> list[list[int]]:
    """Return the widths of each family of models, in the order of the lambdas."""
    if not isinstance(num_filters, Mapping):
        widths = num_filters if isinstance(num_filters, list) else [num_filters]
        return [[width] * len(lambdas) for width in widths]
    by_name = {}
    for key, width in num_filters.items():
        try:
            by_name[key if key == DEFAULT else lambda_name(float(key))] = width
        except ValueError:
            raise InputError(
                f"config: model.num_filters has the key {key}, which is neither a lambda nor "
                f"{DEFAULT}"
            ) from None
    family = []
    for name in map(lambda_name, lambdas):
        width = by_name.get(name, by_name.get(DEFAULT))
        if width is None:
            raise InputError(
                f"config: model.num_filters has no width for lambda {name}; add it, or a {DEFAULT}"
            )
        family.append(width)
    return [family]


def model_families(config: Mapping[str, Any]) -> list[list[str]]:
    """Return the names of a config's models, a list for each curve they make.

    A curve has all lambdas, with one seed, and with one width or, where
    model.num_filters is a map, the width of each lambda.

    Args:
        config: of the workflow, checked, with lambdas, seeds and model.num_filters.

    Raises:
        InputError: the map of widths lacks a lambda, or has a key that is none.
    """
    lambdas = config["lambdas"]
    return [
        [
            model_name(lambda_rd, width, seed)
            for lambda_rd, width in zip(lambdas, widths, strict=True)
        ]
        for seed in config["seeds"]
        for widths in _families(config["model"]["num_filters"], lambdas)
    ]
