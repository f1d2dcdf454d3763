"""The package for others: built, installed with plain pip, and used in an empty folder."""

import email
import os
import re
import shlex
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.data.builtin import write_test_images
from balle2017.interface.choice import measure_psnr
from balle2017.model.find import PRETRAINED
from helpers import ROOT, make_picture
from PIL import Image

pytestmark = pytest.mark.slow  # 4 minutes, half a gigabyte to download, 2 GB on the disk

PIXELS = make_picture(8, 150, 200)

PYTHON = """
import balle2017
import numpy as np
from PIL import Image

pixels = np.asarray(Image.open("photo.png"))
codec = balle2017.open_codec(0.013)
data = codec.compress(pixels)
back = codec.decompress(data)

open("python.b17", "wb").write(data)
Image.fromarray(back).save("python.png")
print(balle2017.__file__)
"""

PILLOW = """
import balle2017.pillow
from PIL import Image

Image.open("photo.b17").save("pillow.png")
Image.open("photo.png").save("pillow.b17", lambda_rd=0.013)
"""


def run(*command, folder, status=0):
    """Run a program as somebody would who has no clone; return what it printed."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in ours},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `uv build` makes, by way of the archive of sources."""
    folder = tmp_path_factory.mktemp("dist")
    run("uv", "build", "--quiet", "--out-dir", folder, folder=ROOT)
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel):
    """The folder of programs of an environment in which only the wheel is installed."""
    # Not where pytest keeps the folders of three runs.
    with tempfile.TemporaryDirectory(prefix="balle2017-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
        programs = folder / "venv" / "bin"
        run(programs / "pip", "install", "--quiet", wheel, folder=folder)
        run(programs / "pip", "check", folder=folder)
        yield programs


def files_below(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_has_the_package_and_the_models_and_no_more(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        for name in files_below(PRETRAINED):
            member = archive.read(f"balle2017/pretrained/{name}")
            assert member == (PRETRAINED / name).read_bytes(), name
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        requirements = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist")
    package = {f"balle2017/{name}" for name in files_below(ROOT / "scripts" / "balle2017")}
    assert names == package | {f"balle2017/pretrained/{name}" for name in files_below(PRETRAINED)}
    assert "balle2017/py.typed" in names
    assert not [name for name in requirements if "snakemake" in name or "pandas" in name]


def test_the_codec_works_where_only_the_wheel_is_installed(programs, tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    program = programs / "balle2017"
    output = run(program, "compress", "photo.png", "photo.b17", folder=tmp_path)
    data = (tmp_path / "photo.b17").read_bytes()
    line = f"photo.b17: {len(data)} bytes, {8 * len(data) / (150 * 200):.4f} bpp"
    assert output.splitlines()[-1] == line
    info = run(program, "info", "photo.b17", folder=tmp_path)
    assert info.startswith(line.replace(": ", ": 200x150, ") + "\n")
    assert "lambda 0.013, " in info
    run(program, "decompress", "photo.b17", "back.png", folder=tmp_path)
    run(program, "compress", "photo.png", "small.b17", "--psnr", 30, folder=tmp_path)
    place = run(programs / "python", "-c", PYTHON, folder=tmp_path)
    assert Path(place.strip()).is_relative_to(programs.parent)
    run(programs / "python", "-c", PILLOW, folder=tmp_path)
    # All as the clone has it.
    codec = Codec(PRETRAINED / "0.0130")
    expected = codec.decompress(data)
    assert codec.compress(PIXELS) == data
    for name in ("python.b17", "pillow.b17"):
        assert (tmp_path / name).read_bytes() == data, name
    for name in ("back.png", "python.png", "pillow.png"):
        np.testing.assert_array_equal(Image.open(tmp_path / name), expected, name)
    run(program, "decompress", "small.b17", "small.png", folder=tmp_path)
    assert measure_psnr(PIXELS, np.asarray(Image.open(tmp_path / "small.png"))) >= 30


def without_numbers(text):
    """Return a text whose numbers are all N, lists of them one, ids X, and paths of models …."""
    text = re.sub(r"\S*/(?=pretrained\b)", "…/", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "X", text)
    text = re.sub(r"\b\d+x\d+\b", "NxN", text)
    return re.sub(r"\d+(\.\d+)?(, \d+(\.\d+)?)*", "N", text)


def test_the_examples_of_the_guide_work(programs, tmp_path):
    page = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
    write_test_images(tmp_path / "photos")
    blocks = re.findall(r"```console\n(.*?)```", page, re.S)
    assert blocks
    for block in blocks:
        printed = ""
        for line in re.findall(r"^\$ .*\n", block, re.M):
            name, *arguments = shlex.split(line[2:])
            status = int("error:" in block)
            printed += line
            printed += run(programs / name, *arguments, folder=tmp_path, status=status)
        assert without_numbers(printed) == without_numbers(block)
    code = "".join(re.findall(r"```python\n(.*?)```", page, re.S))
    assert "open_codec" in code
    run(programs / "python", "-c", code, folder=tmp_path)
    assert Image.open(tmp_path / "small.png").size == (300, 200)


def test_the_documented_names_are_there(programs, tmp_path):
    program = "from balle2017.model import BalleEncoder; print(BalleEncoder.__name__)"
    assert run(programs / "python", "-c", program, folder=tmp_path) == "BalleEncoder\n"
