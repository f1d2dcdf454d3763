"""Loss scaling for float16, whose smallest gradients would vanish."""

import tensorflow as tf

_INITIAL, _LARGEST = 2.0**15, 2.0**24
#: Finite steps before the scale doubles.
PATIENCE = 2000


class LossScale:
    """A factor on the loss that grows while gradients stay finite and halves when one does not.

    Attributes:
        variables: the whole state, by name.
    """

    def __init__(self, initial: float = _INITIAL):
        """Start from `initial`, a power of two."""
        self.value = tf.Variable(initial, dtype=tf.float32, trainable=False)
        self._streak = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.variables = {"loss_scale": self.value, "loss_scale_streak": self._streak}

    def update(self, finite: tf.Tensor) -> None:
        """Take note of whether all gradients of a step were finite, bool scalar."""
        streak = tf.where(finite, self._streak + 1, tf.zeros((), tf.int64))
        grow = streak >= PATIENCE
        grown = tf.minimum(self.value * 2, _LARGEST)
        kept = tf.where(grow, grown, self.value)
        # Below 1 it is not the scale that is wrong: then the loss itself is not finite.
        self.value.assign(tf.where(finite, kept, tf.maximum(self.value / 2, 1.0)))
        self._streak.assign(tf.where(grow, tf.zeros((), tf.int64), streak))
