"""The compressed file: a 32-byte header with a checksum, and the payload.

All numbers are big-endian.

offset  bytes  content
0       3      magic, "B17"
3       1      format version: 1, coded with the static prior, or 2, with the adaptive coder
4       8      model id: the first 8 bytes of the model's SHA-256, in version 1 without
               the adaptation
12      2      image width in pixels
14      2      image height in pixels
16      2      latent height
18      2      latent width
20      2      latent channels
22      4      payload length in bytes
26      6      the first 6 bytes of the SHA-256 of bytes 0 to 25 and the payload
32      ...    payload: the range-coded latents

Nothing may follow the payload.
"""

import hashlib
import struct
from dataclasses import dataclass

from balle2017.errors import DamagedFileError

MAGIC = b"B17"
#: The payload's entropy coder: the static prior's tables, or those that adapt.
STATIC, ADAPTIVE = 1, 2
_FIELDS = struct.Struct(">3sB8sHHHHHI")
_CHECK_BYTES = 6
HEADER_BYTES = _FIELDS.size + _CHECK_BYTES

#: Largest side of an image that the format can hold.
MAX_SIDE = 0xFFFF


@dataclass(frozen=True)
class Bitstream:
    """Content of one compressed file.

    Attributes:
        model_id: 8 bytes, `TrainedModel.model_id` of the encoder's model, or in
            version 2 its `adaptive_id`.
        width: image width in pixels.
        height: image height in pixels.
        latent_shape: height, width and channels of the latents.
        payload: range-coded latents.
        version: `STATIC` or `ADAPTIVE`.
    """

    model_id: bytes
    width: int
    height: int
    latent_shape: tuple[int, int, int]
    payload: bytes
    version: int = STATIC

    def to_bytes(self) -> bytes:
        """Return the file's bytes.

        Raises:
            ValueError: a side does not fit the format.
        """
        if not (0 < self.width <= MAX_SIDE and 0 < self.height <= MAX_SIDE):
            raise ValueError(f"{self.width}x{self.height}: sides must be 1 to {MAX_SIDE} pixels")
        fields = _FIELDS.pack(
            MAGIC,
            self.version,
            self.model_id,
            self.width,
            self.height,
            *self.latent_shape,
            len(self.payload),
        )
        return fields + _checksum(fields, self.payload) + self.payload

    @classmethod
    def from_bytes(cls, data: bytes) -> "Bitstream":
        """Parse and check a file's bytes.

        Raises:
            DamagedFileError: not such a file, another version, cut short, longer
                than it says, or altered.
        """
        # TensorFlow takes no other type that holds bytes for a string.
        data = bytes(data)
        version, model_id, width, height, rows, columns, channels, length = _header(data)
        fields, payload = data[: _FIELDS.size], data[HEADER_BYTES:]
        if len(payload) != length:
            problem = "cut short" if len(payload) < length else "longer than its header says"
            raise DamagedFileError(f"{problem}: {len(payload)} bytes of payload, not {length}")
        if _checksum(fields, payload) != data[_FIELDS.size : HEADER_BYTES]:
            raise DamagedFileError("damaged: the content does not match its checksum")
        return cls(model_id, width, height, (rows, columns, channels), payload, version)


def read_size(header: bytes) -> tuple[int, int]:
    """Return the width and height that a file states, from its first `HEADER_BYTES` bytes.

    Raises:
        DamagedFileError: not such a file, another version, or cut short.
    """
    _, _, width, height, *_ = _header(header)
    return width, height


def _header(data: bytes) -> tuple:
    """Return a file's fields behind the magic."""
    if data[:3] != MAGIC:
        raise DamagedFileError("not a .b17 file" if data else "the file is empty")
    if len(data) < HEADER_BYTES:
        raise DamagedFileError("cut short: the header is incomplete")
    _, version, *others = _FIELDS.unpack(data[: _FIELDS.size])
    if version not in (STATIC, ADAPTIVE):
        raise DamagedFileError(
            f"format version {version}, this program reads {STATIC} and {ADAPTIVE}"
        )
    _, width, height, *_ = others
    if not (width and height):
        raise DamagedFileError(f"damaged: an image of {width}x{height} pixels")
    return version, *others


def _checksum(fields: bytes, payload: bytes) -> bytes:
    return hashlib.sha256(fields + payload).digest()[:_CHECK_BYTES]
