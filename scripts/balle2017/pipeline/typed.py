"""The config as it was typed, before YAML and the command line turn names into numbers."""

import argparse
import collections
import contextlib
import datetime
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from balle2017.errors import InputError


class _Loader(yaml.BaseLoader):
    """Reads every value as text, and refuses a key that is given twice."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    _refuse_repeated(keys, node.start_mark.name)
    mapping = loader.construct_mapping(node, deep=True)
    # The merge key of YAML: maps that this one is laid over, the first of them on top.
    merged = mapping.pop("<<", [])
    for part in merged if isinstance(merged, list) else [merged]:
        mapping = (part if isinstance(part, dict) else {}) | mapping
    return mapping


def _refuse_repeated(keys: Iterable[Any], file: str) -> None:
    for key, times in collections.Counter(map(str, keys)).items():
        if times > 1:
            raise InputError(
                f"config: {file} has the key {key} twice, and Snakemake ignores the first; remove "
                "one"
            )


def _read(file: Path) -> Any:
    """Read a file with every value as text: as JSON if it is that, as Snakemake does."""

    def mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _refuse_repeated((key for key, _ in pairs), str(file))
        return dict(pairs)

    text = file.read_text(encoding="utf-8")
    try:
        return json.loads(text, object_pairs_hook=mapping, parse_int=str, parse_float=str)
    except ValueError:
        stream = io.StringIO(text)
        stream.name = str(file)
        return yaml.load(stream, _Loader)


_Loader.add_constructor(yaml.BaseLoader.DEFAULT_MAPPING_TAG, _mapping)


def _merge(target: dict[str, Any], change: Mapping[str, Any]) -> None:
    """Lay a config over another, as Snakemake does: maps are merged, all else is replaced."""
    for key, value in change.items():
        if isinstance(value, Mapping):
            inner = target.get(key)
            target[key] = dict(inner) if isinstance(inner, Mapping) else {}
            _merge(target[key], value)
        else:
            target[key] = value


def read_typed(
    files: Iterable[Path], entries: Iterable[str], profile: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a config in which every value is the text that was typed.

    Args:
        files: YAML or JSON files, each laid over those before it.
        entries: KEY=VALUE of the command line, laid over the files.
        profile: the map `config` of a profile, of which Snakemake made the entries.

    Raises:
        InputError: a key is given twice in one file or on the command line.
    """
    typed: dict[str, Any] = {}
    for file in files:
        try:
            content = _read(Path(file))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue  # Snakemake says what is wrong with it
        _merge(typed, content if isinstance(content, Mapping) else {})
    given: set[str] = set()
    for entry in entries:
        key, _, text = entry.partition("=")
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError:
            value = text
        if key in given and not isinstance(value, Mapping):
            raise InputError(
                f"config: {key} is given twice on the command line, and Snakemake ignores the "
                "first; remove one"
            )
        given.add(key)
        _merge(typed, {key: value})
    _merge(typed, profile or {})
    return typed


