"""Reasons are codes; their sentences name the details."""

import string

import pytest
from balle2017.data.reasons import BadImageError, Reason, Refusal, Status, refuse

DETAILS = {"share": 0.5, "deviation": 1.0}


@pytest.mark.parametrize("reason", Reason)
def test_every_sentence_can_be_made_and_tells_its_details(reason):
    names = [name for _, name, _, _ in string.Formatter().parse(reason.sentence) if name]
    details = {name: DETAILS.get(name, f"<{name}>") for name in names}
    sentence = str(Refusal(reason, details))
    assert "{" not in sentence
    assert all(f"<{name}>" in sentence for name in set(names) - DETAILS.keys())
    assert reason.status != Status.ACCEPTED


def test_details_are_never_templates():
    assert str(Refusal(Reason.DUPLICATE, {"name": "{0}{x}%s"})) == "duplicate of {0}{x}%s"


def test_headings_tell_the_reasons_apart():
    assert len({reason.heading for reason in Reason}) == len(Reason)


def test_an_error_carries_its_code_and_says_where():
    error = refuse(Reason.NOT_AN_IMAGE)
    assert (error.refusal.reason, str(error)) == (Reason.NOT_AN_IMAGE, "not an image")
    assert str(BadImageError(error.refusal, "a.png")) == "a.png: not an image"
