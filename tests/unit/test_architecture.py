"""The package is built as docs/architecture.md draws it."""

import ast
import graphlib
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


def room(module):
    """The room of a module: its folder, or the package itself."""
    return module.rpartition(".")[0] or "balle2017"


def drawing():
    """The modules of each room, and the rooms below each room, from the drawing."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    text = next(block for block in re.findall(r"```mermaid\n(.*?)```", page, re.S) if "[" in block)
    modules, names = {}, {}
    for node, name, label in re.findall(r'^ +(\w+)\["<b>(\w+)</b>[^<]*<br/>(.*)"\]$', text, re.M):
        names[node] = name
        modules[name] = sorted(module for module in re.split(r"[, ]+|<br/>", label) if module)
    below = {name: set() for name in modules}
    for upper, lower in re.findall(r"^ +(\w+) --> (\w+)$", text, re.M):
        below[names[upper]].add(names[lower])
    for name in reversed(list(graphlib.TopologicalSorter(below).static_order())):
        for other in below.values():
            if name in other:
                other |= below[name]
    return modules, below


def test_every_module_is_drawn_in_its_room():
    drawn, _ = drawing()
    there = {}
    for module in MODULES:
        there.setdefault(room(module), []).append(module.rpartition(".")[2])
    assert drawn == {name: sorted(modules) for name, modules in there.items()}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_from_its_room_and_those_below(module):
    _, below = drawing()
    allowed = {room(module)} | below[room(module)]
    assert {name for name in imports(module) if room(name) not in allowed} == set()


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_face(module):
    """A name that is looked up when asked would be missing in the closure."""
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    faces = {
        "balle2017",
        "balle2017.data",
        "balle2017.model",
        "balle2017.losses",
        "balle2017.callbacks",
    }
    taken = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in faces
        for alias in node.names
    }
    assert taken <= {f"balle2017.{name}" for name in MODULES}


def test_a_private_name_stays_in_its_room():
    for module in MODULES:
        tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                private = [alias.name for alias in node.names if alias.name.startswith("_")]
                assert not private, f"{module} imports {private} from {node.module}"


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
