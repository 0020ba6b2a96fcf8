"""The optimizer of a config, the average of the weights that it updates, and Muon with fast matrix products.

The learning rate is set at every step.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) updates a matrix not along the moving average
of its gradient but along the nearest orthogonal matrix, so that no direction is learnt much faster than another. An
iteration finds it with three products of the matrix's own size a step. With Keras's five steps that is about as much
work as the gradient, so the number of steps and the speed of these products decide whether Muon pays off. The iteration
tolerates the rounding of bfloat16.

It applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a matrix. Instead of the same
polynomial every time, each iteration uses the one that is best for the interval in which the singular values lie by
then (Amsel et al. 2025, "The Polar Express"): the minimax approximation of 1. So three iterations do the work of five.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engine.model import Tensor

POLYNOMIALS = (
    (7.351352158721994, -17.85479811840422, 12.270786956202068),
    (3.456423482465975, -2.2619066820609377, 0.418843881571326),
    (2.793617425491335, -2.084269870735374, 0.4645438866243433),
)
"""a, b and c of each iteration: together they bring singular values from 0.01 to 1 into 0.68 to 1.32.

By the Remez algorithm, for intervals whose lower end is 0.1 of the upper one at least, equally far from 1 at both ends;
all but the last are stretched by 1.01, so that rounding leads to no value beyond the interval."""


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` with three faster iterations."""

    precision = "float32"
    """The precision of matrix products and of their results, float32 or bfloat16."""

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return approximately U V^T for x = U S V^T, a matrix whose singular values are near 1.

        Starting from x / |x|, for each of POLYNOMIALS: x <- (a I + b A + c A A) x with A = x x^T (Jordan et al. 2024).
        The name of this method is that of the one it replaces.

        Args:
            x: float32 [rows, columns].
            steps: Not used.

        Returns:
            float32 [rows, columns].

        """
        x = tf.convert_to_tensor(x)
        rows, columns = x.shape
        if rows > columns:
            return tf.transpose(self.zeropower_via_newtonschulz5(tf.transpose(x), steps))
        x = tf.cast(x / (tf.norm(x) + 1e-7), self.precision)  # the spectral norm is at most 1
        identity = tf.eye(rows)
        for a, b, c in POLYNOMIALS:
            gram = tf.matmul(x, x, transpose_b=True)
            square = tf.matmul(gram, gram, transpose_b=True)  # gram is symmetric; a transposed factor is faster
            factor = a * identity + b * tf.cast(gram, tf.float32) + c * tf.cast(square, tf.float32)
            x = tf.matmul(tf.cast(factor, self.precision), x)
        return tf.cast(x, tf.float32)


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": partial(Muon, adam_beta_2=0.99),  # for the weights that are no matrices
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
        weights: The trained Keras variables by name, float32 of any shape.
        momentum: The limit of m_t, 0 or more and less than 1; 0 makes the average equal to the weights.

    """

    def __init__(self, weights: Mapping[str, Any], momentum: float) -> None:
        self.weights, self.momentum = weights, momentum
        self.variables = {name: keras.Variable(weight, trainable=False) for name, weight in weights.items()}
        """The average of each weight."""

    def update(self, step: Tensor) -> None:
        """Update the averages after step t, an integer scalar of 1 or more."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for name, average in self.variables.items():
            average.assign_add(share * (self.weights[name] - average))
