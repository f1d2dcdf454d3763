"""What counts as the code of a script, on a package with folders."""

import subprocess
import sys

import pytest
from balle2017.closure import import_closure

# A module, and what its imports must find beside the root's own __init__.py.
FILES = {
    "__init__.py": "",
    "ground.py": "",
    "inner/__init__.py": "",
    "inner/one.py": "from toy.inner.deep import leaf\n",
    "inner/two.py": "from . import one\n",
    "inner/face.py": "def __getattr__(name):\n    raise AttributeError(name)\n",
    "inner/deep/__init__.py": "import toy.ground\n",
    "inner/deep/leaf.py": "from ...inner.deep.twig import NAME\n",
    "inner/deep/twig.py": "NAME = 1\n",
    "plain/no_init.py": "",
}
GROUND = {"__init__.py", "ground.py"}
DEEP = GROUND | {f"inner/{name}" for name in ("__init__.py", "deep/__init__.py")}
LEAF = DEEP | {"inner/deep/leaf.py", "inner/deep/twig.py"}

CASES = {
    "import toy": {"__init__.py"},
    "import toy.ground as anything": GROUND,
    "from toy import ground": GROUND,
    "from toy import inner": {"__init__.py", "inner/__init__.py"},
    "import toy.inner.deep.twig": DEEP | {"inner/deep/twig.py"},
    "from toy.inner.deep import twig": DEEP | {"inner/deep/twig.py"},
    "from toy.inner.deep.twig import NAME": DEEP | {"inner/deep/twig.py"},
    "from toy.inner.deep import leaf": LEAF,
    "from toy.inner import two": LEAF | {"inner/one.py", "inner/two.py"},
    "def f():\n    from toy.inner import one": LEAF | {"inner/one.py"},
    "try:\n    import toy.ground\nexcept ImportError:\n    import toy.inner": GROUND
    | {"inner/__init__.py"},
    "match 1:\n    case 1:\n        import toy.ground": GROUND,
    "class A:\n    while True:\n        import toy.ground\n        break": GROUND,
    "import json, toy.ground": GROUND,
    "import toys.ground": set(),
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.ground": set(),
    "import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    import toy.ground": GROUND,
    "from toy.inner import face": {"__init__.py", "inner/__init__.py", "inner/face.py"},
}


@pytest.fixture
def toy(tmp_path):
    package = tmp_path / "toy"
    for name, text in FILES.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


@pytest.mark.parametrize("statement", CASES)
def test_the_closure_follows_dotted_and_relative_names(toy, statement):
    script = toy.parent / "script.py"
    script.write_text(statement + "\n")
    found = {path.relative_to(toy).as_posix() for path in import_closure(script, toy)}
    assert found == CASES[statement]


@pytest.mark.parametrize("statement", [s for s in CASES if "TYPE_CHECKING" not in s])
def test_the_closure_is_what_python_loads(toy, statement):
    listing = (
        f"import sys, importlib.util\n{statement if 'toys' not in statement else ''}\n"
        "if 'f' in globals(): f()\n"
        "for m in list(sys.modules.values()):\n"
        "    if m.__name__.split('.')[0] == 'toy': print(m.__file__)\n"
    )
    command = [sys.executable, "-c", listing]
    done = subprocess.run(command, cwd=toy.parent, capture_output=True, text=True, check=True)
    loaded = {line.removeprefix(f"{toy}/") for line in done.stdout.split()}
    branches = {"inner/__init__.py"} if "except" in statement else set()  # not taken
    assert loaded | branches == CASES[statement]
