"""Pixels as the transforms see them: centred, and in blocks of 4x4."""

import tensorflow as tf

# The transforms see pixels 0..255 as (pixel - 128) / 256: centred, so that training
# does not begin with learning the mean, and exact in bfloat16 too.
_CENTRE, PIXEL_RANGE = 128.0, 256.0

#: The layers at the pixels see blocks of BLOCK x BLOCK pixels as channels.
BLOCK = 4


def centre(pixels: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Map pixels on 0..255 to [-1/2, 1/2)."""
    return (tf.cast(pixels, dtype) - _CENTRE) / PIXEL_RANGE


def to_pixels(centred: tf.Tensor) -> tf.Tensor:
    """Invert `centre`, to float32, neither rounded nor clipped."""
    return tf.cast(centred, tf.float32) * PIXEL_RANGE + _CENTRE


def to_uint8(pixels: tf.Tensor) -> tf.Tensor:
    """Return pixels on 0..255 rounded to 8 bits, clipped."""
    return tf.cast(tf.round(tf.clip_by_value(pixels, 0, 255)), tf.uint8)


def to_blocks(pixels: tf.Tensor) -> tf.Tensor:
    """Map [n, 4 h, 4 w, c] to [n, h, w, 16 c]."""
    shape = tf.shape(pixels)
    channels = pixels.shape[-1]
    rows, columns = shape[1] // BLOCK, shape[2] // BLOCK
    # A transpose is several times faster than tf.nn.space_to_depth.
    split = tf.reshape(pixels, (-1, rows, BLOCK, columns, BLOCK * channels))
    blocks = tf.transpose(split, (0, 1, 3, 2, 4))
    return tf.reshape(blocks, (-1, rows, columns, BLOCK**2 * channels))


def from_blocks(blocks: tf.Tensor) -> tf.Tensor:
    """Invert `to_blocks`."""
    shape = tf.shape(blocks)
    channels = blocks.shape[-1] // BLOCK**2
    split = tf.reshape(blocks, (-1, shape[1], shape[2], BLOCK, BLOCK * channels))
    pixels = tf.transpose(split, (0, 1, 3, 2, 4))
    return tf.reshape(pixels, (-1, shape[1] * BLOCK, shape[2] * BLOCK, channels))
