"""The messages that docs/troubleshooting.md explains are those of the code."""

import re

import pytest
from helpers import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
OURS = PAGE.split("## Messages of this repository")[1].split("\n## ")[0]
ROWS = [line.split("|")[1] for line in OURS.splitlines() if line.startswith("|")][2:]
MESSAGES = [message for row in ROWS for message in re.findall(r"`([^`]+)`", row)]


def sources():
    """The code, with the strings that are written in several pieces put together."""
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\n\s*f?"', "", text)


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_has_the_message(message):
    text = sources()
    pieces = [piece.strip(" ;,()") for piece in message.split("…")]
    pieces = [piece for piece in pieces if len(piece) > 3]
    assert pieces
    for piece in pieces:
        assert piece in text, piece
