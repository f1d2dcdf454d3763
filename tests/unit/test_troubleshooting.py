"""The messages that docs/troubleshooting.md explains are those of the code."""

import re

import pytest
from helpers import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
NOT_OURS = ("Find out what went wrong", "Messages of other programs", "Surprises")
SECTIONS = dict(part.split("\n", 1) for part in PAGE.split("\n## ")[1:])
OURS = [
    line for title in SECTIONS if title not in NOT_OURS for line in SECTIONS[title].splitlines()
]
ROWS = [line.split("|")[1] for line in OURS if line.startswith("|")]
MESSAGES = [message for row in ROWS for message in re.findall(r"`([^`]+)`", row)]


def sources():
    """The code, with the strings that are written in several pieces put together."""
    files = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r'"\n\s*f?"', "", text)


def test_the_page_has_the_sections_that_are_not_ours():
    assert set(NOT_OURS) < SECTIONS.keys()


@pytest.mark.parametrize("message", MESSAGES)
def test_the_code_has_the_message(message):
    text = sources()
    pieces = [piece.strip(" ;,()") for piece in message.split("…")]
    pieces = [piece for piece in pieces if len(piece) > 3]
    assert pieces
    for piece in pieces:
        assert piece in text, piece
