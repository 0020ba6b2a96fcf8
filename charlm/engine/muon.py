"""Muon with fast matrix products: Keras's optimizer, but at the precision of training.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) updates a matrix not along the moving average
of its gradient but along the nearest orthogonal matrix, so that no direction is learnt much faster than another. An
iteration finds it with three products of the matrix's own size a step. With Keras's five steps that is about as much
work as the gradient, so the number of steps and the speed of these products decide whether Muon pays off. The iteration
tolerates the rounding of bfloat16.
"""

from typing import Any

import keras
import tensorflow as tf

from charlm.engine.distribution import Machine
from charlm.engine.polar import Quintic, polar_polynomials
from charlm.engine.recurrence import Tensor, multiply


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`: the same arguments, one more, and, except for rounding, the same steps without it.

    Args:
        polar_floor: The least singular value, as a share of the norm of the matrix, that the iteration brings near 1,
            more than 0 and less than 1: the polynomials are then those of `charlm.engine.polar` for `ns_steps` steps,
            and fewer steps do. None = the same polynomial in every step, with `muon_a`, `muon_b` and `muon_c`.
        options: The arguments of `keras.optimizers.Muon`.

    Raises:
        ValueError: `polar_floor` is not between 0 and 1.

    """

    precision = "float32"
    """The precision of matrix products, float32 or bfloat16; see `charlm.engine.recurrence.multiply`."""
    machine = Machine()
    """This machine; several take turns, each iterates for its own matrices and gets the results of the others."""
    _matrices = 0
    """How many matrices the graph has so far: decides whose turn it is."""

    def __init__(self, *, polar_floor: float | None = None, **options: Any) -> None:
        super().__init__(**options)
        if polar_floor is not None and not 0 < polar_floor < 1:
            raise ValueError(f"polar_floor: found {polar_floor}; must be more than 0 and less than 1")
        self.polar_floor = polar_floor

    def get_config(self) -> dict[str, Any]:
        """Return the arguments from which an equal optimizer can be made."""
        return {**super().get_config(), "polar_floor": self.polar_floor}

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
        owner = self._matrices % self.machine.count
        self._matrices += 1
        return self.machine.share(lambda: self._orthogonalize(x, steps), like=x, owner=owner)

    def _orthogonalize(self, x: Tensor, steps: int) -> Tensor:
        rows, columns = x.shape
        if rows > columns:
            return tf.transpose(self._orthogonalize(tf.transpose(x), steps))
        x /= tf.norm(x) + 1e-7  # the spectral norm is at most 1
        identity = tf.eye(rows)
        for a, b, c in self._polynomials(steps):
            gram = self._multiply(x, x, transpose_b=True)
            square = self._multiply(gram, gram, transpose_b=True)  # gram is symmetric; a transposed factor is faster
            x = self._multiply(a * identity + b * gram + c * square, x)
        return x

    def _polynomials(self, steps: int) -> list[Quintic]:
        if self.polar_floor is None:
            return [Quintic(self.muon_a, self.muon_b, self.muon_c)] * steps
        return polar_polynomials(steps, self.polar_floor)

    def _multiply(self, a: Tensor, b: Tensor, *, transpose_b: bool = False) -> Tensor:
        return multiply(a, b, precision=self.precision, transpose_b=transpose_b)
