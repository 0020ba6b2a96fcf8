"""The optimizer of a config, and the average of the weights that it updates.

The learning rate is set at every step.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engine.model import Tensor
from charlm.engine.muon import Muon

_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": Muon,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(config: OptimizerConfig, *, precision: str = "float32") -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a config describes.

    Args:
        config: The name, the learning rate and the arguments.
        precision: The precision of the matrix products of Muon, float32 or bfloat16.

    """
    built = _OPTIMIZERS[config.name](learning_rate=config.learning_rate, **config.arguments)
    if isinstance(built, Muon):
        built.precision = precision
    return built


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
