"""Elementwise functions as single passes over memory.

TensorFlow reads and writes whole tensors for each operation; XLA makes one loop of
an elementwise function. Matrix products stay with TensorFlow, whose kernels are faster.
"""

from collections.abc import Callable
from typing import Generic, ParamSpec

import tensorflow as tf

P = ParamSpec("P")


class Elementwise(Generic[P]):
    """A function of tensors that can also run as one pass; use it as a decorator.

    Called directly it is the function itself, so that such functions can be made of
    each other: what is compiled is the outermost.
    """

    def __init__(self, function: Callable[P, tf.Tensor]):
        """Wrap a function; nothing is compiled before it runs."""
        self._function = function
        self._compiled = tf.function(function, autograph=False, jit_compile=True)
        self.__doc__ = function.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> tf.Tensor:
        """Run the function, operation by operation."""
        return self._function(*args, **kwargs)

    def run(self, fused: bool, *args: P.args, **kwargs: P.kwargs) -> tf.Tensor:
        """Run the function; as one pass if `fused`.

        Compiling pays where a function is called often with the same shapes.
        """
        return (self._compiled if fused else self._function)(*args, **kwargs)
