"""The largest eigenvalues of a matrix that is too large for all of them.

The eigenvalues of A restricted to the Krylov space of x, A x, A^2 x, ... come close to the outermost ones of A first
(Arnoldi 1951). Axes: H units.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ALL_UP_TO = 256
"""Up to this size, all eigenvalues are computed."""
KRYLOV = 200
NEGLIGIBLE = 1e-12


def leading_eigenvalues(matrix: NDArray[np.floating[Any]], *, seed: int = 0) -> NDArray[np.complex128]:
    """Return eigenvalues of a square matrix, largest size first: all of them, or those on a Krylov space.

    The largest size is exact to about 1% then: of 200 approximations for 768 units, the outermost have converged.

    Args:
        matrix: Finite values, [H, H].
        seed: Of the vector that the Krylov space begins with.

    Returns:
        complex128 [H], or [200 or fewer] if H > 256.

    """
    small = matrix if len(matrix) <= ALL_UP_TO else _restrict(np.asarray(matrix, np.float64), seed)
    found = np.linalg.eigvals(small).astype(np.complex128)
    return found[np.argsort(-np.abs(found), kind="stable")]


def _restrict(matrix: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return A on an orthonormal basis of a Krylov space, [n, n]; n is less than KRYLOV if the space is smaller."""
    basis = np.empty((KRYLOV + 1, len(matrix)))
    restricted = np.zeros((KRYLOV + 1, KRYLOV))
    first = np.random.default_rng(seed).standard_normal(len(matrix))
    basis[0] = first / np.linalg.norm(first)
    for step in range(KRYLOV):
        known = basis[: step + 1]
        new = matrix @ basis[step]
        size = np.linalg.norm(new)
        for _ in range(2):  # once is not enough for rounding
            shares = known @ new
            new -= shares @ known
            restricted[: step + 1, step] += shares
        rest = np.linalg.norm(new)
        if rest <= NEGLIGIBLE * size:
            return restricted[: step + 1, : step + 1]
        restricted[step + 1, step] = rest
        basis[step + 1] = new / rest
    return restricted[:KRYLOV]
