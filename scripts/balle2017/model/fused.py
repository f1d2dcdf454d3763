"""Elementwise functions as single passes over memory.

TensorFlow reads and writes whole tensors for each operation; XLA makes one loop of
an elementwise function. Matrix products stay with TensorFlow, whose kernels are faster.
"""

from collections.abc import Callable

import tensorflow as tf

Passes = dict[str, Callable[..., tf.Tensor]]


def plain_and_compiled(passes: Passes) -> dict[bool, Passes]:
    """Return the functions as they are under False, and compiled by XLA under True.

    Compiling pays where a function is called often with the same shapes.
    """
    compiled = {name: tf.function(f, jit_compile=True) for name, f in passes.items()}
    return {False: passes, True: compiled}
