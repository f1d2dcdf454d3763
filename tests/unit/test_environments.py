import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
import yaml
from balle2017.closure import PACKAGE, import_closure
from helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = {
    package["name"]: package["version"]
    for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    if "version" in package
}


@pytest.mark.parametrize("name", ["tables", "tensorflow"])
def test_conda_pins_equal_the_lock(name):
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    conda, (pip,) = environment["dependencies"][:-1], environment["dependencies"][-1:]
    assert [entry.split("=")[0] for entry in conda] == ["python", "pip"]
    pins = dict(entry.split("==") for entry in pip["pip"])
    assert pins == {package: LOCK[package] for package in pins}


#: Which scripts' rules name which environment.
SCRIPTS = {
    "tensorflow": ["train", "evaluate"],
    "tables": [
        *("builtin_photographs", "fetch_kodak", "unpack_test_images", "extract", "split"),
        *("evaluate_codec", "evaluate_external", "aggregate", "compare_published"),
        *("collect_curves", "export_curves"),
        *("plot", "plot_training", "compare_images", "report"),
    ],
}


def third_party(path):
    """Return the packages that a file imports, by the name they are installed by."""
    names = {
        "PIL": "pillow",
        "pillow_jxl": "pillow-jxl-plugin",
        "skimage": "scikit-image",
        "tensorboard": "tensorflow",
        "tensorflow_compression": "tensorflow-compression",
        "xdist": "pytest-xdist",
        "yaml": "pyyaml",
    }
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    modules -= set(sys.stdlib_module_names) | {"balle2017"}
    return {names.get(module, module) for module in modules}


@pytest.mark.parametrize("name", SCRIPTS)
def test_conda_environments_have_what_their_scripts_import(name):
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    pins = {entry.split("==")[0] for entry in environment["dependencies"][-1]["pip"]}
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    wanted = set()
    for script in SCRIPTS[name]:
        block = rules[rules.index(f'code=code("{script}"') :].split("\nrule ")[0]
        assert f"envs/{name}.yaml" in block, script
        path = ROOT / "scripts" / f"{script}.py"
        wanted |= set.union(*(third_party(file) for file in [path, *import_closure(path)]))
    # Read by path, and imported by altair.
    wanted |= {"scikit-image", "vl-convert-python"} if name == "tables" else set()
    assert pins == wanted


def packages(requirements):
    """Return the names of the packages that requirements ask for."""
    return {re.match(r"[\w-]+", requirement).group() for requirement in requirements}


def test_the_package_depends_on_what_coding_pictures_imports():
    wanted = set()
    for path in (PACKAGE / "interface").glob("*.py"):
        wanted |= set.union(*(third_party(file) for file in [path, *import_closure(path)]))
    assert packages(PROJECT["project"]["dependencies"]) == wanted


def test_the_workflow_has_what_all_code_imports():
    """What `uv run` installs when nobody says which groups."""
    there = packages(PROJECT["project"]["dependencies"])
    for group in PROJECT["tool"]["uv"]["default-groups"]:
        there |= packages(PROJECT["dependency-groups"][group])
    wanted = set()
    for file in (*(ROOT / "scripts").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        wanted |= third_party(file)
    ours = {path.stem for folder in ("scripts", "tests") for path in (ROOT / folder).rglob("*.py")}
    assert wanted - ours <= there


def test_the_running_environment_is_the_locked_one():
    for package in ("snakemake", "tensorflow", "tensorflow-compression", "numpy", "pillow"):
        assert importlib.metadata.version(package) == LOCK[package]


def test_the_citation_names_this_version():
    project = PROJECT["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["title"], citation["version"]) == (project["name"], project["version"])
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
