import dataclasses
import datetime
import shlex

import pytest
import yaml
from balle2017.data.extraction import ExtractSettings
from balle2017.data.store import DEFAULT_VAL_SPLIT
from balle2017.errors import InputError
from balle2017.pipeline.experiment import (
    check_config,
    convert_strings,
    flags,
)
from balle2017.results.conventional import CODECS
from balle2017.training.settings import RunOptions, TrainingSettings
from helpers import ROOT

# A schema's bounds, and what an option calls them.
BOUNDS = {
    "minimum": "min",
    "maximum": "max",
    "exclusiveMinimum": "above",
    "exclusiveMaximum": "below",
    "multipleOf": "multiple",
}

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())


def config(**changes):
    """Return the default config; keys like training.epochs are set in their slice."""
    value = yaml.safe_load((ROOT / "config.yaml").read_text())
    for path, new in changes.items():
        *slices, key = path.split("__")
        target = value
        for name in slices:
            target = target[name]
        target[key] = new
    return value


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "experiments/from_nothing.yaml",
        "experiments/reference.yaml",
        "experiments/paper.yaml",
    ],
)
def test_the_configs_that_ship_are_valid(name):
    overlay = yaml.safe_load((ROOT / name).read_text())
    merged = config()
    for key, value in overlay.items():
        # A slice that config.yaml does not mention has only defaults.
        merged[key] = merged.get(key, {}) | value if isinstance(value, dict) else value
    check_config(merged, SCHEMA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lamdas": [1]}, "lamdas is not a config key; did you mean lambdas?"),
        ({"training__epoch": 3}, "training.epoch is not a config key; did you mean epochs?"),
        ({"lambdas": [-0.1]}, r"lambdas\[0\] is -0.1; it must be more than 0"),
        ({"lambdas": [0.01, 0.0100]}, "lambdas has 0.0100 twice"),
        ({"lambdas": []}, r"lambdas is \[\]; it must be a list of at least 1"),
        ({"experiment": "kodak"}, "experiment is kodak, which is the name of a shared folder"),
        ({"plot": {"max_bpp": float("inf")}}, "plot.max_bpp has inf; it must be finite"),
        ({"lambdas": ["much"]}, r'lambdas\[0\] is "much"; it must be a number'),
        ({"data__val_split": 1}, "data.val_split is 1; it must be less than 1"),
        ({"data__val_split": 0}, "data.val_split is 0; it must be more than 0"),
        (
            {"training__precision_policy": "float8"},
            'training.precision_policy is "float8"; it must be one of float32, mixed_float16,',
        ),
        ({"training__patch_size": 72}, "training.patch_size is 72; it must be a multiple of 16"),
        ({"training__patch_size": 256}, "data.min_size is 128; it must be at least training.patch"),
        ({"model__num_filters": [8, 8]}, "free of repeated values"),
        ({"model__num_filters": [0]}, r"num_filters\[0\] is 0; it must be at least 1"),
        ({"model__num_filters": {"0.01": 0}}, "it must be at least 1"),
        ({"model__num_filters": "wide"}, "it must be a number, a list of numbers, or a map from"),
        ({"seeds": [1, 1]}, "seeds is .* free of repeated values"),
        ({"lambdas": [float("inf")]}, "lambdas has inf; it must be finite"),
        ({"test_images": ""}, 'test_images is ""; it must be non-empty'),
        ({"evaluation__codecs": {"jpeg": [500]}}, r"jpeg\[0\] is 500; it must be at most 95"),
        ({"training__init_from": ""}, 'training.init_from is ""; it must be non-empty'),
        ({"kodak": ""}, 'kodak is ""; it must be non-empty'),
        ({"data__downscale": [0.9, 0.5]}, "it must be two factors, the smaller one first"),
        ({"test_images": "a/{x}/b"}, r"test_images is a/\{x\}/b; Snakemake reads braces as wildc"),
        ({"train_archive": ["a.tar", "b}.tar"]}, r"train_archive is b\}.tar; Snakemake reads"),
        ({"training__init_from": "{m}"}, r"training.init_from is \{m\}; Snakemake reads braces"),
        ({"experiment": "abc\n"}, r'experiment is "abc\\n"; it must be a name'),
        ({"train_archive_sha256": "0" * 64 + "\n"}, "it must be 64 hex digits"),
        ({"evaluation__external": {"mine\n": {}}}, "a map whose names have small letters"),
        ({"plot": {"width": "two\n"}}, "plot.width is .*; it must be one, two, or a number"),
        ({"experiment": "a/b"}, "experiment is .*letters, digits"),
        ({"experiment": "a" * 101}, "experiment is .*up to 100 letters, digits"),
        ({"train_archive": 3}, "train_archive is 3; it must be a path, a list of paths"),
        ({"evaluation__codecs": {"jpg": [1]}}, "evaluation.codecs.jpg is not a config key; did"),
    ],
)
def test_mistakes_are_refused_in_one_sentence(changes, message):
    with pytest.raises(InputError, match=message) as error:
        check_config(config(**changes), SCHEMA)
    assert "\n" not in str(error.value)


