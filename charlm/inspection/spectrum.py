"""The recurrent kernels as matrices: eigenvalues, singular values, non-normality, and the effective radius of V D.

Axes: H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecurrentSpectrum:
    """The recurrent kernel V of one layer."""

    layer: int
    """From 0, lowest first."""
    eigenvalues: NDArray[np.complex128]
    """Of V, largest size first: complex128 [H]."""
    spectral_radius: float
    """The largest size of an eigenvalue of V."""
    largest_singular_value: float
    """The most by which V can lengthen a vector."""
    non_normality: float
    """Henrici's departure from normality, sqrt(|V|_F^2 - sum |lambda|^2) / |V|_F: 0 = normal, 1 = nilpotent."""
    effective_radius: float
    """The median spectral radius of V D_t on the text, D_t = diag f'(a_t)."""
    effective_radius_low: float
    """The smallest of them."""
    effective_radius_high: float
    """The largest of them."""
    effective_radius_positions: int
    """At how many positions of the text it was computed."""
