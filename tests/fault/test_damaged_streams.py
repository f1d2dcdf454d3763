"""Thousands of damaged .b17 files: every one is refused, in words."""

import dataclasses
import random
import resource

import numpy as np
import pytest
from balle2017.coding.bitstream import HEADER_BYTES, Bitstream
from balle2017.coding.codec import Codec
from balle2017.errors import DamagedFileError
from helpers import make_picture, run_script

COUNT = 2000


@pytest.fixture(scope="module", params=["static", "adaptive"])
def model(request, small_model, adapted_model):
    return {"static": small_model, "adaptive": adapted_model}[request.param]


@pytest.fixture(scope="module")
def codec(model):
    return Codec(model)


@pytest.fixture(scope="module")
def streams(codec):
    """Files of the highest version that the model writes; very small ones have no use for 2."""
    size = (120, 136) if codec.adapts else (40, 56)
    files = [codec.compress(make_picture(seed, *size)) for seed in range(3)]
    assert {Bitstream.from_bytes(data).version for data in files} == {1 + codec.adapts}
    return files


def _flip_bits(rng, data, _):
    damaged = bytearray(data)
    for position in rng.sample(range(8 * len(data)), rng.randint(1, 8)):
        damaged[position // 8] ^= 1 << (position % 8)
    return bytes(damaged)


def _append(rng, data, _):
    return data + rng.randbytes(rng.randint(1, 64))


def _swap_payloads(_, data, other):
    return data[:HEADER_BYTES] + other[HEADER_BYTES:]


def _cut_out(rng, data, _):
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 40) :]


def _overwrite(rng, data, _):
    start = rng.randrange(len(data) - 4)
    length = rng.randint(1, len(data) - start)
    # Never equal to what was there.
    return data[:start] + bytes(b ^ 0xA5 for b in data[start:][:length]) + data[start + length :]


def _other_model(rng, data, _):
    stream = Bitstream.from_bytes(data)
    return dataclasses.replace(stream, model_id=rng.randbytes(8)).to_bytes()


def _absurd_size(rng, data, _):
    sides = {"width": rng.randint(100, 65535), "height": rng.randint(100, 65535)}
    return dataclasses.replace(Bitstream.from_bytes(data), **sides).to_bytes()


def _absurd_latents(rng, data, _):
    shape = tuple(rng.randint(0, 65535) for _ in range(3))
    return dataclasses.replace(Bitstream.from_bytes(data), latent_shape=shape).to_bytes()


#: Those with a valid checksum come last.
MUTATIONS = (
    *(_flip_bits, _append, _swap_payloads, _cut_out, _overwrite),
    *(_other_model, _absurd_size, _absurd_latents),
)


@pytest.fixture(scope="module")
def damaged(streams):
    """Every truncation of one file, the empty file among them, and random damage of three."""
    rng = random.Random(2017)
    files = [streams[0][:length] for length in range(len(streams[0]))]
    while len(files) < COUNT:
        data, other = rng.sample(streams, 2)
        files.append(rng.choice(MUTATIONS)(rng, data, other))
    return files


def test_every_damaged_file_is_refused(codec, streams, damaged):
    assert len(streams[0]) < COUNT / 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in damaged:
        assert data not in streams
        with pytest.raises(DamagedFileError) as caught:
            codec.decompress(data)
        assert len(str(caught.value)) > 10
    # In KiB; a picture of the largest size that the headers state would take gigabytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_script_names_every_damaged_file_and_decodes_the_good_one(
    model, streams, damaged, tmp_path
):
    folder = tmp_path / "in"
    folder.mkdir()
    for index, data in enumerate(damaged):
        (folder / f"{index:04}.b17").write_bytes(data)
    (folder / "good.b17").write_bytes(streams[1])
    done = run_script("decompress", folder, "--model", model, "--out", tmp_path / "out")
    assert done.returncode == 1
    *lines, sums = done.stdout.splitlines()
    assert len(lines) == COUNT + 1
    assert sums.startswith("1 files, ")
    assert all(line.startswith(str(tmp_path)) for line in lines)
    assert f"{COUNT} of {COUNT + 1} files" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def _forge(rng, data, other):
    """Return a file with a payload or fields that no encoder wrote, and a checksum that fits."""
    stream = Bitstream.from_bytes(data)
    kind = rng.randrange(6)
    payload = stream.payload
    if kind == 0:
        payload = _flip_bits(rng, payload, None)
    elif kind == 1:
        payload = payload[: rng.randrange(len(payload))]
    elif kind == 2:
        payload = rng.randbytes(rng.randint(0, 2 * len(payload)))
    elif kind == 3:
        payload = bytes([rng.choice([0, 255])]) * rng.randint(1, 5000)
    elif kind == 4:
        payload += rng.randbytes(rng.randint(1, 50))
    else:
        payload = Bitstream.from_bytes(other).payload
    version = rng.choice([stream.version, stream.version, 3 - stream.version])
    return dataclasses.replace(stream, payload=payload, version=version).to_bytes()


def test_a_forged_payload_decodes_to_its_stated_size_or_is_refused(codec, streams):
    """A valid checksum over other bytes cannot be told from another picture's file."""
    rng = random.Random(7)
    stated = Bitstream.from_bytes(streams[0])
    decoded = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(500):
        data, other = rng.sample(streams, 2)
        try:
            pixels = codec.decompress(_forge(rng, data, other))
        except DamagedFileError:
            continue
        decoded += 1
        assert pixels.shape == (stated.height, stated.width, 3)
        assert pixels.dtype == np.uint8
    # Many are refused for their version; the range decoder takes nearly any bytes.
    assert decoded > 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
