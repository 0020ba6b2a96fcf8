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
"""a, b and c of each iteration: together they bring singular values from 0.01 to 1 into 0.68 to 1.32.

By the Remez algorithm, for intervals whose lower end is 0.1 of the upper one at least, equally far from 1 at both ends;
all but the last are stretched by 1.01, so that rounding leads to no value beyond the interval."""


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon` with three faster iterations."""

    precision = "float32"
    """The precision of matrix products and of their results, float32 or bfloat16."""
    kernel: Kernel | None = None
    """The compiled kernel, which updates the matrices; None = TensorFlow does."""

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
            square = tf.matmul(
                gram, gram, transpose_b=True
            )  # gram is symmetric; a transposed factor is faster
            factor = a * identity + b * tf.cast(gram, tf.float32) + c * tf.cast(square, tf.float32)
            x = tf.matmul(tf.cast(factor, self.precision), x)
        return tf.cast(x, tf.float32)

    def _backend_update_step(
        self, grads: Sequence[Tensor], trainable_variables: Sequence[Any], learning_rate: Tensor
    ) -> None:
        """Update the weights; with the kernel, the matrices are shared among the cores."""
        pairs = list(zip(grads, trainable_variables, strict=True))
        matrices = [pair for pair in pairs if self._is_compiled(pair[1])]
        others = [pair for pair in pairs if not self._is_compiled(pair[1])]
        for group in share_evenly(
            [_work(*gradient.shape) for gradient, _ in matrices], core_count()
        ):
            self._update_matrices([matrices[index] for index in group], learning_rate)
        if others:
            super()._backend_update_step(*zip(*others, strict=True), learning_rate)

    def _update_matrices(self, pairs: Sequence[tuple[Tensor, Any]], learning_rate: Tensor) -> None:
        """Update some matrices, each with its gradient, by the kernel, one after the other."""
        gradients, matrices = zip(*pairs, strict=True)
        momentums = [self.momentums[self._get_variable_index(matrix)] for matrix in matrices]
        changed = [*momentums, *matrices]
        inputs = [tf.convert_to_tensor(value) for value in (learning_rate, *gradients, *changed)]
        for variable, new in zip(
            changed, call_with_arrays(self._compiled_steps, inputs, len(changed)), strict=True
        ):
            variable.assign(tf.ensure_shape(new, variable.shape))

    def _compiled_steps(
        self, learning_rate: NDArray[Any], *arrays: NDArray[np.float32]
    ) -> list[NDArray[np.float32]]:
        """Return the momentums and the matrices after a step, from the gradients, momentums and matrices before it."""
        assert self.kernel is not None
        count = len(arrays) // 3
        polynomials = np.array(POLYNOMIALS, np.float32)
        momentums: list[NDArray[np.float32]] = []
        matrices: list[NDArray[np.float32]] = []
        for gradient, momentum, matrix in zip(
            arrays[:count], arrays[count : 2 * count], arrays[2 * count :], strict=True
        ):
            scale = (
                1.0 if self.rms_rate is None else max(matrix.shape) ** 0.5 * self.rms_rate
            )  # Keras's `lr_adjust`
            new_momentum, new_matrix = self.kernel.muon_step(
                gradient,
                momentum,
                matrix,
                polynomials=polynomials,
                nesterov=self.nesterov,
                bfloat16=self.precision == "bfloat16",
                momentum_factor=self.momentum,
                decay=float(learning_rate) * (self.weight_decay or 0.0),
                rate=float(learning_rate) * scale,
            )
            momentums.append(new_momentum)
            matrices.append(new_matrix)
        return momentums + matrices

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Apply weight decay, but for the matrices whose step includes it."""
        super()._apply_weight_decay(
            [variable for variable in variables if not self._is_compiled(variable)]
        )

    def _is_compiled(self, variable: Any) -> bool:
        return self.kernel is not None and not self._should_use_adamw(variable)


def _work(rows: int, columns: int) -> int:
    """Return how long an iteration of Muon takes for a matrix, in no particular unit."""
    shorter, longer = sorted((rows, columns))
    return shorter**2 * (shorter + 3 * longer)


def share_evenly(amounts: Sequence[int], count: int) -> list[list[int]]:
    """Divide work into at most so many groups that take about equally long; return the indices in each group."""
    groups: list[list[int]] = [[] for _ in range(min(count, len(amounts)))]
    for index in sorted(range(len(amounts)), key=lambda index: -amounts[index]):
        smallest = min(groups, key=lambda group: sum(amounts[each] for each in group))
        smallest.append(index)
    return groups


_OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "muon": partial(Muon, adam_beta_2=0.99),  # for the weights that are no matrices
    "sgd": keras.optimizers.SGD,
}


def build_optimizer(
    config: OptimizerConfig, *, precision: str = "float32", kernel: Kernel | None = None
) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a config describes.

    Args:
        config: The name, the learning rate and the arguments.
        precision: The precision of the matrix products of Muon, float32 or bfloat16.
        kernel: What updates the matrices of Muon; None = TensorFlow.

    """
    built = _OPTIMIZERS[config.name](learning_rate=config.learning_rate, **config.arguments)
    if isinstance(built, Muon):
        built.precision = precision
        built.kernel = kernel
    return built


class WeightAverage:
    """The moving averages of trained variables; they start at the present values.

    Args:
        weights: The trained Keras variables by name, float32 of any shape.
        momentum: The limit of m_t, 0 or more and less than 1; 0 makes the average equal to the weights.

    """

    def __init__(self, weights: Mapping[str, Any], momentum: float) -> None:
        self.weights, self.momentum = weights, momentum
        self.variables = {
            name: keras.Variable(weight, trainable=False) for name, weight in weights.items()
        }
        """The average of each weight."""

    def update(self, step: Tensor) -> None:
        """Update the averages after step t, an integer scalar of 1 or more."""
        count = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.momentum, (1 + count) / (10 + count))
        for name, average in self.variables.items():
            average.assign_add(share * (self.weights[name] - average))
