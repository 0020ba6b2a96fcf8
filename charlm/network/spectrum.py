"""The spectral radius of a recurrent kernel: how a linear network of that kernel would grow or fade in each step."""

import math

import numpy as np

from charlm.network.rnn import Floats

SQUARINGS = 8


def spectral_radius(matrix: Floats, *, squarings: int = SQUARINGS) -> float:
    """Estimate the largest size of an eigenvalue from repeated squares, many times faster than all eigenvalues.

        rho = lim |M^k|^(1/k)   (Gelfand 1941), here (|M^(2n)| / |M^n|)^(1/n) with n = 2^(squarings - 1)

    The ratio leaves out the constant factor of |M^k|, so that it is exact for an orthogonal matrix. Each square is
    scaled to a Frobenius norm of 1, so that nothing overflows.

    Args:
        matrix: float32 [H, H].
        squarings: How often to square, 1 or more; the error falls by half each time.

    Returns:
        The radius, 0 or more; NaN if a value of the matrix is not finite.

    """
    norm = float(np.linalg.norm(matrix))
    if norm == 0 or not math.isfinite(norm):
        return norm if norm == 0 else math.nan
    power, log_norm, growth = matrix / np.float32(norm), math.log(norm), 0.0
    for squaring in range(squarings):
        power = power @ power
        norm = float(np.linalg.norm(power))
        if norm == 0:  # all eigenvalues are 0, or float32 ends here
            return 0.0
        power /= np.float32(norm)
        before, log_norm = log_norm, 2 * log_norm + math.log(norm)
        growth = (log_norm - before) / 2**squaring
    return math.exp(growth)
