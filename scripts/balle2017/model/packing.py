"""Weights as a model's file holds them: small, and practically as good as in training.

The four 5x5 kernels are nearly all of a model. Their Fourier coefficients are stored as
integers of 10 bits, with one scale for each frequency and channel of the second dimension.
This uses the bits better than half precision, where each number has its own exponent. The
other weights of the transforms are in half precision if it can hold them, the prior is in
float32.
"""

import numpy as np

BITS = 10
_LARGEST = 2 ** (BITS - 1) - 1
#: Of a 5x5 kernel.
COEFFICIENTS = 25
#: What follows the name of a packed kernel.
NUMBERS, SCALE = ":numbers", ":scale"


def pack_weights(weights: dict[str, np.ndarray], num_filters: int) -> dict[str, np.ndarray]:
    """Return the arrays that stand for weights in a file.

    Args:
        weights: float32 arrays by name; a 5x5 kernel is [25, num_filters * n].
        num_filters: channels of the transforms.

    Returns:
        For a 5x5 kernel NAME uint8 "NAME:numbers" and float32 "NAME:scale" [25, n], and
        otherwise NAME in float16 or float32.
    """
    arrays = {}
    for name, value in weights.items():
        if name.endswith("/kernel") and len(value) == COEFFICIENTS:
            kernel = value.reshape(COEFFICIENTS, num_filters, -1)
            scale = np.abs(kernel).max(1, keepdims=True) / np.float32(_LARGEST)
            numbers = np.rint(kernel / np.where(scale > 0, scale, 1)).astype(np.int16)
            arrays[name + NUMBERS] = _pack(numbers.ravel() + _LARGEST)
            arrays[name + SCALE] = scale[:, 0]
        else:
            arrays[name] = value if name.startswith("prior/") else _half(value)
    return arrays


def unpack_weights(arrays: dict[str, np.ndarray], num_filters: int) -> dict[str, np.ndarray]:
    """Return the float32 weights that `pack_weights` made `arrays` of.

    Arrays that it did not make are returned unchanged.

    Raises:
        ValueError: numbers and scales do not fit each other.
    """
    weights = {}
    for name, value in arrays.items():
        if name.endswith(NUMBERS):
            plain = name.removesuffix(NUMBERS)
            scale = arrays.get(plain + SCALE)
            if scale is None or scale.ndim != 2:
                raise ValueError(f"{plain} has numbers and no scale")
            shape = (len(scale), num_filters, scale.shape[1])
            numbers = _unpack(value, int(np.prod(shape))).reshape(shape) - _LARGEST
            weights[plain] = (numbers * scale[:, None]).astype(np.float32).reshape(len(scale), -1)
        elif not name.endswith(SCALE):
            weights[name] = value.astype(np.float32) if value.dtype == np.float16 else value
    return weights


def rounded_weights(weights: dict[str, np.ndarray], num_filters: int) -> dict[str, np.ndarray]:
    """Return weights as they come back from a file."""
    return unpack_weights(pack_weights(weights, num_filters), num_filters)


def _half(value: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.isfinite(half).all() else value


def _pack(numbers: np.ndarray) -> np.ndarray:
    """Return integers from 0 to 2 ** BITS - 1 as bytes, the lowest bit first."""
    bits = numbers[:, None] >> np.arange(BITS, dtype=np.int16) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little")


def _unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """Invert `_pack`; int16 [count]."""
    if len(packed) != -(-count * BITS // 8):
        raise ValueError(f"{len(packed)} bytes do not hold {count} numbers of {BITS} bits")
    bits = np.unpackbits(packed, count=count * BITS, bitorder="little").reshape(-1, BITS)
    return bits.astype(np.int16) @ (1 << np.arange(BITS, dtype=np.int16))
