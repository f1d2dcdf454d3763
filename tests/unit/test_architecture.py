"""The package is built as docs/architecture.md draws it."""

import ast
import graphlib
import itertools
import re

import pytest
from helpers import ROOT

PACKAGE = ROOT / "scripts" / "balle2017"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(module):
    """The modules of the package that one of them imports, at its top or later."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("balle2017"):
            _, _, name = node.module.partition(".")
            found |= {name} if name else {alias.name for alias in node.names}
    return found & set(MODULES)


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
    for path in (*PACKAGE.glob("*.py"), *(ROOT / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not scripts & set(names), path
