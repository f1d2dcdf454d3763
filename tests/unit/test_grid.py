"""Which flags each model is trained with, and which model it starts from."""

from pathlib import Path

import pytest
import yaml
from balle2017.errors import InputError
from balle2017.names import ModelName
from balle2017.pipeline import models
from balle2017.pipeline.experiment import check_config
from helpers import ROOT

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
FOLDER = Path("results/x/models")


def config(fine_tuning=None, **model):
    """A checked config with what the models need."""
    value = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"fine_tuning": fine_tuning}
    value["training"]["init_from"] = str(ROOT / "pretrained")
    value["model"] = {"num_filters": 128, "num_latents": None} | model
    check_config(value, SCHEMA)
    return value | {"seeds": [1]}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"num_filters": {"default": 128, "0.0035": 64}},
            r"num_filters is 64 for lambda 0.0035, .* 0.013 with 128; it must be the same",
        ),
        (
            {"num_latents": {"default": 96, "0.0483": 192}},
            r"num_latents is 192 for lambda 0.0483, .* 0.013 with 96; it must be no more",
        ),
    ],
)
def test_a_model_that_does_not_fit_into_its_start_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        models.check_models(config({"base_lambda": 0.013}, **model), FOLDER)
    # Fewer latents are possible.
    fewer = {"num_filters": 128, "num_latents": {"default": 96, "0.0483": 64}}
    expected = [["0.0035-f128-s1", "0.0130-f128-s1", "0.0483-f128-s1"]]
    assert models.check_models(config({"base_lambda": 0.013}, **fewer), FOLDER) == expected


@pytest.mark.parametrize("folder", ["models", "models/0.0130-f128-s1", "."])
def test_models_do_not_start_from_where_they_are_written(tmp_path, folder):
    settings = config()
    settings["training"]["init_from"] = str(tmp_path / folder)
    name = ModelName.parse("0.0130-f128-s1")
    with pytest.raises(InputError, match=r"training\.init_from is .*, where this experiment's mod"):
        models.starting_model(settings, name, tmp_path / "models")


def test_the_others_start_from_the_base():
    settings = config({"base_lambda": 0.013, "epochs": 7})
    other, base = ModelName.parse("0.0483-f128-s1"), ModelName.parse("0.0130-f128-s1")
    start = FOLDER / "0.0130-f128-s1" / "model" / "config.json"
    assert models.starting_model(settings, other, FOLDER) == start
    assert "--epochs 7 " in models.train_flags(settings, other)
    pretrained = ROOT / "pretrained" / "0.0130" / "config.json"
    assert models.starting_model(settings, base, FOLDER) == pretrained
    assert "--epochs 4 " in models.train_flags(settings, base)
    settings["training"]["init_from"] = None
    assert models.starting_model(settings, base, FOLDER) is None


def test_each_base_has_those_that_start_from_it():
    """A base for the wide models of high rates, and one for the others."""
    bases = {"default": 0.013, "0.0483": 0.0483}
    settings = config({"base_lambda": bases}, num_filters={"default": 128, "0.0483": 192})
    settings["training"]["init_from"] = None
    (family,) = models.check_models(settings, FOLDER)
    starts = [models.starting_model(settings, ModelName.parse(name), FOLDER) for name in family]
    assert family == ["0.0035-f128-s1", "0.0130-f128-s1", "0.0483-f192-s1"]
    assert starts == [FOLDER / "0.0130-f128-s1" / "model" / "config.json", None, None]


@pytest.mark.parametrize(
    ("bases", "message"),
    [
        (0.5, r"fine_tuning\.base_lambda is 0\.5; it must be one of lambdas"),
        ({"default": 0.013, "0.0483": 0.5}, r"base_lambda is 0\.5; it must be one of lambdas"),
        (
            {"default": 0.013, "0.0130": 0.0483, "0.0483": 0.0483},
            r"base_lambda is 0\.013 for lambda 0\.0035, but 0\.013 itself starts from 0\.0483",
        ),
        ({"0.0130": 0.013}, r"fine_tuning\.base_lambda has no value for lambda 0\.0035"),
    ],
)
def test_a_base_is_a_lambda_that_starts_from_no_other(bases, message):
    with pytest.raises(InputError, match=message):
        models.check_models(config({"base_lambda": bases}), FOLDER)


def test_flags_are_those_of_one_model():
    settings = config(num_latents={"default": None, "0.0483": 64})
    flags = models.train_flags(settings, ModelName.parse("0.0483-f128-s2"))
    for words in ("--lambda_rd 0.0483 ", "--num_filters 128 ", "--num_latents 64 ", "--seed 2 "):
        assert words in f"{flags} "
    assert "init_from" not in flags
    assert "num_latents" not in models.train_flags(settings, ModelName.parse("0.0130-f128-s1"))


def test_each_lambda_has_its_own_epochs():
    settings = config()
    settings["training"]["epochs"] = {"default": 7, "0.0483": 3}
    check_config(settings, SCHEMA)
    assert "--epochs 3 " in models.train_flags(settings, ModelName.parse("0.0483-f128-s1"))
    assert "--epochs 7 " in models.train_flags(settings, ModelName.parse("0.0130-f128-s1"))
    del settings["training"]["epochs"]["default"]
    with pytest.raises(InputError, match=r"training\.epochs has no value for lambda 0\.0035"):
        models.check_models(settings, FOLDER)


def test_a_start_that_is_not_there_names_the_key():
    settings = config(num_filters=12)
    with pytest.raises(InputError, match=r"config: training\.init_from: .* no model of 12 filters"):
        models.check_models(settings, FOLDER)
