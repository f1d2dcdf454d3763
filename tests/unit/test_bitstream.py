import numpy as np
import pytest
from balle2017.coding.bitstream import HEADER_BYTES, Bitstream, _checksum, read_size
from balle2017.errors import DamagedFileError
from hypothesis import given
from hypothesis import strategies as st

STREAM = Bitstream(b"modelid!", 768, 512, (32, 48, 128), b"payload bytes" * 7)


@given(
    st.binary(min_size=8, max_size=8),
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.tuples(*[st.integers(0, 65535)] * 3),
    st.binary(max_size=300),
)
def test_round_trip(model_id, width, height, shape, payload):
    stream = Bitstream(model_id, width, height, shape, payload)
    data = stream.to_bytes()
    assert Bitstream.from_bytes(data) == stream
    assert len(data) == 32 + len(payload) == HEADER_BYTES + len(payload)


def test_every_truncation_is_refused():
    data = STREAM.to_bytes()
    for length in range(len(data)):
        with pytest.raises(DamagedFileError):
            Bitstream.from_bytes(data[:length])


def test_every_flipped_bit_is_refused():
    data = STREAM.to_bytes()
    for position in range(len(data) * 8):
        damaged = np.frombuffer(data, np.uint8).copy()
        damaged[position // 8] ^= 1 << (position % 8)
        with pytest.raises(DamagedFileError):
            Bitstream.from_bytes(damaged.tobytes())


def test_trailing_bytes_are_refused():
    with pytest.raises(DamagedFileError, match="longer than its header says"):
        Bitstream.from_bytes(STREAM.to_bytes() + b"x")


def test_a_swapped_payload_is_refused():
    other = Bitstream(b"modelid!", 768, 512, (32, 48, 128), b"PAYLOAD BYTES" * 7)
    with pytest.raises(DamagedFileError, match="checksum"):
        Bitstream.from_bytes(STREAM.to_bytes()[:HEADER_BYTES] + other.payload)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"\xff\xd8\xff\xe0", "not a .b17 file"), (b"B17", "cut short")],
)
def test_other_files_are_named(data, message):
    with pytest.raises(DamagedFileError, match=message):
        Bitstream.from_bytes(data)


@pytest.mark.parametrize("side", [0, 2])
def test_an_image_without_pixels_is_refused(side):
    """Its checksum is right: somebody made it so."""
    data = bytearray(STREAM.to_bytes())
    data[12 + side : 14 + side] = bytes(2)
    fields = bytes(data[: HEADER_BYTES - 8])
    forged = fields + _checksum(fields, STREAM.payload) + STREAM.payload
    with pytest.raises(DamagedFileError, match=r"an image of .*0.* pixels"):
        Bitstream.from_bytes(forged)
    with pytest.raises(DamagedFileError, match=r"an image of .*0.* pixels"):
        read_size(forged)


def test_sides_must_fit():
    with pytest.raises(ValueError, match="1 to 65535"):
        Bitstream(b"modelid!", 70000, 1, (1, 1, 1), b"").to_bytes()
