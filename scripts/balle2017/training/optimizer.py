"""Adam (Kingma & Ba, 2015) with a learning rate for each variable, exact to resume."""

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
