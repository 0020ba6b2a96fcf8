"""The gradient of one prediction's loss with respect to earlier states, by lag: does it vanish or explode?

    a_t = x_t U + h_{t-1} V + b,  D_t = diag f'(a_t),  dh_t / dh_{t-1} = V D_t   (rows: v -> v V D_t)

Axes: K lags.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Path = Literal["layer", "state"]
"""What a gradient flows through: the recurrence of one layer alone, or the whole state of all layers."""


@dataclass(frozen=True, eq=False)
class LagCurve:
    """How the gradient of the loss at t reaches one layer k characters earlier: |dL_t/dh_{t-k}| / |dL_t/dh_t|."""

    layer: int
    """From 0, lowest first."""
    lag: NDArray[np.int64]
    """k = 0, 1, ..., int64 [K]."""
    median: Values
    """Over the positions t, float64 [K]; 1 at lag 0."""
    low: Values
    """The 10th percentile, float64 [K]."""
    high: Values
    """The 90th percentile, float64 [K]."""


@dataclass(frozen=True, eq=False)
class GradientByLag:
    """The curves of all layers along one path."""

    path: Path
    layers: tuple[LagCurve, ...]
    positions: int
    """How many predictions were followed back."""
