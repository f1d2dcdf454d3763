"""Settings as dataclasses: their names, defaults, bounds and help in one place.

Each field is an `option`; `check` holds the values to the bounds, and the flags of a
command line are made from the class.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from balle2017.errors import InputError

Settings = TypeVar("Settings")

#: Most threads that can be asked for: a slip of the keyboard may take all memory.
MAX_THREADS = 1024


def check_threads(threads: int) -> None:
    """Refuse a number of threads that a Python program asks for, as the flags refuse it.

    Raises:
        ValueError: it is less than 1 or more than `MAX_THREADS`.
    """
    if not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads is {threads}; it must be 1 to {MAX_THREADS}")


def option(default: Any, text: str, **extra: Any) -> Any:
    """Return a field of a dataclass of settings.

    Args:
        default: its default value.
        text: the help of its flag, as argparse takes it.
        extra: bounds (`min`, `max`, `above`, `below`, `multiple`, `choices`), and the
            `metavar` of its flag.
    """
    return dataclasses.field(default=default, metadata={"help": text, **extra})


def check(settings: Any) -> None:
    """Check every value of a dataclass of options against its bounds.

    Raises:
        InputError: one is out of its range; the message names the key.
    """
    for item in dataclasses.fields(settings):
        problem = _problem(item, getattr(settings, item.name))
        if problem:
            raise InputError(problem)


def _problem(item: dataclasses.Field, value: Any) -> str:
    """Return what is wrong with a setting's value, in a sentence, or nothing."""
    if value is None:
        return "" if item.default is None else f"{item.name} must be given"
    values = value if isinstance(value, tuple) else (value,)
    problems = (_bound(item.metadata, number) for number in values)
    wanted = next((problem for problem in problems if problem), "")
    shown = " ".join(map(str, values)) if not isinstance(value, str) else repr(value)
    return f"{item.name} is {shown}; it must be {wanted}" if wanted else ""


def _bound(bounds: Any, value: Any) -> str:
    """Return the bound that a value does not keep, in words, or nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return "finite"
    if "min" in bounds and value < bounds["min"]:
        return f"at least {bounds['min']}"
    if "max" in bounds and value > bounds["max"]:
        return f"at most {bounds['max']}"
    if "above" in bounds and value <= bounds["above"]:
        return f"more than {bounds['above']}"
    if "below" in bounds and value >= bounds["below"]:
        return f"less than {bounds['below']}"
    if "multiple" in bounds and value % bounds["multiple"]:
        return f"a multiple of {bounds['multiple']}"
    if "choices" in bounds and value not in bounds["choices"]:
        return f"one of {', '.join(bounds['choices'])}"
    return ""


def _type(hint: Any) -> tuple[Any, ...]:
    """Return the type of a value, followed by NoneType if the value may be None."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _optional(number: type) -> Callable[[str], Any]:
    """Return a converter that also takes "none"."""

    def convert(text: str) -> Any:
        return None if text.lower() == "none" else number(text)

    # argparse names the type in its error.
    convert.__name__ = f"{number.__name__} or none"
    return convert


def add_arguments(parser: argparse.ArgumentParser, settings: type, title: str) -> None:
    """Give `parser` a group of flags with this title, one for every option of the class.

    Fields that are not options have no flag.
    """
    group = parser.add_argument_group(title)
    types = get_type_hints(settings)
    for item in dataclasses.fields(settings):
        if "help" not in item.metadata:
            continue
        arguments: dict[str, Any] = {"default": item.default, "help": item.metadata["help"]}
        if isinstance(item.default, bool):
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            kind, *none = _type(types[item.name])
            arguments["choices"] = item.metadata.get("choices")
            metavar = item.metadata.get("metavar", "F" if kind is float else "N")
            arguments["metavar"] = None if arguments["choices"] else metavar
            if get_origin(kind) is tuple:
                # Without the flag it is the default; there is no other way to ask for none.
                inner, *others = get_args(kind)
                arguments["type"] = inner
                arguments["nargs"] = "*" if Ellipsis in others else 1 + len(others)
            else:
                arguments["type"] = _optional(kind) if none else kind
        group.add_argument(f"--{item.name}", **arguments)


def from_arguments(settings: type[Settings], args: argparse.Namespace, **others: Any) -> Settings:
    """Build settings from parsed arguments, and from `others` what has no flag.

    Raises:
        InputError: a value is out of its range.
    """
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    names = [item.name for item in fields if "help" in item.metadata]
    values = {name: getattr(args, name) for name in names}
    # argparse makes lists of several words.
    tuples = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return settings(**values | tuples | others)
