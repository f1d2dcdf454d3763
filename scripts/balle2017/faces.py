"""The documented names of the package, imported only when somebody uses one.

Names such as `balle2017.data.extract_tar` are looked up on access. An import statement in a
package's `__init__.py` would run with every module of that room, load what is heavy, and put
all of it into the code that each rule depends on. For the same reason, nothing inside the
package imports a name from a face.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lookup(face: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module that offers names of other modules.

    Args:
        face: the module's own name, for its error message.
        names: for each name the module that defines it.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes a module's
        if name not in names:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        return getattr(importlib.import_module(names[name]), name)

    return __getattr__
