"""What a model's record says about its making."""

import shutil

import pytest
from balle2017 import closure
from balle2017.training import provenance
from balle2017.training.provenance import code_sha256


def test_the_hash_of_code_covers_the_module_and_what_it_imports(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import balle2017.files\n")
    first = code_sha256(module)
    module.write_text("import balle2017.files  # edited\n")
    edited = code_sha256(module)
    module.write_text("import balle2017.files, balle2017.grid\n")
    assert len({first, edited, code_sha256(module)}) == 3


@pytest.mark.parametrize("change", ["edit", "move"])
def test_the_hash_of_code_covers_modules_in_folders(tmp_path, monkeypatch, change):
    package = tmp_path / "toy"
    for name in ("__init__.py", "one/__init__.py", "one/leaf.py", "two/__init__.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    follow = closure.import_closure
    monkeypatch.setattr(provenance, "PACKAGE", package)
    monkeypatch.setattr(provenance, "import_closure", lambda path: follow(path, package))
    module = tmp_path / "module.py"
    module.write_text("from toy.one import leaf\nfrom toy.two import leaf\n")
    before = code_sha256(module)
    if change == "edit":
        (package / "one" / "leaf.py").write_text("# edited\n")
    else:
        shutil.move(package / "one" / "leaf.py", package / "two" / "leaf.py")
    assert code_sha256(module) != before
