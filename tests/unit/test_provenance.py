"""What a model's record says about its making."""

from balle2017.provenance import code_sha256


def test_the_hash_of_code_covers_the_module_and_what_it_imports(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import balle2017.files\n")
    first = code_sha256(module)
    module.write_text("import balle2017.files  # edited\n")
    edited = code_sha256(module)
    module.write_text("import balle2017.files, balle2017.grid\n")
    assert len({first, edited, code_sha256(module)}) == 3
