"""Principal components: the two directions in which vectors differ most.

Axes: N vectors, H their length.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane in which some vectors differ most."""

    mean: Values
    """[H]."""
    axes: Values
    """Two orthonormal directions, [2, H]; zeros if the vectors differ in fewer."""
    explained: tuple[float, float]
    """The share of the variance along each, from 0 to 1; the larger one first."""

    def project(self, vectors: NDArray[np.floating[Any]]) -> Values:
        """Return the coordinates [N, 2] of vectors [N, H]."""
        return np.asarray((vectors - self.mean) @ self.axes.T)


def fit_plane(vectors: NDArray[np.floating[Any]]) -> Plane:
    """Return the first two principal components of vectors [N, H], N >= 1.

    The largest coordinate of each direction is positive, so that equal vectors give equal pictures.
    """
    mean = vectors.mean(0, dtype=np.float64)
    centred = vectors - mean
    is_wide = centred.shape[0] < centred.shape[1]
    variances, directions = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
    total = max(float(variances.sum()), 0.0)
    axes = np.zeros((2, centred.shape[1]))
    shares = [0.0, 0.0]
    for index, (variance, direction) in enumerate(zip(variances[:-3:-1], directions.T[:-3:-1], strict=True)):
        if variance > total * 1e-12 and total > 0:
            axis = direction @ centred if is_wide else direction
            axes[index] = axis / np.linalg.norm(axis) * np.sign(axis[np.abs(axis).argmax()])
            shares[index] = float(variance) / total
    return Plane(mean, axes, (shares[0], shares[1]))
