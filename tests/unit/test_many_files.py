"""One process for many files: nothing of a file is held when it is done."""

import errno
import gc
import os
import weakref

import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.data import images
from balle2017.interface import conversion
from balle2017.interface.batch import Converted, convert_all
from balle2017.interface.family import Family
from balle2017.model import runtime
from balle2017.results import evaluation
from balle2017.results.evaluation import CodecPoint, run_evaluation
from helpers import make_picture
from PIL import Image

COUNT = 12


class Watched:
    """Passes arrays on, and knows how many are still there."""

    def __init__(self):
        self.seen = []
        self.most = 0

    def __call__(self, array):
        self.seen.append(weakref.ref(array))
        gc.collect()
        self.most = max(self.most, sum(ref() is not None for ref in self.seen))
        return array


@pytest.fixture
def folder(tmp_path):
    """Pictures of as many sizes as there are pictures."""
    path = tmp_path / "pictures"
    path.mkdir()
    for index in range(COUNT):
        picture = make_picture(index, 20 + 7 * index, 90 - 5 * index)
        Image.fromarray(picture).save(path / f"{index:02}.png")
    return path


def test_compressing_holds_no_picture(small_model, folder, tmp_path, monkeypatch):
    pixels, decoded = Watched(), Watched()
    monkeypatch.setattr(conversion, "read_image", lambda path: pixels(images.read_image(path)))
    decompress = Codec.decompress
    monkeypatch.setattr(Codec, "decompress", lambda self, data: decoded(decompress(self, data)))
    monkeypatch.setattr(runtime, "configure", lambda *arguments, **options: None)
    parser = conversion.argparse.ArgumentParser()
    conversion.add_compress_arguments(parser)
    args = parser.parse_args(["--model", str(small_model), "--bpp", "1000"])
    conversion.compress_files([folder], tmp_path / "out", args)
    assert len(list((tmp_path / "out").glob("*.b17"))) == COUNT
    assert (len(pixels.seen), len(decoded.seen)) == (COUNT, COUNT)
    # The one before is there until the next is read.
    assert pixels.most <= 2
    assert decoded.most <= 2


def test_evaluating_holds_no_picture(folder, tmp_path, monkeypatch):
    pixels, decoded = Watched(), Watched()
    monkeypatch.setattr(evaluation, "read_image", lambda path: pixels(images.read_image(path)))

    def decode(data):
        height, width = np.frombuffer(data, np.uint16)
        return decoded(np.zeros((height, width, 3), np.uint8))

    point = CodecPoint(
        {"codec": "none", "point": 1.0},
        lambda array: (np.array(array.shape[:2], np.uint16).tobytes(), None),
        decode,
        ".bin",
        tmp_path / "out",
        keep_reconstructions=True,
    )
    run_evaluation(folder, [point])
    assert len(pixels.seen) == COUNT
    assert pixels.most <= 2
    assert decoded.most <= 2


def test_converting_holds_no_result():
    class Line(str):
        """A text that can be watched."""

    lines = Watched()
    convert_all(
        [(index, index) for index in range(COUNT)],
        lambda source, target: Converted(lines(Line(source)), 1, 1),
    )
    assert len(lines.seen) == COUNT
    assert lines.most <= 2


def test_a_family_loads_each_model_once(small_model, monkeypatch):
    loaded = []
    original = Codec.__init__

    def counting(self, *arguments):
        loaded.append(arguments[0])
        original(self, *arguments)

    monkeypatch.setattr(Codec, "__init__", counting)
    family = Family(small_model)
    for seed in range(4):
        family.decompress(family.compress(make_picture(seed), bpp=1000).data)
    assert loaded == [small_model]


def test_a_full_disk_is_named(tmp_path):
    def convert(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'b'}'"):
        convert_all([(tmp_path / "a", tmp_path / "b")], convert)