def _alternatives(schema: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    """Return the parts of a schema that allow a type."""
    found = []
    for part in schema.get("anyOf", [schema]):
        types = part.get("type", [])
        if kind in ([types] if isinstance(types, str) else types):
            found.append(part)
    return found


def keep_texts(value: Any, typed: Any, schema: Mapping[str, Any]) -> Any:
    """Return a config whose texts are as they were typed.

    YAML reads 1.10, 2024_05_01, 010, 1e3, 1:30, yes and 2024-05-01 as numbers, booleans and
    dates, and so does Snakemake on the command line. Where the schema allows only a text, the
    value is the text as typed; `null` stays None where the schema allows null.

    Args:
        value: the config, or a part of it.
        typed: the same part of what `read_typed` returned.
        schema: of the part.
    """
    if isinstance(value, Mapping):
        entries, others = schema.get("properties", {}), schema.get("additionalProperties") or {}
        texts = typed if isinstance(typed, Mapping) else {}
        return {
            key: keep_texts(item, texts.get(str(key)), entries.get(str(key), others))
            for key, item in value.items()
        }
    if isinstance(value, list):
        part = next(iter(_alternatives(schema, "array")), {})
        same = isinstance(typed, list) and len(typed) == len(value)
        pairs = zip(value, typed if same else [None] * len(value), strict=True)
        return [keep_texts(item, text, part.get("items", {})) for item, text in pairs]
    if not _alternatives(schema, "string"):
        return value
    if value == "null" and _alternatives(schema, "null"):
        return None
    # A number in a map of a profile arrives as the text of another.
    changed = isinstance(value, bool | int | float | str | datetime.date)
    return typed if changed and isinstance(typed, str) and _means(typed, value) else value


def _means(typed: str, value: Any) -> bool:
    """Tell whether Snakemake may have read a text as a value, on the command line or in a file."""
    readings: list[Any] = [typed, typed.capitalize()]
    for read in (int, float, yaml.safe_load):
        with contextlib.suppress(ValueError, yaml.YAMLError):
            readings.append(read(typed))
    return str(value) in map(str, readings)


class _Count(argparse.Action):
    """Counts how often a flag is given, under its own name."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        setattr(
            namespace, self.option_strings[0], 1 + getattr(namespace, self.option_strings[0], 0)
        )


def repeated_flag(parser: argparse.ArgumentParser, argv: Sequence[str]) -> str | None:
    """Return the first of the flags `--config` and `--configfile` that is given twice, or None.

    Snakemake uses only the last of them.

    Args:
        parser: Snakemake's; it knows all spellings and abbreviations. It is used up.
        argv: the command line, without the program.
    """
    given = _count(parser, argv)
    return next((flag for flag in _FLAGS if given[flag] > 1), None)


# The flags that hold the config; a profile has the same keys without the dashes.
_FLAGS = ("--config", "--configfile")


def _count(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, int]:
    """Return how often each flag of the config is given."""
    for action in parser._actions:
        if action.option_strings and action.option_strings[0] in _FLAGS:
            action.__class__ = _Count
    given, _ = parser.parse_known_args(list(argv))
    return {flag: getattr(given, flag, 0) for flag in _FLAGS}


def profile_files(
    parser: argparse.ArgumentParser,
    argv: Sequence[str],
    find: Callable[[str], tuple[Path, Path] | None],
    workflow: Path,
) -> list[Path]:
    """Return the files of the profiles that Snakemake reads: its defaults for the command line.

    Args:
        parser: Snakemake's.
        argv: the command line, without the program.
        find: Snakemake's search for a profile: its folder and its file.
        workflow: folder of the Snakefile.
    """
    given, _ = parser.parse_known_args(list(argv))
    profiles = [] if given.profile in (None, ["none"]) else list(given.profile)
    if given.workflow_profile != "none":
        own = Path(given.workflow_profile or "default")
        places = (own, Path("profiles") / own, workflow / "profiles" / own)
        profiles += [str(place) for place in places if place.exists()][:1]
    return [entry[1] for entry in map(find, profiles) if entry is not None]


def read_profile(file: Path) -> dict[str, Any]:
    """Return a profile's entries for the config, as text; none if it is not a YAML map."""
    try:
        with open(file, encoding="utf-8") as stream:
            content = yaml.load(stream, yaml.BaseLoader)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    entries = content.items() if isinstance(content, Mapping) else ()
    flags = {"configfiles": "--configfile"} | {flag.strip("-"): flag for flag in _FLAGS}
    return {flags[key]: value for key, value in entries if key in flags}


def check_places(
    parser: argparse.ArgumentParser, argv: Sequence[str], profiles: Mapping[Path, Mapping]
) -> None:
    """Check that each flag of the config is in one place, because Snakemake reads only one.

    Args:
        parser: Snakemake's; it is used up.
        argv: the command line, without the program.
        profiles: what `read_profile` returned, by file.

    Raises:
        InputError: a flag is given on the command line and in a profile, or in two profiles.
    """
    given = _count(parser, argv)
    for flag in _FLAGS:
        places = ["on the command line"] if given[flag] else []
        places += [
            f"in the profile {file}" for file, entries in profiles.items() if flag in entries
        ]
        if len(places) > 1:
            raise InputError(
                f"{flag.strip('-')} is given {' and '.join(places)}, and Snakemake ignores one of "
                "them; put everything in one place"
            )
