"""The package is built as docs/architecture.md draws it."""

import ast
import graphlib
import itertools
import re

import pytest
from balle2017.closure import PACKAGE, imported_modules
from helpers import ROOT

MODULES = sorted(
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)


def imports(module):
    """The modules of the package that one of them imports, at its top or later."""
    paths = imported_modules(PACKAGE / f"{module.replace('.', '/')}.py")
    names = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in paths}
    return {name.replace("/", ".") for name in names} & set(MODULES)


def drawing():
    """The layer of each module, and the layers above each layer, from the drawing."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    text = next(block for block in re.findall(r"```mermaid\n(.*?)```", page, re.S) if "[" in block)
    layers, above = {}, {}
    for name, label in re.findall(r'^ +(\w+)\["<b>[^<]*</b>[^<]*<br/>(.*)"\]$', text, re.M):
        above[name] = set()
        for module in re.split(r"[, ]+|<br/>", label):
            if module:
                assert module not in layers, f"{module} is drawn twice"
                layers[module] = name
    for chain in re.findall(r"^ +(\w+(?: --> \w+)+)$", text, re.M):
        names = chain.split(" --> ")
        for upper, lower in itertools.pairwise(names):
            above[lower] |= {upper} | above[upper]
    return layers, above


def test_every_module_has_its_layer():
    layers, _ = drawing()
    assert sorted(layers) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_layer_and_those_above(module):
    layers, above = drawing()
    allowed = {layers[module]} | above[layers[module]]
    assert {name: layers[name] for name in imports(module) if layers[name] not in allowed} == {}


def test_there_are_no_circles():
    graph = {module: imports(module) for module in MODULES}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(MODULES)


def test_nothing_imports_a_script():
    scripts = {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for path in (*PACKAGE.rglob("*.py"), *(ROOT / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not scripts & set(names), path
