"""Adam (Kingma & Ba, 2015) with a learning rate for each variable; loss scaling for float16."""

import tensorflow as tf

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7


class Adam:
    """Adam through TensorFlow's one kernel a variable.

    Keras's class takes a dozen operations for each, which in a small model is
    a quarter of the step, and one learning rate for all.

    Attributes:
        variables: the moments by name, "m/NAME" and "v/NAME"; with the number of
            the step they are the whole state.
    """

    def __init__(self, trained: dict[str, tf.Variable]):
        """Set all moments to zero."""
        self._trained = trained
        self.variables = {
            f"{moment}/{name}": tf.Variable(tf.zeros_like(variable), trainable=False)
            for moment in ("m", "v")
            for name, variable in trained.items()
        }

    def apply(
        self, gradients: dict[str, tf.Tensor], rates: dict[str, tf.Tensor], step: tf.Tensor
    ) -> None:
        """Change every variable.

        Args:
            gradients: by name.
            rates: learning rates by name, float32 scalars.
            step: number of this step, counted from 0.
        """
        number = tf.cast(step + 1, tf.float32)
        for name, variable in self._trained.items():
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=self.variables[f"m/{name}"].handle,
                v=self.variables[f"v/{name}"].handle,
                beta1_power=tf.pow(BETA_1, number),
                beta2_power=tf.pow(BETA_2, number),
                lr=rates[name],
                beta1=BETA_1,
                beta2=BETA_2,
                epsilon=EPSILON,
                grad=gradients[name],
            )


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
