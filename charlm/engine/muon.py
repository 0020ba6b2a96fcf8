"""Muon with fast matrix products: Keras's optimizer, but at the precision of training.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, equation 4) updates a matrix not along the moving average
of its gradient but along the nearest orthogonal matrix, so that no direction is learnt much faster than another. A
Newton-Schulz iteration finds it with 15 products of the matrix's own size. That is about as much work as the gradient
of a step, so the speed of these products decides whether Muon pays off. The iteration tolerates the rounding of
bfloat16.
"""

import keras
import tensorflow as tf

from charlm.engine.distribution import Machine
from charlm.engine.recurrence import Tensor, multiply


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`: the same arguments and, except for rounding, the same steps."""

    precision = "float32"
    """The precision of matrix products, float32 or bfloat16; see `charlm.engine.recurrence.multiply`."""
    machine = Machine()
    """This machine; several take turns, each iterates for its own matrices and gets the results of the others."""
    _matrices = 0
    """How many matrices the graph has so far: decides whose turn it is."""

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return approximately U V^T for x = U S V^T, a matrix whose singular values are near 1.

        Starting from x / |x|, `steps` times: x <- (a I + b A + c A A) x with A = x x^T (Jordan et al. 2024); a, b, c
        are the arguments `muon_a`, `muon_b` and `muon_c`. The name of this method is that of the one it replaces.

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
        for _ in range(steps):
            gram = self._multiply(x, x, transpose_b=True)
            square = self._multiply(gram, gram, transpose_b=True)  # gram is symmetric; a transposed factor is faster
            x = self._multiply(self.muon_a * identity + self.muon_b * gram + self.muon_c * square, x)
        return x

    def _multiply(self, a: Tensor, b: Tensor, *, transpose_b: bool = False) -> Tensor:
        return multiply(a, b, precision=self.precision, transpose_b=transpose_b)
