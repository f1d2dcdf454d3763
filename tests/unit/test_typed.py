"""What is typed is what is meant: names that look like numbers, flags that are given twice."""

import itertools

import pytest
import yaml
from balle2017.errors import InputError
from balle2017.pipeline.typed import keep_texts, read_typed, repeated_flag
from helpers import ROOT
from snakemake.cli import get_argument_parser, parse_config

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
NAMES = ["1.10", "2024_05_01", "010", "1e3", "1.5e3", "0x10", "1:30", "yes", "on", "True", "true"]
NAMES += ["2024-05-01", "7", "0o7", ".5", "1_0.0", ".inf", "007", "+1", "n", "NA", "0b1"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_as_it_is_typed(tmp_path, name):
    file = tmp_path / "mine.yaml"
    file.write_text(
        f"experiment: {name}\ntest_images: {name}\nkodak: {name}\ntrain_archive: [{name}, b.tar]\n"
        f"training:\n  init_from: {name}\n  batch_size: 8\nlambdas: [0.0100, 1e-2]\n"
    )
    expected = {"experiment": name, "test_images": name, "kodak": name}
    expected |= {"train_archive": [name, "b.tar"]}
    kept = keep_texts(yaml.safe_load(file.read_text()), read_typed([file], []), SCHEMA)
    assert {key: kept[key] for key in expected} == expected
    assert kept["training"] == {"init_from": name, "batch_size": 8}
    assert kept["lambdas"][0] == 0.01
    entries = [f"{key}={name}" for key in ("experiment", "test_images", "kodak", "train_archive")]
    entries += [f"training={{init_from: {name}}}", "seeds=[1]"]
    kept = keep_texts(parse_config(entries), read_typed([], entries), SCHEMA)
    assert {kept[key] for key in ("experiment", "test_images", "kodak", "train_archive")} == {name}
    assert kept["training"] == {"init_from": name}


def test_the_command_line_is_laid_over_the_files(tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.json"]
    files[0].write_text("experiment: 1.10\ntraining: {init_from: 010, epochs: 3}\n")
    files[1].write_text('{"experiment": 1.20, "training": {"epochs": 4}}')
    typed = read_typed(files, ["experiment=1.30"])
    assert typed == {"experiment": "1.30", "training": {"init_from": "010", "epochs": "4"}}
    assert read_typed(files, [])["experiment"] == "1.20"


def test_null_is_nothing_where_nothing_is_allowed():
    entries = ["kodak=null", "training={init_from: null}", "test_images=null"]
    kept = keep_texts(parse_config(entries), read_typed([], entries), SCHEMA)
    assert kept == {"kodak": None, "training": {"init_from": None}, "test_images": "null"}


def test_a_key_that_is_given_twice_is_refused(tmp_path):
    file = tmp_path / "mine.yaml"
    for text in ("seeds: [1]\nseeds: [2]\n", "training:\n  epochs: 1\n  epochs: 2\n"):
        file.write_text(text)
        with pytest.raises(InputError, match=r"mine\.yaml has the key (seeds|epochs) twice"):
            read_typed([file], [])
    with pytest.raises(InputError, match="seeds is given twice on the command line"):
        read_typed([], ["seeds=[1]", "seeds=[2]"])
    # Sections are merged.
    merged = read_typed([], ["training={epochs: 1}", "training={threads: 2}"])
    assert merged == {"training": {"epochs": "1", "threads": "2"}}


def test_what_is_no_yaml_is_left_to_snakemake(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("a: [")
    assert read_typed([file], ["b=[", "c=a: b: c"]) == {"b": "[", "c": "a: b: c"}


CONFIGS = [["--config", "a=1"], ["--config=a=1"], ["-C", "a=1"], ["-Ca=1"], ["-nC", "a=1"]]
FILES = [["--configfile", "x"], ["--configfile=x"], ["--configfiles", "x"], ["--configfiles=x"]]


@pytest.mark.parametrize(
    ("first", "second"),
    [*itertools.product(CONFIGS, CONFIGS), *itertools.product(FILES, FILES)],
)
def test_a_flag_that_is_given_twice_is_found_in_any_spelling(first, second):
    flag = repeated_flag(get_argument_parser(), [*first, "--cores", "1", *second])
    assert flag in ("--config", "--configfile")


@pytest.mark.parametrize(
    "argv", [*CONFIGS, *FILES, ["--config", "a=1", "b=2", "--configfile", "x", "y"]]
)
def test_a_flag_with_several_values_is_given_once(argv):
    assert repeated_flag(get_argument_parser(), ["--cores", "1", *argv, "-p", "--", "all"]) is None
