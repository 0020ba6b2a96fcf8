"""An exponential moving average of the weights, which often has a lower loss than the weights themselves.

    average <- average + (1 - m_t) (weight - average),   m_t = min(momentum, (1 + t) / (10 + t))

after step t (Polyak and Juditsky 1992; m_t grows as in TensorFlow's ExponentialMovingAverage). At a high learning rate
the weights jump around a minimum; their mean is closer to it.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from charlm.engine.recurrence import Tensor


class WeightAverage:
    """The moving averages of trained variables; they start at the present values.

    Args:
        weights: The trained Keras variables, float32 of any shape.
        momentum: The limit of m_t, 0 or more and less than 1; 0 makes the average equal to the weights.

    """

    def __init__(self, weights: Sequence[Any], momentum: float) -> None:
        self.weights, self.momentum = list(weights), momentum
        self.variables = [keras.Variable(weight, trainable=False, name=f"average_{weight.name}") for weight in weights]
        """The average of each weight, in the same order."""

    def of(self, weight: Any) -> Any:
        """Return the variable that holds the average of a weight."""
        return next(a for a, w in zip(self.variables, self.weights, strict=True) if w is weight)

    def update(self, step: Tensor) -> None:
        """Update the averages after step t, an integer scalar of 1 or more."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign_add(share * (weight - average))
