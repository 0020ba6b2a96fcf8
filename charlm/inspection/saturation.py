"""How much of its range a layer uses: saturated and dead units, and the number of dimensions of its states.

Axes: T the characters of the text, H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LayerSaturation:
    """How the outputs of a layer are spread over a text."""

    layer: int
    units: int
    """H."""
    saturated_share: float | None
    """Share of outputs where |h| > 0.9, from 0 to 1; None if the activation is not bounded by 1."""
    always_saturated_units: int | None
    """Units whose output is saturated at every position; None as above."""
    dead_units: int | None
    """Units whose output is 0 at every position; None if the activation cannot be flat at 0 (relu and relu6 can)."""
    participation_ratio: float
    """(sum of l_i)^2 / sum of l_i^2 of the eigenvalues l of the covariance of h, from 1 to H: how many dimensions the
    states fill; 0 if the states do not vary."""
    counts: NDArray[np.int64]
    """A histogram of all outputs: how many lie in each bin, [bins]."""
    edges: NDArray[np.float64]
    """The borders of the bins, [bins + 1]."""


@dataclass(frozen=True)
class Saturation:
    """How the outputs of all layers are spread over a text."""

    positions: int
    """T."""
    threshold: float
    """The size above which an output counts as saturated."""
    layers: tuple[LayerSaturation, ...]
