"""What is typed is what is meant: names that look like numbers, flags that are given twice."""

import itertools
import json

import pytest
import yaml
from balle2017.errors import InputError
from balle2017.pipeline.typed import (
    check_places,
    keep_texts,
    profile_files,
    read_profile,
    read_typed,
    repeated_flag,
)
from helpers import ROOT
from snakemake.cli import get_argument_parser, get_profile_dir, parse_config

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


def test_merged_maps_and_json_of_any_layout_are_read(tmp_path):
    """Or texts of the files below them would take the place of theirs."""
    below, merged, tabs = (tmp_path / name for name in ("a.yaml", "merged.yaml", "tabs.json"))
    below.write_text("experiment: quickstart\ntraining: {init_from: pretrained, epochs: 4}\n")
    merged.write_text(
        "<<: {experiment: 1.10, test_images: 007}\n"
        "training:\n  <<: [{init_from: 1e3}, {init_from: 8, epochs: 5}]\n  epochs: 6\n"
    )
    expected = {"experiment": "1.10", "test_images": "007"}
    expected["training"] = {"init_from": "1e3", "epochs": "6"}
    assert read_typed([below, merged], []) == expected
    tabs.write_text(json.dumps({"experiment": "1.10", "training": {"epochs": 6.5}}, indent="\t"))
    expected = {"experiment": "1.10", "training": {"init_from": "pretrained", "epochs": "6.5"}}
    assert read_typed([below, tabs], []) == expected
    tabs.write_text('{\t"seeds": [1], "seeds": [2]}')
    with pytest.raises(InputError, match=r"tabs\.json has the key seeds twice"):
        read_typed([tabs], [])


def test_a_text_that_does_not_mean_the_value_is_not_taken():
    typed = {"experiment": "1.10", "test_images": "other"}
    kept = keep_texts({"experiment": 1.1, "test_images": "builtin"}, typed, SCHEMA)
    assert kept == {"experiment": "1.10", "test_images": "builtin"}


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


MAP = "config:\n  experiment: 1.10\n  training: {init_from: 010, epochs: 3}\n"
PROFILES = {
    "--config": [MAP, "config: [experiment=1.10]\n", "config: experiment=1.10\n"],
    "--configfile": ["configfile: mine.yaml\n", "configfiles: [mine.yaml]\n"],
}


def places(folder, *argv):
    files = profile_files(get_argument_parser(), argv, get_profile_dir, folder)
    return {file: read_profile(file) for file in files}


@pytest.mark.parametrize("flag", PROFILES)
def test_a_config_on_the_command_line_and_in_a_profile_is_refused(tmp_path, flag, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    mine = tmp_path / "mine"
    mine.mkdir()
    for text in PROFILES[flag]:
        (mine / "config.yaml").write_text(text)
        for words in CONFIGS + FILES:
            argv = ["--profile", "mine", *words]
            found = places(tmp_path, *argv)
            same = (words in CONFIGS) == (flag == "--config")
            if not same:
                check_places(get_argument_parser(), argv, found)
                continue
            message = rf"^{flag[2:]} is given on the command line and in the profile mine/config"
            with pytest.raises(InputError, match=message):
                check_places(get_argument_parser(), argv, found)
        check_places(
            get_argument_parser(), ["--profile", "mine"], places(tmp_path, "--profile=mine")
        )


def test_all_profiles_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "profiles/default", "profiles/other"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text(MAP)
    for argv, names in (
        ([], ["profiles/default"]),
        (["--workflow-profile", "none"], []),
        (["--workflow-profile", "other"], ["profiles/other"]),
        (["--profile", "none", "--workflow-profile", "none"], []),
        (["--profile", "a", "--profile", "b"], ["a", "b", "profiles/default"]),
        (["--profile", "a", "--workflow-profile", "none"], ["a"]),
    ):
        found = places(tmp_path, *argv)
        assert [str(file.parent) for file in found] == names
        if len(names) > 1:
            with pytest.raises(
                InputError, match=r"in the profile a/config\.yaml and in the profile"
            ):
                check_places(get_argument_parser(), argv, found)
        else:
            check_places(get_argument_parser(), argv, found)
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "a")
    assert [str(file.parent) for file in places(tmp_path)] == ["a", "profiles/default"]


def test_names_in_a_profile_stay_as_they_are_typed(tmp_path):
    """Snakemake makes 1.1 and 8 of them before anybody sees them."""
    file = tmp_path / "config.yaml"
    file.write_text(MAP)
    profile = read_profile(file)["--config"]
    entries = get_argument_parser(profiles=[str(file)]).parse_args([]).config
    kept = keep_texts(parse_config(entries), read_typed([], entries, profile), SCHEMA)
    assert kept == {"experiment": "1.10", "training": {"init_from": "010", "epochs": "3"}}
