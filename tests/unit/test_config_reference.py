"""docs/config.md says what the schema says."""

import yaml
from balle2017.pipeline.config_reference import allowed_values, config_reference
from helpers import ROOT

SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text(encoding="utf-8"))


def test_the_page_is_the_one_of_this_schema():
    shipped = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    assert page == config_reference(SCHEMA, shipped), "run scripts/describe_config.py"


def test_keys_bounds_and_defaults_are_told():
    number = {"type": ["number", "null"], "exclusiveMinimum": 0, "description": "A.", "default": 2}
    section = {"type": "object", "description": "Part.", "properties": {"key": number}}
    page = config_reference({"properties": {"part": section}}, {"part": {"key": 3}})
    assert "## part\n\nPart.\n" in page
    assert "| `key` | A. | null, or a number, more than 0 | `2` | `3` |" in page
    pair = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "number"}}
    assert allowed_values(pair) == "a list of 2 numbers"
