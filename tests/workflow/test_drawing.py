"""The rule graph of docs/architecture.md is the one that Snakemake plans."""

import re

from helpers import ROOT


def test_the_rules_are_drawn_as_they_are(fresh):
    planned = fresh.run("--rulegraph", "mermaid-js", config="config.yaml")
    names = dict(re.findall(r"^\s+(id\d+)\[(\w+)\]$", planned, re.M))
    edges = {
        (names[first], names[second])
        for first, second in re.findall(r"^\s+(id\d+) --> (id\d+)$", planned, re.M)
    }
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = re.findall(r"```mermaid\n(.*?)```", page, re.S)[0]
    assert set(re.findall(r"^ +(\w+) --> (\w+)$", block, re.M)) == edges
