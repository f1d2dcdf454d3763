"""Which files of the package a script uses, found without running it.

Snakemake reruns a job when one of them is edited, and a model's record has their hash, so
what is missing here goes unnoticed. Names that are looked up when asked (`__getattr__` of a
package, `importlib.import_module`) are not followed.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent


def _running_imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements of a module, except those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for branch in node.orelse:
                yield from _running_imports(ast.Module([branch], []))
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _running_imports(node)  # an expression holds no statement


@functools.cache  # a module belongs to the code of many scripts
def _imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    """Return the import statements of a module's text."""
    return list(_running_imports(ast.parse(text)))


def _imported_names(path: Path, package: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports: modules, and what may be modules."""
    for node in _imports(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        base = node.module or ""
        if node.level:
            # One dot is the package that the file lies in.
            home = path.parent.relative_to(package.parent).parts
            above = home[: len(home) - node.level + 1]
            base = ".".join([*above, base] if base else above)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def imported_modules(path: Path, package: Path = PACKAGE) -> set[Path]:
    """Return the files of a package that a file imports itself, wherever in it.

    The `__init__.py` of every folder on the way to a module runs too, and is among them.
    """
    found = set()
    for name in _imported_names(path, package):
        first, *rest = name.split(".")
        if first != package.name:
            continue
        place = package
        found.add(place / "__init__.py")
        for part in rest:
            if (place / f"{part}.py").is_file():
                found.add(place / f"{part}.py")
            place /= part
            if (place / "__init__.py").is_file():
                found.add(place / "__init__.py")
            else:
                break
    return found


def import_closure(script: Path, package: Path = PACKAGE) -> list[Path]:
    """Return the files of a package that `script` imports, directly or not, sorted.

    Args:
        script: any Python file; in the package or outside of it.
        package: the folder of a package, with `__init__.py` in each of its folders.
    """
    pending = {Path(script)}
    found: set[Path] = set()
    while pending:
        new = imported_modules(pending.pop(), package) - found
        found |= new
        pending |= new
    return sorted(found)
