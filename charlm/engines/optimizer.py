"""The optimizer of a config, with a faster Muon, and how fast the average of the weights follows.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) replaces the momentum of a
matrix with the nearest orthogonal matrix, so that no direction is learnt much faster than another.
It finds that matrix with iterations of three products of the matrix's size. With Keras's five
iterations, that is about as much work as the gradient, so the number of iterations and the speed of
the products determine whether Muon is worth it.

An iteration applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a
matrix. Keras uses the same polynomial every time. Here, each iteration uses the minimax
approximation of 1 on the interval that contains the singular values at that point (Amsel et al.
2025, "The Polar Express"). So three iterations do the work of five.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engines.model import Tensor
from charlm.errors import CharlmError

VECTOR_DECAY = 0.004
"""Default weight decay of Keras's Muon, and the largest of biases and the embedding."""
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

    def __init__(self, *, weight_decay: float = VECTOR_DECAY, **settings: Any) -> None:
        if not hasattr(keras.optimizers.Muon, "zeropower_via_newtonschulz5"):
            raise CharlmError(
                "training.optimizer: this version of Keras has another Muon; use adam"
            )
        super().__init__(
            weight_decay=weight_decay,
            adam_weight_decay=min(weight_decay, VECTOR_DECAY),
            adam_beta_2=0.99,  # for weights that are not matrices
            **settings,
        )

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
        x = x / (tf.norm(x) + 1e-7)  # the spectral norm is at most 1
        identity = tf.eye(rows)
        for a, b, c in POLYNOMIALS:
            gram = tf.matmul(x, x, transpose_b=True)
            # gram is symmetric; a transposed factor is faster
            square = tf.matmul(gram, gram, transpose_b=True)
            x = tf.matmul(a * identity + b * gram + c * square, x)
        return x


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": Muon,
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(config: OptimizerConfig) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer with the name, learning rate and arguments of a config."""
    return _OPTIMIZERS[config.name](learning_rate=config.learning_rate, **config.arguments)


def average_share(momentum: float, step: int) -> float:
    """Return the share s of the weights in their average after step t, 1 or more.

        average <- average + s (weights - average),  s = 1 - min(momentum, (1 + t) / (10 + t))

    The average begins with the initial weights; with a momentum of 0, it equals the weights.
    """
    return 1 - min(momentum, (1 + step) / (10 + step))


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
