"""The gradient of one prediction's loss with respect to earlier states, by lag: it vanishes or it explodes.

    a_t = x_t U + h_{t-1} V + b,  D_t = diag f'(a_t),  dh_t / dh_{t-1} = V D_t   (rows: v -> v V D_t)

Axes: K lags.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.backward import follow_back, loss_slope
from charlm.inspection.trace import Trace

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


def gradient_by_lag(trace: Trace, *, positions: int = 200, max_lag: int = 128, path: Path = "state") -> GradientByLag:
    """Follow the gradients of evenly spaced predictions of a text back, and compare their norms with those at t.

    Args:
        trace: One text, read; T >= 2.
        positions: How many predictions to follow at most, 1 or more. Those that have fewer characters before them than
            the largest lag are left out.
        max_lag: The largest k, at most; it is less for a short text.
        path: layer follows dh_t/dh_{t-1} = V D_t of each layer alone; state follows the whole network, that is all of
            dL_t/dh_{t-k} as automatic differentiation has it.

    Returns:
        A curve for each layer. A prediction whose gradient at t is zero is left out of the layer's percentiles, which
        are NaN if none is left.

    """
    steps = chosen_steps(len(trace.ids) - 1, count=positions, skip=max_lag)
    lags = min(max_lag, int(steps.min())) + 1
    slopes = loss_slope(trace.weights.logits([output[steps, 0] for output in trace.outputs]), trace.ids[steps + 1, 0])
    flow = follow_back(trace, steps, slopes, lags=lags, across_layers=path == "state")
    norms = np.array([[np.linalg.norm(layer, axis=-1) for layer in gradients] for gradients, _ in flow])  # [K, L, P]
    curves = (_curve(layer, norms[:, layer]) for layer in range(len(trace.outputs)))
    return GradientByLag(path, tuple(curves), len(steps))


def chosen_steps(steps: int, *, count: int, skip: int) -> NDArray[np.int64]:
    """Return up to `count` evenly spaced steps from 0 to steps - 1; half of a short text at most is skipped."""
    first = min(skip, (steps - 1) // 2)
    return np.unique(np.linspace(first, steps - 1, min(count, steps - first)).astype(np.int64))


def _curve(layer: int, norms: NDArray[np.floating[Any]]) -> LagCurve:
    """Return the percentiles of norms [K, P] relative to those at lag 0."""
    known = norms[:, norms[0] > 0].astype(np.float64)
    if known.size:
        low, median, high = np.percentile(known / known[0], [10, 50, 90], axis=1)
    else:
        low, median, high = np.full((3, len(norms)), np.nan)
    return LagCurve(layer, np.arange(len(norms)), median, low, high)
