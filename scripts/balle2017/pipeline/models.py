"""The flags that each model of the grid is trained with, and the model it starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from balle2017.errors import InputError
from balle2017.model.find import nearest_model
from balle2017.names import ModelName, lambda_name, model_families, model_name, value_for
from balle2017.pipeline.experiment import flags


def base_of(config: Mapping[str, Any], lambda_rd: float) -> float | None:
    """Return the lambda whose model this one starts from; None if it is trained as a base is."""
    if config["fine_tuning"] is None:
        return None
    base = value_for(config["fine_tuning"]["base_lambda"], lambda_rd, "fine_tuning.base_lambda")
    return None if lambda_name(base) == lambda_name(lambda_rd) else base


def latents(config: Mapping[str, Any], lambda_rd: float) -> int | None:
    """Return the config's number of latents for one lambda; None if the config leaves it open."""
    return value_for(config["model"]["num_latents"], lambda_rd, "model.num_latents")


def train_flags(config: Mapping[str, Any], name: ModelName) -> str:
    """Return the flags of scripts/train.py for one model, without the one it starts from."""
    lambda_rd = float(name.lambda_rd)
    settings = config["training"] | config["model"]
    if base_of(config, lambda_rd) is not None:
        settings |= {k: v for k, v in config["fine_tuning"].items() if k != "base_lambda"}
    return flags(
        settings
        | {
            "lambda_rd": lambda_rd,
            "num_filters": int(name.filters),
            "num_latents": latents(config, lambda_rd),
            "epochs": value_for(settings["epochs"], lambda_rd, "training.epochs"),
            "seed": int(name.seed),
            "init_from": None,
        }
    )


def starting_model(config: Mapping[str, Any], name: ModelName, models: Path) -> Path | None:
    """Return the config.json of the model that training starts from, if there is one.

    It holds the hash of the weights, so that another model trains again.

    Args:
        config: checked, with its defaults.
        name: of the model to train.
        models: folder of the experiment's models.

    Raises:
        InputError: training.init_from has no such model.
    """
    lambda_rd, filters = float(name.lambda_rd), int(name.filters)
    base = base_of(config, lambda_rd)
    if base is not None:
        return models / model_name(base, filters, int(name.seed)) / "model" / "config.json"
    folder = config["training"]["init_from"]
    if folder is None:
        return None
    given, own = Path(folder).resolve(), models.resolve()
    if given.is_relative_to(own) or own.is_relative_to(given):
        raise InputError(
            f"config: training.init_from is {folder}, where this experiment's models are written; "
            "name the experiment otherwise, or start from other models"
        )
    try:
        return nearest_model(folder, lambda_rd, filters, latents(config, lambda_rd)) / "config.json"
    except InputError as error:
        raise InputError(f"config: training.init_from: {error}") from None


def check_models(config: Mapping[str, Any], models: Path) -> list[list[str]]:
    """Return the names of all models, by curve, after a check of their channels and starts.

    Args:
        config: checked, with its defaults.
        models: folder of the experiment's models.

    Raises:
        InputError: see `model_families`, `check_fine_tuning` and `starting_model`.
    """
    families = model_families(config)
    check_fine_tuning(config)
    for family in families:
        for name in map(ModelName.parse, family):
            train_flags(config, name)
            starting_model(config, name, models)
    return families


def check_fine_tuning(config: Mapping[str, Any]) -> None:
    """Check that each model fits into that of its base lambda, which it starts from.

    Args:
        config: checked, with its defaults.

    Raises:
        InputError: a base is not a lambda of the config, or itself starts from another; or a
            model has other filters than its base, or more latents.
    """
    names = [lambda_name(lambda_rd) for lambda_rd in config["lambdas"]]
    for lambda_rd in config["lambdas"]:
        base = base_of(config, lambda_rd)
        if base is None:
            continue
        if lambda_name(base) not in names:
            raise InputError(
                f"config: fine_tuning.base_lambda is {base}; it must be one of lambdas"
            )
        if base_of(config, base) is not None:
            raise InputError(
                f"config: fine_tuning.base_lambda is {base} for lambda {lambda_name(lambda_rd)}, "
                f"but {base} itself starts from {base_of(config, base)}; map {base} to {base}"
            )
        _check_size(config, lambda_rd, base)


def _check_size(config: Mapping[str, Any], lambda_rd: float, base: float) -> None:
    """Check that a model has the filters of its base, and no more latents."""
    for key in ("num_filters", "num_latents"):
        setting = config["model"][key]
        if not isinstance(setting, Mapping):
            continue
        value, of_base = (value_for(setting, each, f"model.{key}") for each in (lambda_rd, base))
        if value is None or of_base is None:
            continue
        if value > of_base or (key == "num_filters" and value != of_base):
            raise InputError(
                f"config: model.{key} is {value} for lambda {lambda_name(lambda_rd)}, which starts "
                f"from the model of lambda {base} with {of_base}; it must be "
                f"{'the same' if key == 'num_filters' else 'no more'}"
            )
