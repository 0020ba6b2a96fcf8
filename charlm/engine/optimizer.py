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

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from charlm.config.schema import OptimizerConfig
from charlm.engine.compiled import call_with_arrays
from charlm.engine.kernel import Kernel
from charlm.engine.model import Tensor
from charlm.hardware import core_count

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
    """Precision of matrix products and of their results, float32 or bfloat16."""
    kernel: Kernel | None = None
    """The compiled kernel that updates the matrices; None = TensorFlow."""

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

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Tensor
    ) -> None:
        """Update the weights; with the kernel, the matrices are divided among the cores."""
        compiled: list[tuple[Tensor, Any]] = []
        others: list[tuple[Tensor, Any]] = []
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            group = compiled if self._is_compiled(variable) else others
            group.append((gradient, variable))
        amounts = [_work(*gradient.shape) for gradient, _ in compiled]
        for indices in share_evenly(amounts, core_count()):
            self._update_matrices([compiled[index] for index in indices], learning_rate)
        if others:
            super()._backend_update_step(*zip(*others, strict=True), learning_rate)

    def _update_matrices(self, pairs: Sequence[tuple[Tensor, Any]], learning_rate: Tensor) -> None:
        """Update the given matrices one after the other in the kernel, each with its gradient."""
        gradients, matrices = zip(*pairs, strict=True)
        momentums = [self.momentums[self._get_variable_index(matrix)] for matrix in matrices]
        variables = [*momentums, *matrices]
        inputs = [tf.convert_to_tensor(value) for value in (learning_rate, *gradients, *variables)]
        new_values = call_with_arrays(self._compiled_steps, inputs, len(variables))
        for variable, value in zip(variables, new_values, strict=True):
            variable.assign(tf.ensure_shape(value, variable.shape))

    def _compiled_steps(
        self, learning_rate: NDArray[Any], *arrays: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Return new momentums and matrices from the gradients, momentums and matrices."""
        assert self.kernel is not None
        count = len(arrays) // 3
        rate = float(learning_rate)
        new_momentums: list[NDArray[np.float32]] = []
        new_matrices: list[NDArray[np.float32]] = []
        for gradient, momentum, matrix in zip(
            arrays[:count], arrays[count : 2 * count], arrays[2 * count :], strict=True
        ):
            scale = 1.0
            if self.rms_rate is not None:
                scale = max(matrix.shape) ** 0.5 * self.rms_rate  # as Keras's `lr_adjust`
            new_momentum, new_matrix = self.kernel.muon_step(
                gradient,
                momentum,
                matrix,
                polynomials=np.array(POLYNOMIALS, np.float32),
                nesterov=self.nesterov,
                bfloat16=self.precision == "bfloat16",
                momentum_factor=self.momentum,
                decay=rate * (self.weight_decay or 0.0),
                rate=rate * scale,
            )
            new_momentums.append(new_momentum)
            new_matrices.append(new_matrix)
        return new_momentums + new_matrices

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Apply weight decay, except to matrices whose step includes it."""
        others = [variable for variable in variables if not self._is_compiled(variable)]
        super()._apply_weight_decay(others)

    def _is_compiled(self, variable: Any) -> bool:
        return self.kernel is not None and not self._should_use_adamw(variable)


def _work(rows: int, columns: int) -> int:
    """Return the relative time of an iteration of Muon for a matrix."""
    shorter, longer = sorted((rows, columns))
    return shorter**2 * (shorter + 3 * longer)


def share_evenly(amounts: Sequence[int], count: int) -> list[list[int]]:
    """Divide work into at most `count` groups of similar total amounts.

    Returns:
        The indices of the amounts in each group.

    """
    groups: list[list[int]] = [[] for _ in range(min(count, len(amounts)))]
    totals = [0] * len(groups)
    for index in sorted(range(len(amounts)), key=lambda index: -amounts[index]):
        smallest = totals.index(min(totals))
        groups[smallest].append(index)
        totals[smallest] += amounts[index]
    return groups


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": partial(Muon, adam_beta_2=0.99),  # for weights that are not matrices
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(
    config: OptimizerConfig, *, precision: str = "float32", kernel: Kernel | None = None
) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer of a config.

    Args:
        config: Name, learning rate and arguments of the optimizer.
        precision: Precision of Muon's matrix products, float32 or bfloat16.
        kernel: The kernel that updates Muon's matrices; None = TensorFlow.

    """
    optimizer = _OPTIMIZERS[config.name](learning_rate=config.learning_rate, **config.arguments)
    if isinstance(optimizer, Muon):
        optimizer.precision = precision
        optimizer.kernel = kernel
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
