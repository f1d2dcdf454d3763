"""The grid of models: every lambda, width and seed of a config, and the models' names."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from balle2017.errors import InputError

#: Name of the trained models in the tables: with rounded latents, and the static prior.
MODEL_CODEC = "balle2017"
#: What their names have behind it with refined latents, and with the adaptive entropy coder.
_REFINED, _ADAPTIVE = "_refined", "_adaptive"


def model_codec(refined: bool, adaptive: bool) -> str:
    """Return the trained models' name in the tables, for one encoder and one entropy coder."""
    return MODEL_CODEC + _REFINED * refined + _ADAPTIVE * adaptive


#: All of these names; the value tells whether latents are refined, and the coder adaptive.
MODEL_CODECS = {
    model_codec(refined, adaptive): (refined, adaptive)
    for refined in (False, True)
    for adaptive in (False, True)
}

#: What the parts of `model_name` look like, as regular expressions.
LAMBDA_PATTERN, WHOLE_PATTERN = r"\d+\.\d{4}\d*", r"\d+"
MODEL_PATTERN = f"{LAMBDA_PATTERN}-f{WHOLE_PATTERN}-s{WHOLE_PATTERN}"

#: In a map from lambda to value, the key for all lambdas without an entry of their own.
DEFAULT = "default"


def lambda_name(value: float) -> str:
    """Return a lambda as file names have it: four decimals, more if it needs them."""
    text = f"{Decimal(repr(float(value))):f}"
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(4, '0')}"


def quality_text(quality: float) -> str:
    """Return a quality as commands and folders have it: no exponent, nothing rounded, 30 for 30.0.

    Numbers that are not finite keep their name.
    """
    text = f"{Decimal(repr(float(quality))):f}"
    return text.removesuffix(".0")


class ModelName(NamedTuple):
    """The parts of a model's name, as the workflow's wildcards have them."""

    lambda_rd: str
    filters: str
    seed: str

    @classmethod
    def parse(cls, name: str) -> "ModelName":
        """Take apart what `model_name` returned."""
        lambda_rd, filters, seed = name.split("-")
        return cls(lambda_rd, filters.removeprefix("f"), seed.removeprefix("s"))


def model_name(lambda_rd: float, num_filters: int, seed: int) -> str:
    """Return the name of a model's folder, such as 0.0130-f128-s1."""
    return f"{lambda_name(lambda_rd)}-f{num_filters}-s{seed}"


def static_sha256(config: Mapping[str, Any]) -> str:
    """Return the hash of a model without its adaptation, from its config.json."""
    return str(config.get("static_sha256", config["model_sha256"]))


def value_for(setting: Any, lambda_rd: float, key: str) -> Any:
    """Return the value for one lambda of a setting that may be a map from lambda to value.

    Args:
        setting: the value for all lambdas, or the map.
        lambda_rd: as in the config.
        key: of the config, for messages.

    Raises:
        InputError: the map lacks the lambda, or has a key that is none, or one lambda twice.
    """
    if not isinstance(setting, Mapping):
        return setting
    by_name: dict[str, Any] = {}
    for entry, value in setting.items():
        try:
            entry_name = entry if entry == DEFAULT else lambda_name(float(entry))
        except ValueError:
            raise InputError(
                f"config: {key} has the key {entry}, which is neither a lambda nor {DEFAULT}"
            ) from None
        if entry_name in by_name:
            raise InputError(f"config: {key} has lambda {entry_name} twice; remove one")
        by_name[entry_name] = value
    name = lambda_name(lambda_rd)
    if name not in by_name and DEFAULT not in by_name:
        raise InputError(f"config: {key} has no value for lambda {name}; add it, or a {DEFAULT}")
    return by_name[name] if name in by_name else by_name[DEFAULT]


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
    widths = config["model"]["num_filters"]
    return [
        [
            model_name(lambda_rd, value_for(choice, lambda_rd, "model.num_filters"), seed)
            for lambda_rd in lambdas
        ]
        for seed in config["seeds"]
        for choice in (widths if isinstance(widths, list) else [widths])
    ]
