"""Which files of the package a script uses, found without running it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent


def _imported_modules(path: Path) -> set[Path]:
    """Return the package's own files that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            first, *rest = name.split(".")
            if first != PACKAGE.name:
                continue
            found.add(PACKAGE / "__init__.py")
            if rest and (PACKAGE / f"{rest[0]}.py").is_file():
                found.add(PACKAGE / f"{rest[0]}.py")
    return found


def import_closure(script: Path) -> list[Path]:
    """Return the package files that `script` imports, directly or not, sorted."""
    pending = {Path(script)}
    found: set[Path] = set()
    while pending:
        new = _imported_modules(pending.pop()) - found
        found |= new
        pending |= new
    return sorted(found)
