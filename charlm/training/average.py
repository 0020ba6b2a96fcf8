"""An exponential moving average of the weights, which is often better than the weights themselves.

    average <- average + (1 - m_t) (weight - average),   m_t = min(momentum, (1 + t) / (10 + t))

after step t (Polyak and Juditsky 1992; the slow start is that of TensorFlow's ExponentialMovingAverage). Weights
that jump about at a high rate have a mean that lies lower than any of them.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from charlm.training.recurrence import Tensor


class WeightAverage:
    """Follows trained variables; `variables` are their averages, in the same order."""

    def __init__(self, weights: Sequence[Any], momentum: float) -> None:
        self.weights, self.momentum = list(weights), momentum
        self.variables = [
            keras.Variable(weight, trainable=False, name=f"average_{weight.name}") for weight in weights
        ]

    def update(self, step: Tensor) -> None:
        """Move towards the weights as they are after `step` steps, a scalar."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for average, weight in zip(self.variables, self.weights, strict=True):
            average.assign_add(share * (weight - average))
