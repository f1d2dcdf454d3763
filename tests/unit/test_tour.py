"""The tour of the codec: its commands and its Python, typed as the page has them."""

import re
import subprocess
import sys

import pytest
from balle2017.data.builtin import write_test_images
from helpers import ROOT, run_script

PAGE = ROOT / "docs" / "tour.md"
NUMBER = re.compile(r"\d[\d,]*\.?\d*")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A folder as the page has it, entered."""
    monkeypatch.chdir(tmp_path)
    write_test_images(tmp_path / "photographs" / "test")
    return tmp_path


def test_the_command_prints_what_the_page_shows(photographs):
    page = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"```\n(.*?)```", page, re.DOTALL)
    command = next(line for line in shown[0].splitlines() if "scripts/tour.py" in line)
    done = run_script("tour", *command.split()[4:])
    assert (done.returncode, done.stderr) == (0, "")
    assert NUMBER.sub("#", done.stdout) == NUMBER.sub("#", shown[1])
    printed, expected = (
        [float(number.replace(",", "")) for number in NUMBER.findall(text)]
        for text in (done.stdout, shown[1])
    )
    # On another type of CPU a latent may be rounded the other way.
    assert printed == pytest.approx(expected, rel=0.01)
    drawn = sorted(path.name for path in (photographs / "tour").iterdir())
    assert drawn == sorted(re.findall(r"\(images/tour/(.*?)\)", page))
    assert drawn == sorted(path.name for path in (ROOT / "docs/images/tour").iterdir())


def test_the_python_of_the_page_does_what_it_shows(photographs):
    # In a process of its own, since it sets TensorFlow's threads.
    done = subprocess.run(
        [sys.executable, "-m", "doctest", PAGE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert PAGE.read_text(encoding="utf-8").count(">>> ") > 15


def test_models_with_few_latents_are_drawn_too(photographs, adapted_model):
    done = run_script(
        *("tour", "photographs/test/astronaut.png", "--out", "tour", "--models", adapted_model)
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((photographs / "tour").iterdir())) == len(done.stdout.split("\ntour/")) - 1
