"""Muon at the speed of the machine: Keras's optimizer with its products where training has its own.

Muon (Jordan et al. 2024, with the scale of Liu et al. 2025, eq. 4) moves a matrix not along its gradient's moving
average but along the nearest orthogonal matrix, so that no direction is learnt much faster than another. It is
found by a Newton-Schulz iteration of 15 products of the matrix's own size, about as much work as the gradient of a
step, so that their speed decides whether it pays. The iteration bears the rounding of bfloat16.
"""

import keras
import tensorflow as tf

from charlm.training.recurrence import Tensor, multiply


class Muon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`: the same arguments and, but for rounding, the same steps."""

    precision = "float32"
    """Of the products: float32 or bfloat16; see `charlm.training.recurrence.multiply`."""

    def zeropower_via_newtonschulz5(self, x: Tensor, steps: int) -> Tensor:
        """Return about U V^T of x = U S V^T, float32 [rows, columns]: its singular values lie near 1.

        From x / |x|, `steps` times: x <- (a I + b A + c A A) x with A = x x^T; a, b, c are `muon_a` to `muon_c`.
        """
        x = tf.convert_to_tensor(x)
        rows, columns = x.shape
        if rows > columns:
            return tf.transpose(self.zeropower_via_newtonschulz5(tf.transpose(x), steps))
        x /= tf.norm(x) + 1e-7  # the spectral norm is 1 at most
        identity = tf.eye(rows)
        for _ in range(steps):
            gram = self._multiply(x, x, transpose_b=True)
            square = self._multiply(gram, gram, transpose_b=True)  # symmetric, and faster so
            x = self._multiply(self.muon_a * identity + self.muon_b * gram + self.muon_c * square, x)
        return x

    def _multiply(self, a: Tensor, b: Tensor, *, transpose_b: bool = False) -> Tensor:
        return multiply(a, b, precision=self.precision, transpose_b=transpose_b)
