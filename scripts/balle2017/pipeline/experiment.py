"""Checks of the workflow's config, notes about odd settings, and command-line flags."""

import datetime
import difflib
import json
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema

from balle2017.errors import InputError
from balle2017.names import lambda_name
from balle2017.pipeline.sources import RESERVED

#: What the bounds of a JSON schema ask for, in words.
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
#: The types of a JSON schema, in words.
TYPES = {
    "null": "null",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "a map",
}
#: Keys whose values have braces: commands, which no rule has as a path.
_COMMAND = re.compile(r"evaluation\.external\.\w+\.(encode|decode)$")


def _path(error: jsonschema.ValidationError) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.path)
    return "".join(parts).lstrip(".")


def _types(names: str | list[str]) -> str:
    """Return a schema's types as a message names them."""
    words = TYPES | {"array": "a list, in brackets"}
    return " or ".join(words[name] for name in ([names] if isinstance(names, str) else names))


def _places(schema: dict) -> dict[str, str]:
    """Return the keys of a schema and of its sections, each with its full name."""
    sections = schema["properties"]
    inner = {
        key: f"{name}.{key}"
        for name, part in sections.items()
        for key in part.get("properties", {})
    }
    return inner | {name: name for name in sections}


def _sentence(error: jsonschema.ValidationError) -> str:
    """Say what is wrong with one key and what is allowed."""
    key, value, rule = _path(error), error.instance, error.validator_value
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        # YAML has keys of other types too.
        unknown = min(str(name) for name in set(value) - set(known))
        places = _places(error.schema)
        close = difflib.get_close_matches(unknown, places, 1)
        hint = f"did you mean {places[close[0]]}? " if close else ""
        name = f"{key}.{unknown}".lstrip(".")
        return f"{name} is not a config key; {hint}allowed: {', '.join(known)}"
    if error.validator == "required":
        lacks = next(name for name in rule if name not in value)
        return f"{key}.{lacks} must be given".lstrip(".")
    shown = json.dumps(value, default=str)
    if error.validator in BOUNDS:
        return f"{key} is {shown}; it must be {BOUNDS[error.validator].format(rule)}"
    allowed = {
        "type": lambda: error.schema.get("x-allowed", _types(rule)),
        "enum": lambda: f"one of {', '.join(map(str, rule))}",
        "minItems": lambda: f"a list of at least {rule}",
        "minLength": lambda: "non-empty",
        "maxItems": lambda: f"a list of at most {rule}",
        "uniqueItems": lambda: "free of repeated values",
        "pattern": lambda: error.schema.get("x-allowed", f"like {rule}"),
        "anyOf": lambda: error.schema.get("x-allowed", "of another form"),
    }.get(error.validator)
    return f"{key} is {shown}; it must be {allowed() if allowed else error.message}"


def _parse(text: str, types: list[str]) -> Any:
    """Return the value of one of `types` that a string stands for, or the string."""
    words = {"true": ("boolean", True), "false": ("boolean", False), "null": ("null", None)}
    kind, value = words.get(text.lower(), ("", None))
    if kind in types:
        return value
    for kind, convert in (("integer", int), ("number", int), ("number", float)):
        if kind in types:
            try:
                return convert(text)
            except ValueError:
                continue
    return text


def convert_strings(value: Any, schema: dict) -> Any:
    """Return a config in which strings that should be numbers are numbers.

    Values inside lists and maps on Snakemake's command line arrive as strings
    (--config lambdas=[0.01]), and so does 1e-4 from a YAML file; a name of digits
    arrives as a number. Keys become strings.
    """
    if isinstance(value, dict):
        entries, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
        # Lambdas are keys too, and JSON has only strings for those.
        return {
            str(key): convert_strings(item, entries.get(key, others)) for key, item in value.items()
        }
    if isinstance(value, list):
        return [convert_strings(item, schema.get("items", {})) for item in value]
    types = schema.get("type", "string")
    types = [types] if isinstance(types, str) else types
    if "type" in schema and "string" in types and isinstance(value, int | float | datetime.date):
        # --config experiment=2024, and experiment: 2024-05-01 in a YAML file
        return value if isinstance(value, bool) else str(value)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)
    return _parse(value, types) if isinstance(value, str) and "string" not in types else value


def _values(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every single value of a config with its key."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _values(item, f"{key}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _values(item, key)
    else:
        yield key, value


def check_config(config: dict, schema: dict) -> None:
    """Check a config against its schema, and for mistakes that a schema cannot express.

    Raises:
        InputError: in one sentence, the key that is wrong and what is allowed.
    """
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=_path)
    if errors:
        raise InputError(f"config: {_sentence(errors[0])}")
    for key, value in _values(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"config: {key} has {value}; it must be finite")
        if isinstance(value, str) and not {"{", "}"}.isdisjoint(value) and not _COMMAND.match(key):
            raise InputError(
                f"config: {key} is {value}; Snakemake reads braces as wildcards, so rename it, or "
                "give a link to it without braces"
            )
    if config.get("experiment") in RESERVED:
        raise InputError(
            f"config: experiment is {config['experiment']}, which is the name of a shared folder "
            "in results/; choose another name"
        )
    names = [lambda_name(value) for value in config.get("lambdas", [])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"config: lambdas has {twice} twice; it must be free of repeated values")
    downscale = config.get("data", {}).get("downscale")
    if downscale and downscale[0] > downscale[1]:
        raise InputError(
            f"config: data.downscale is {downscale}; it must be two factors, the smaller one first"
        )
    patch = config.get("training", {}).get("patch_size")
    smallest = config.get("data", {}).get("min_size")
    if patch and smallest and smallest < patch:
        raise InputError(
            f"config: data.min_size is {smallest}; it must be at least training.patch_size, which "
            f"is {patch}; raise one or lower the other"
        )


def flags(settings: dict[str, Any]) -> str:
    """Return settings as the flags of a script for the shell, sorted; None leaves one out."""
    words = []
    for key, value in sorted(settings.items()):
        if isinstance(value, bool):
            words.append(f"--{key}" if value else f"--no-{key}")
        elif isinstance(value, list):
            words.append(f"--{key} {shlex.join(map(str, value))}")
        elif value is not None:
            words.append(f"--{key} {shlex.quote(str(value))}")
    return " ".join(words)


#: Beyond these, rates lie far outside of published curves.
USUAL_LAMBDAS = (0.0005, 0.5)
_JPEG = frozenset([".jfif", ".jpeg", ".jpg"])


def advice(config: dict[str, Any], test_images: list[Path]) -> list[str]:
    """Return one sentence for each setting that may be a mistake.

    Args:
        config: a checked config.
        test_images: files of the test set; those that are not there yet are missing.
    """
    low, high = USUAL_LAMBDAS
    odd = [f"{value:g}" for value in config["lambdas"] if not low <= value <= high]
    jpegs = [path for path in test_images if path.suffix.lower() in _JPEG]
    lines = []
    if odd:
        lines.append(
            f"lambdas has {', '.join(odd)}; usual values are {low} to {high}, because the loss is "
            "bits per pixel + lambda * MSE with pixels from 0 to 255"
        )
    if jpegs:
        lines.append(
            f"{len(jpegs)} of the {len(test_images)} test images are JPEG files; JPEG codes these "
            "again at almost no cost, so the comparison with JPEG says little"
        )
    return [f"note: {line}" for line in lines]
