"""Our figures look as we want them; matplotlib stays as its user has it."""

import subprocess
import sys

import matplotlib as mpl
import pytest
from balle2017.results.style import drawing, save_figure
from helpers import ROOT
from matplotlib.figure import Figure

PROGRAM = """
import matplotlib
before = dict(matplotlib.rcParams)
from balle2017.results import comparison, plotting, publication, report, tour, training_curves
assert dict(matplotlib.rcParams) == before
"""


def test_an_import_changes_nothing_of_matplotlib():
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "scripts")
    assert done.returncode == 0, done.stderr


@drawing
def draw(path, text):
    figure = Figure(figsize=(2, 2), layout="constrained")
    figure.subplots().set_title(text)
    save_figure(figure, path)


def test_a_figure_leaves_the_settings_and_is_the_same_every_time(tmp_path):
    before = dict(mpl.rcParams)
    for name in ("a", "b"):
        draw(tmp_path / name, "price_$5_and_$6.png")
    assert dict(mpl.rcParams) == before
    for kind in (".png", ".svg"):
        a, b = ((tmp_path / f"{name}{kind}").read_bytes() for name in ("a", "b"))
        assert a == b
    assert "price_$5_and_$6.png" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def test_settings_come_back_after_an_error():
    before = dict(mpl.rcParams)

    @drawing
    def fail():
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    assert dict(mpl.rcParams) == before
