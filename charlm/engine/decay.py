"""A weight decay that rises with the steps: weak while the network learns, strong once it knows its text by heart.

In step t = 0 to N - 1 the weight decay is that of the optimizer times (2 t + 1) / N: from nearly 0 in a straight line
to nearly twice its value, and its value on average. Keras multiplies it by the learning rate of the step.
"""

from typing import Any

import keras
import tensorflow as tf

from charlm.errors import CharlmError

_ARGUMENTS = ("weight_decay", "adam_weight_decay")  # the second is that of Muon for what it leaves to AdamW


class RisingDecay:
    """Sets the weight decay of an optimizer for each step.

    Args:
        optimizer: A Keras optimizer with a weight decay; from now on its decay is a variable.
        total: N, the number of steps in the run.

    Raises:
        CharlmError: the optimizer has no weight decay.

    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, total: int) -> None:
        self._optimizer, self._total = optimizer, total
        self._means: dict[str, float] = {name: mean for name in _ARGUMENTS if (mean := getattr(optimizer, name, None))}
        if not self._means:
            raise CharlmError("training.rising_decay: found true, but training.optimizer.weight_decay is not set")
        self._decays: dict[str, Any] = {name: tf.Variable(mean, trainable=False) for name, mean in self._means.items()}
        for name, decay in self._decays.items():
            setattr(optimizer, name, decay)

    def update(self) -> None:
        """Set the decay of the next step."""
        share = (2 * tf.cast(self._optimizer.iterations, tf.float32) + 1) / self._total
        for name, decay in self._decays.items():
            decay.assign(share * self._means[name])
