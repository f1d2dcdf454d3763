import os
import subprocess
import sys

import numpy as np
import pytest
from balle2017.coding.codec import Codec
from balle2017.coding.tiles import split_axis, split_plane
from balle2017.data.images import read_image
from helpers import PATIENCE_S, ROOT, make_picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image


@given(st.integers(1, 600))
def test_spans_cover_an_axis_once_with_an_overlap(length):
    spans = split_axis(length)
    covered = np.concatenate([np.arange(length)[span.given()] for span in spans])
    np.testing.assert_array_equal(covered, np.arange(length))
    for span in spans:
        seen = np.arange(length)[span.seen()]
        np.testing.assert_array_equal(seen[span.inner()], np.arange(length)[span.given()])
        assert seen[0] in (0, span.start - 2)
        assert seen[-1] in (length - 1, span.stop + 1)
        assert 1 <= span.stop - span.start <= 32
    sizes = {span.stop - span.start for span in spans}
    assert max(sizes) - min(sizes) <= 1


def test_a_plane_is_covered_row_by_row():
    tiles = split_plane(40, 70)
    assert len(tiles) == 2 * 3
    assert [column.start for _, column in tiles[:3]] == [0, 23, 46]


@pytest.mark.parametrize("size", [(530, 40), (70, 1100)])
def test_tiles_give_what_the_whole_picture_gives(small_model, tensorflow, size):
    codec = Codec(small_model, threads=2)
    pixels = make_picture(1, *size)
    network = codec.model.network
    expected = network.analyze(pixels[None]).numpy()
    actual = codec.latents(pixels)
    np.testing.assert_allclose(actual, expected, atol=1e-5 * np.abs(expected).max())
    offset = codec.model.tables["quantization_offset"]
    rounded = np.round(actual - offset) + offset
    whole = np.clip(network.synthesize(rounded, *size)[0].numpy(), 0, 255)
    # Half a grey level is what rounding to integers may add.
    decoded = codec.decompress(codec.compress(pixels))
    np.testing.assert_allclose(decoded, whole, atol=0.501)
    np.testing.assert_array_equal(codec.encode(pixels).latents, np.round(actual - offset)[0])


PROGRAM = """
import hashlib, sys
sys.path[:0] = sys.argv[1:3]
from balle2017.model import runtime
threads = int(sys.argv[4])
runtime.configure(1, "cpu", operations=threads)
from balle2017.coding.codec import Codec
from helpers import make_picture
codec = Codec(sys.argv[3], threads)
pixels = make_picture(2, 600, 900)
latents = codec.latents(pixels)
assert (latents == codec.model.network.analyze(pixels[None]).numpy()).all()
data = codec.compress(pixels)
for content in (latents, data, codec.decompress(data)):
    print(hashlib.sha256(content).hexdigest())
"""


def test_the_number_of_threads_changes_no_bit(small_model):
    outputs = []
    for threads in (1, 2, 3):
        command = [sys.executable, "-c", PROGRAM, ROOT / "scripts", ROOT / "tests", small_model]
        done = subprocess.run(
            [*command, str(threads)], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert len(outputs[0].split()) == 3
    assert outputs[0] == outputs[1] == outputs[2]


def peak_memory(name, *arguments):
    """Run scripts/NAME.py; return the largest memory it held, in bytes."""
    command = [sys.executable, ROOT / "scripts" / f"{name}.py", *arguments]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, output
    return usage.ru_maxrss * 1024


@pytest.mark.slow
def test_the_largest_picture_takes_less_than_3_gb(tmp_path):
    """With the trained model that has most latents."""
    picture = Image.fromarray(make_picture(1, 512, 512)).resize((8192, 8192))
    picture.save(tmp_path / "x.png", compress_level=1)
    model = ("--model", ROOT / "pretrained" / "0.1800")
    stream, decoded = tmp_path / "x.b17", tmp_path / "y.png"
    assert peak_memory("compress", tmp_path / "x.png", *model, "--out", stream) < 3e9
    assert peak_memory("decompress", stream, *model, "--out", decoded) < 3e9
    assert read_image(decoded).shape == (8192, 8192, 3)
