"""What the workflow derives from its config: checks, advice, names, command-line flags."""

import datetime
import difflib
import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from balle2017.errors import InputError
from balle2017.files import file_name, files_below, is_url, sha256_file, sha256_json, write_bytes
from balle2017.names import lambda_name, value_for

#: What the bounds of a JSON schema ask for, in words.
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
#: Folders of results/ that all experiments share.
RESERVED = ("builtin", "datasets", "kodak", "testsets")
#: Where the workflow writes, below the folder that it runs in.
OUTPUT_FOLDERS = tuple(map(Path, (".snakemake", "logs", "results", "work")))
#: The types of a JSON schema, in words.
TYPES = {
    "null": "null",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "a text",
    "array": "a list",
    "object": "a map",
}


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
        unknown = sorted(set(value) - set(known))[0]
        places = _places(error.schema)
        close = difflib.get_close_matches(unknown, places, 1)
        hint = f"did you mean {places[close[0]]}? " if close else ""
        name = f"{key}.{unknown}".lstrip(".")
        return f"{name} is not a config key; {hint}allowed: {', '.join(known)}"
    shown = json.dumps(value, default=str)
    if error.validator in BOUNDS:
        return f"{key} is {shown}; it must be {BOUNDS[error.validator].format(rule)}"
    allowed = {
        "type": lambda: error.schema.get("x-allowed", _types(rule)),
        "enum": lambda: f"one of {', '.join(map(str, rule))}",
        "minItems": lambda: f"a list of at least {rule}",
        "minLength": lambda: "given",
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
    """Check a config against its schema, and what a schema cannot say.

    Raises:
        InputError: in one sentence, the key that is wrong and what is allowed.
    """
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=_path)
    if errors:
        raise InputError(f"config: {_sentence(errors[0])}")
    for key, value in _values(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"config: {key} has {value}; it must be finite")
    if config.get("experiment") in RESERVED:
        raise InputError(
            f"config: experiment is {config['experiment']}, which is the name of another folder in "
            "results/; give another name"
        )
    names = [lambda_name(value) for value in config.get("lambdas", [])]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"config: lambdas has {twice} twice; it must be free of repeated values")
    base = (config.get("fine_tuning") or {}).get("base_lambda")
    if base is not None and lambda_name(base) not in names:
        raise InputError(f"config: fine_tuning.base_lambda is {base}; it must be one of lambdas")
    patch = config.get("training", {}).get("patch_size")
    smallest = config.get("data", {}).get("min_size")
    if patch and smallest and smallest < patch:
        raise InputError(
            f"config: data.min_size is {smallest}; it must be at least training.patch_size, which "
            f"is {patch}; raise the one or lower the other"
        )


def check_fine_tuning(config: dict) -> None:
    """Check that each model fits into that of the base lambda, which it starts from.

    Args:
        config: checked, with its defaults.

    Raises:
        InputError: one has other filters, or more latents.
    """
    if config["fine_tuning"] is None:
        return
    base = config["fine_tuning"]["base_lambda"]
    for key in ("num_filters", "num_latents"):
        setting = config["model"][key]
        if not isinstance(setting, Mapping):
            continue
        of_base = value_for(setting, base, f"model.{key}")
        for lambda_rd in config["lambdas"]:
            value = value_for(setting, lambda_rd, f"model.{key}")
            if value is None or of_base is None:
                continue
            if value > of_base or (key == "num_filters" and value != of_base):
                raise InputError(
                    f"config: model.{key} is {value} for lambda {lambda_name(lambda_rd)} and "
                    f"{of_base} for fine_tuning.base_lambda, whose model it starts from; it must "
                    f"be {'the same' if key == 'num_filters' else 'no more'}"
                )


def check_sources(sources: list[str], hashes: list[str]) -> None:
    """Check that sources exist, and that every URL has a hash.

    Raises:
        InputError: naming the config key.
    """
    if hashes and len(hashes) != len(sources):
        raise InputError(
            f"config: train_archive_sha256 has {len(hashes)} entries; it must have one for each "
            f"of the {len(sources)} in train_archive"
        )
    for source in sources:
        if is_url(source):
            if not hashes:
                raise InputError(
                    f"config: train_archive_sha256 must be given, because {source} is a URL"
                )
        elif not Path(source).exists():
            raise InputError(f"config: train_archive is {source}, which does not exist")
        elif hashes and Path(source).is_dir():
            raise InputError(
                f"config: train_archive_sha256 is given, and {source} is a folder, which has none; "
                "pack it into a tar"
            )


def dataset_name(sources: list[str], settings: dict[str, Any]) -> str:
    """Return the name of a dataset's folder: its first source and 8 digits of its settings."""
    stem = file_name(Path(sources[0]).name.split(".")[0])
    return f"{stem}-{sha256_json([sources, settings])[:8]}"


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


def record_sources(paths: list[Path], folder: Path, urls: Mapping[str, str] | None = None) -> Path:
    """Write the SHA-256 of files, and of all files below folders, to a small record.

    What the workflow itself writes below them (`OUTPUT_FOLDERS`) is passed over.

    Snakemake compares files of more than a megabyte by time only, so the record
    stands for them: it is rewritten only when content changes. Hashes are kept
    beside it with each file's size and time, so nothing is hashed twice.

    Args:
        paths: files and folders.
        folder: where records are kept.
        urls: addresses and the SHA-256 of what they hold.

    Returns:
        The record's path, in the format of sha256sum.

    Raises:
        InputError: a path does not exist or may not be read.
    """
    files: list[Path] = []
    urls = urls or {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
        found = files_below(path, OUTPUT_FOLDERS) if path.is_dir() else [path]
        files += sorted(entry for entry in found if entry.is_file())
    names = [*map(str, paths), *urls]
    record = folder / f"{sha256_json(names)[:16]}.sha256"
    cache_path = record.with_suffix(".json")
    try:
        cache = json.loads(cache_path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        cache = {}
    known = {}
    for file in files:
        status = file.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        entry = cache.get(str(file))
        try:
            digest = entry[1] if entry and entry[0] == stamp else sha256_file(file)
        except PermissionError:
            raise InputError(f"{file} may not be read; change its permissions or move it") from None
        known[str(file)] = [stamp, digest]
    if known != cache:
        write_bytes(cache_path, json.dumps(known).encode())
    digests = {name: digest for name, (_, digest) in known.items()} | dict(urls)
    # A file's name may be no UTF-8.
    content = os.fsencode("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    if not record.is_file() or record.read_bytes() != content:
        write_bytes(record, content)
    return record


#: Beyond these, rates lie far outside of published curves.
USUAL_LAMBDAS = (0.0005, 0.5)
_JPEG = frozenset([".jfif", ".jpeg", ".jpg"])


def advice(config: dict[str, Any], test_images: list[Path]) -> list[str]:
    """Return one sentence for each setting that seems odd.

    Args:
        config: a checked config.
        test_images: files of the test set, as far as they are there already.
    """
    low, high = USUAL_LAMBDAS
    odd = [f"{value:g}" for value in config["lambdas"] if not low <= value <= high]
    jpegs = [path for path in test_images if path.suffix.lower() in _JPEG]
    lines = []
    if odd:
        lines.append(
            f"lambdas has {', '.join(odd)}, usual are {low} to {high}: the loss is bits per pixel "
            "+ lambda * MSE, with pixels from 0 to 255"
        )
    if jpegs:
        lines.append(
            f"{len(jpegs)} of the {len(test_images)} test images are JPEG files: JPEG codes these "
            "again almost for nothing, so the comparison with it says little"
        )
    return [f"note: {line}" for line in lines]