def test_what_yaml_makes_of_numbers_and_dates_is_undone():
    # A bare 2024-05-01 in YAML is a date, and 8.0 an integer for JSON schemas.
    typed = {"experiment": datetime.date(2024, 5, 1), "seeds": [1.0], "lambdas": [1.0]}
    converted = convert_strings(typed | {"training": {"batch_size": 8.0}}, SCHEMA)
    assert converted["experiment"] == "2024-05-01"
    whole = [converted["seeds"][0], converted["training"]["batch_size"]]
    assert whole == [1, 8]
    assert all(isinstance(value, int) for value in whole)
    assert isinstance(converted["lambdas"][0], float)


def test_strings_become_what_the_schema_says():
    typed = {
        "experiment": "7",
        "lambdas": ["0.01", "1e-4", "x"],
        "data": {"max_images": "null", "val_split": "0.2", "seed": "3"},
        "model": {"num_filters": {0.01: "8", "default": "4"}},
        "training": {"flip": "False", "clip_norm": "1"},
        "unknown": "5",
    }
    converted = convert_strings(typed, SCHEMA)
    assert converted == {
        "experiment": "7",
        "lambdas": [0.01, 0.0001, "x"],
        "data": {"max_images": None, "val_split": 0.2, "seed": 3},
        "model": {"num_filters": {"0.01": 8, "default": 4}},
        "training": {"flip": False, "clip_norm": 1},
        "unknown": "5",
    }
    assert isinstance(converted["data"]["seed"], int)


def test_schema_and_training_settings_agree():
    slices = SCHEMA["properties"]["training"]["properties"]
    slices = slices | SCHEMA["properties"]["model"]["properties"]
    # These belong to RunOptions.
    options = {"log_images_every", "num_images_to_log", "check_numerics", "export_epochs"}
    run_options = {item.name: item for item in dataclasses.fields(RunOptions)}
    for name in options:
        default = run_options[name].default
        expected = list(default) if isinstance(default, tuple) else default
        assert slices[name]["default"] == expected, name
        bounds = slices[name].get("items", slices[name])
        for key, bound in BOUNDS.items():
            assert bounds.get(key) == run_options[name].metadata.get(bound), name
    split = SCHEMA["properties"]["data"]["properties"]["val_split"]
    assert split["default"] == DEFAULT_VAL_SPLIT
    seeds = SCHEMA["properties"]["seeds"]
    assert seeds["default"] == [TrainingSettings.seed]
    assert slices["test_dir"]["default"] is None
    keys = set(slices) - options - {"test_dir"}
    settings = {item.name: item for item in dataclasses.fields(TrainingSettings)}
    assert seeds["items"]["maximum"] == settings["seed"].metadata["max"]
    # The grid gives each model its lambda and its seed.
    assert keys == set(settings) - {"lambda_rd", "seed"}
    for name in keys:
        entry, item = slices[name], settings[name]
        assert entry["default"] == item.default, name
        for key, bound in BOUNDS.items():
            assert entry.get(key) == item.metadata.get(bound), name
        assert tuple(entry.get("enum", ())) == tuple(item.metadata.get("choices", ())), name


def test_schema_and_extraction_settings_agree():
    slices = SCHEMA["properties"]["data"]["properties"]
    settings = {item.name: item for item in dataclasses.fields(ExtractSettings)}
    assert set(slices) - {"val_split"} == set(settings)
    for name, item in settings.items():
        assert slices[name]["default"] == item.default, name
        bounds = slices[name].get("items", slices[name])
        for key, bound in BOUNDS.items():
            assert bounds.get(key) == item.metadata.get(bound), name


def test_no_pattern_allows_a_last_line_break():
    text = (ROOT / "workflow/schemas/config.schema.yaml").read_text()
    found = [line for line in text.splitlines() if "pattern: " in line and "*sha256" not in line]
    assert len(found) == 5
    assert all(r'(?!\\n)$"' in line for line in found)


def test_schema_and_codecs_agree():
    entries = SCHEMA["properties"]["evaluation"]["properties"]["codecs"]["properties"]
    bounds = {name: (e["items"]["minimum"], e["items"]["maximum"]) for name, e in entries.items()}
    assert bounds == {name: codec.bounds for name, codec in CODECS.items()}


@pytest.mark.parametrize("key", [1, None, True, 0.5])
def test_a_key_that_yaml_reads_as_no_text_is_named(key):
    with pytest.raises(InputError, match=f"^config: {key} is not a config key; allowed: "):
        check_config(config() | {key: 2, "unknown": 3}, SCHEMA)


def test_every_key_is_described():
    def walk(properties, path):
        for name, entry in properties.items():
            if path != "evaluation.codecs.":
                assert entry.get("description"), path + name
            walk(entry.get("properties", {}), f"{path}{name}.")

    walk(SCHEMA["properties"], "")


def test_flags_do_not_depend_on_the_order_of_keys():
    settings = {"flip": False, "clip_norm": None, "epochs": 3, "device": "cpu"}
    assert flags(settings) == "--device cpu --epochs 3 --no-flip"
    assert flags(dict(reversed(settings.items()))) == flags(settings)


def test_flags_are_quoted_for_the_shell():
    settings = {"init_from": "my models/it's", "sha256": ["a b", "c"]}
    words = ["--init_from", "my models/it's", "--sha256", "a b", "c"]
    assert shlex.split(flags(settings)) == words


def test_a_name_of_digits_stays_a_name():
    assert convert_strings({"experiment": 2024}, SCHEMA) == {"experiment": "2024"}
