"""The optimizer of a config, with a faster Muon, and the average of the weights.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) replaces the momentum of a
matrix with the nearest orthogonal matrix, so that no direction is learnt much faster than another.
It finds that matrix with iterations of three products of the matrix's size. With Keras's five
iterations, that is about as much work as the gradient, so the number of iterations and the speed of
the products determine whether Muon is worth it. The rounding of bfloat16 does not harm the result.

An iteration applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a
matrix. Keras uses the same polynomial every time. Here, each iteration uses the minimax
approximation of 1 on the interval that contains the singular values at that point (Amsel et al.
2025, "The Polar Express"). So three iterations do the work of five.
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
"""Coefficients a, b and c of the polynomial of each iteration. Together, the iterations move
singular values from the range 0.01 to 1 into the range 0.68 to 1.32.

The coefficients are computed by the Remez algorithm for intervals whose lower end is at least 0.1
of the upper end, with the same error at both ends. All intervals except the last are stretched by
1.01, so that rounding does not produce values outside the interval."""


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` that orthogonalises matrices in three, faster iterations."""

    precision = "float32"
    """Precision of matrix products and of their results."""

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return approximately U V^T for x = U S V^T, with singular values near 1.

        Starting from x / |x|, for each of POLYNOMIALS: x <- (a I + b A + c A A) x with A = x x^T
        (Jordan et al. 2024). This replaces the method of Keras.

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
            # gram is symmetric; a transposed factor is faster
            square = tf.matmul(gram, gram, transpose_b=True)
            factor = a * identity + b * tf.cast(gram, tf.float32) + c * tf.cast(square, tf.float32)
            x = tf.matmul(tf.cast(factor, self.precision), x)
        return tf.cast(x, tf.float32)


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": partial(Muon, adam_beta_2=0.99),  # for weights that are not matrices
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(
    config: OptimizerConfig, *, precision: str = "float32"
) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer of a config.

    Args:
        config: Name, learning rate and arguments of the optimizer.
        precision: Precision of Muon's matrix products, float32 or bfloat16.

    """
    optimizer = _OPTIMIZERS[config.name](learning_rate=config.learning_rate, **config.arguments)
    if isinstance(optimizer, Muon):
        optimizer.precision = precision
    return optimizer


class WeightAverage:
    """The moving averages of trained variables, which start at their current values.

        average <- m_t average + (1 - m_t) weights,  m_t = min(momentum, (1 + t) / (10 + t))

    Args:
        weights: The trained Keras variables by name, float32 of any shape.
        momentum: 0 or more and less than 1; 0 makes the average equal to the weights.

    """

    def __init__(self, weights: Mapping[str, Any], momentum: float) -> None:
        self.weights = weights
        self.momentum = momentum
        self.variables = {
            name: keras.Variable(weight, trainable=False) for name, weight in weights.items()
        }
        """The average of each weight by name."""

    def update(self, step: Tensor) -> None:
        """Update the averages after step t, an integer scalar of 1 or more."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for name, average in self.variables.items():
            average.assign_add(share * (self.weights[name] - average))


def named_slots(
    optimizer: keras.optimizers.Optimizer, weights: Mapping[str, Any]
) -> dict[str, Any]:
    """Return every variable of a built optimizer by its name.

    A slot, which belongs to a weight, is named after the weight and the optimizer's attribute:
    `rnn.0.kernel/momentums`. Any other variable is named after the attribute: `iterations`.

    Args:
        optimizer: An optimizer built on the trainable variables of a model, in any order.
        weights: These variables by their names in a model file.

    """
    variables = {id(variable) for variable in optimizer.variables}
    names = {id(variable): name for name, variable in weights.items()}
    order = [names[id(variable)] for variable in optimizer._trainable_variables]
    named: dict[str, Any] = {}
    for attribute, value in vars(optimizer).items():
        slot = attribute.strip("_")
        if id(value) in variables:
            named[slot] = value
        elif isinstance(value, list) and len(value) == len(order) and attribute != "_variables":
            slots = zip(order, value, strict=True)
            named |= {f"{name}/{slot}": part for name, part in slots if id(part) in variables}
    unnamed = variables - {id(variable) for variable in named.values()}
    assert not unnamed, "a variable of the optimizer has no name"
    return named
