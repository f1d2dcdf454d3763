"""The reference of the config keys, made from the schema that checks them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from balle2017.pipeline.experiment import BOUNDS, TYPES

_TITLE = """# Settings

This page lists every setting of the workflow. Change settings for one run on the command line, as
in `uv run snakemake --cores all --config experiment=mine 'training={epochs: 8}'`, or keep them in a
file of your own and name it with `--configfile` ([commands.md](commands.md) says more).

`config.yaml` always applies. A file that you name with `--configfile`, your own or one of
`experiments/`, overrides it, and `--config` overrides both. A key that none of them sets has the
value in the column *default*.

This page is generated from `workflow/schemas/config.schema.yaml`, which also serves to check the
settings. To write it again, run `uv run python scripts/describe_config.py`.
"""


def allowed_values(schema: Mapping[str, Any]) -> str:
    """Return in words the values that this part of a JSON schema allows."""
    if "x-allowed" in schema:
        return schema["x-allowed"]
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    null = "null, or " if "null" in kinds else ""
    text = null + " or ".join(TYPES[kind] for kind in kinds if kind != "null")
    if "items" in schema:
        size = schema.get("minItems")
        count = f"{size} " if size is not None and size == schema.get("maxItems") else ""
        text = text.replace(TYPES["array"], f"a list of {count}numbers")
        schema = schema["items"]
        each = "each "
    else:
        each = ""
    bounds = [words.format(schema[name]) for name, words in BOUNDS.items() if name in schema]
    return f"{text}, {each}{', '.join(bounds)}" if bounds else text


def config_reference(schema: Mapping[str, Any], shipped: Mapping[str, Any]) -> str:
    """Return the page that describes every key, in Markdown.

    Args:
        schema: the JSON schema of the config; keys with properties of their own are sections.
        shipped: the content of config.yaml.
    """
    sections = {name: part for name, part in schema["properties"].items() if "properties" in part}
    plain = {name: part for name, part in schema["properties"].items() if name not in sections}
    lines = [_TITLE, *_table(plain, shipped)]
    for name, part in sections.items():
        lines += ["", f"## {name}", "", part["description"], ""]
        lines += _table(part["properties"], shipped.get(name, {}))
    return "\n".join(lines) + "\n"


def _table(keys: Mapping[str, Any], shipped: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a section's table."""
    yield "| key | what it is | allowed | default | config.yaml |"
    yield "|---|---|---|---|---|"
    for name, schema in keys.items():
        missing = schema.get("x-default", "must be given")
        default = _code(schema["default"]) if "default" in schema else missing
        here = _code(shipped[name]) if name in shipped else ""
        cells = [f"`{name}`", schema["description"], allowed_values(schema), default, here]
        yield f"| {' | '.join(cells)} |"


def _code(value: Any) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
