"""The optimizer of a config, the average of the weights that it updates, and Muon with fast matrix products.

The learning rate is set at every step.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) updates a matrix not along the moving average
of its gradient but along the nearest orthogonal matrix, so that no direction is learnt much faster than another. An
iteration finds it with three products of the matrix's own size a step. With Keras's five steps that is about as much
work as the gradient, so the number of steps and the speed of these products decide whether Muon pays off. The iteration
tolerates the rounding of bfloat16.

It applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a matrix. Instead of the same
polynomial every time, each iteration can use the one that is best for the interval in which the singular values lie by
then (Amsel et al. 2025, "The Polar Express"): the minimax approximation of 1, found by the Remez algorithm.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from charlm.config.schema import OptimizerConfig
from charlm.engine.model import Tensor

MARGIN = 1.01
"""Factor by which singular values may exceed the interval through rounding before the polynomials amplify them."""
NARROWEST = 0.1
"""The interval of a polynomial reaches down to at least this share of its upper end; a wider one is not monotonic."""
CLOSE = 1 - 1e-3
"""Ratio of the ends of an interval above which it counts as a point: its Remez system cannot be solved in float64."""
EXCHANGES = 50
"""Maximum number of exchanges of the Remez algorithm; about five are enough."""


class Quintic(NamedTuple):
    """The odd polynomial p(x) = a x + b x^3 + c x^5."""

    a: float
    b: float
    c: float

    def __call__(self, x: float) -> float:
        """Return p(x)."""
        return self.a * x + self.b * x**3 + self.c * x**5

    def stretched(self, factor: float) -> "Quintic":
        """Return the polynomial x -> p(x / factor)."""
        return Quintic(self.a / factor, self.b / factor**3, self.c / factor**5)

    def times(self, factor: float) -> "Quintic":
        """Return the polynomial x -> factor p(x)."""
        return Quintic(self.a * factor, self.b * factor, self.c * factor)


def polar_polynomials(steps: int, floor: float) -> list[Quintic]:
    """Return the polynomials that, applied one after the other, bring the interval [floor, 1] nearest to 1.

    Args:
        steps: The number of polynomials, 0 or more.
        floor: The least singular value to bring near 1, more than 0 and less than 1. Smaller ones grow as well, but
            stay smaller.

    """
    polynomials: list[Quintic] = []
    low, high = floor, 1.0
    for step in range(steps):
        polynomial = minimax_quintic(max(low, NARROWEST * high), high)
        polynomial = polynomial.times(2 / (polynomial(low) + polynomial(high)))  # equally far from 1 at both ends
        if step < steps - 1:
            polynomial = polynomial.stretched(MARGIN)
        polynomials.append(polynomial)
        low = polynomial(low)
        high = 2 - low
    return polynomials


def minimax_quintic(low: float, high: float) -> Quintic:
    """Return the odd polynomial of degree 5 whose largest distance from 1 on [low, high] is least.

    By the Remez algorithm: the error has the same size and alternating signs at both ends and at two points between,
    where the derivative is zero.

    Args:
        low: More than 0.
        high: More than `low`.

    """
    if low > CLOSE * high:
        return Quintic(15 / 8, -10 / 8, 3 / 8).stretched(high)  # both derivatives are zero at 1 (Newton-Schulz)
    inner = np.linspace(low, high, 4)[1:3]
    for _ in range(EXCHANGES):
        points = np.array([low, *inner, high])
        system = np.stack([points, points**3, points**5, [1, -1, 1, -1]], axis=1)
        a, b, c, _ = np.linalg.solve(system, np.ones(4))
        root = np.sqrt(9 * b**2 - 20 * a * c)  # a + 3 b x^2 + 5 c x^4 = 0
        extremes = np.sqrt((-3 * b + np.array([-root, root])) / (10 * c))
        if np.allclose(extremes, inner, rtol=1e-12, atol=0):
            break
        inner = extremes
    return Quintic(float(a), float(b), float(c))


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`: the same arguments, one more, and, except for rounding, the same steps without it.

    Args:
        polar_floor: The least singular value, as a share of the norm of the matrix, that the iteration brings near 1,
            more than 0 and less than 1: the polynomials are then those of `polar_polynomials` for `ns_steps` steps, and
            fewer steps do. None = the same polynomial in every step, with `muon_a`, `muon_b` and `muon_c`.
        options: The arguments of `keras.optimizers.Muon`.

    """

    precision = "float32"
    """The precision of matrix products and of their results, float32 or bfloat16."""

    def __init__(self, *, polar_floor: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.polar_floor = polar_floor

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return approximately U V^T for x = U S V^T, a matrix whose singular values are near 1.

        Starting from x / |x|, `steps` times: x <- (a I + b A + c A A) x with A = x x^T (Jordan et al. 2024). The name
        of this method is that of the one it replaces.

        Args:
            x: float32 [rows, columns].
            steps: The number of iterations, 0 or more.

        Returns:
            float32 [rows, columns].

        """
        x = tf.convert_to_tensor(x)
        rows, columns = x.shape
        if rows > columns:
            return tf.transpose(self.zeropower_via_newtonschulz5(tf.transpose(x), steps))
        x = tf.cast(x / (tf.norm(x) + 1e-7), self.precision)  # the spectral norm is at most 1
        identity = tf.eye(rows)
        for a, b, c in self._polynomials(steps):
            gram = tf.matmul(x, x, transpose_b=True)
            square = tf.matmul(gram, gram, transpose_b=True)  # gram is symmetric; a transposed factor is faster
            factor = a * identity + b * tf.cast(gram, tf.float32) + c * tf.cast(square, tf.float32)
            x = tf.matmul(tf.cast(factor, self.precision), x)
        return tf.cast(x, tf.float32)

    def _polynomials(self, steps: int) -> list[Quintic]:
        if self.polar_floor is None:
            return [Quintic(self.muon_a, self.muon_b, self.muon_c)] * steps
        return polar_polynomials(steps, self.polar_floor)


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
