"""What the layers of a network do while they read validation text: saturation, and how far gradients reach back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.network.gradients import (
    LARGEST_SLOPES,
    SATURATED_BELOW,
    LagCurve,
    lag_curves,
    read_text,
)
from charlm.network.rnn import Floats, Parameters

WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""B windows of WARM_UP + LAGS characters; the state after the first ones is no longer that of the start."""
STRIDE = 6
"""Every so many characters, the states are counted in the histogram."""
REACHED = 0.1
"""The share of the gradient at lag 0 that counts as reached."""


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """What one layer did."""

    states: Floats
    """A sample of its outputs h, float32 of any shape."""
    saturated_share: float
    """The share of units and positions at which the slope of the activation is below 0.19 of its largest."""
    gradient: LagCurve


def choose_windows(ids: NDArray[Any]) -> NDArray[Any] | None:
    """Return evenly spaced windows of a text, integers [T + 1, B]; None if it has fewer than 2 ids."""
    length = min(WARM_UP + LAGS, len(ids) - 1)
    if length < 1:
        return None
    windows = sliding_window_view(ids, length + 1)
    starts = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(np.int64))
    return np.asarray(windows[starts].T, np.int64)


def probe(parameters: Parameters, windows: NDArray[Any]) -> list[LayerProbe]:
    """Read windows with a network, and follow the gradient of the last prediction of each back.

    Args:
        parameters: The weights.
        windows: What `choose_windows` returned.

    Returns:
        What each layer did, lowest first.

    """
    with np.errstate(all="ignore"):  # weights that are not finite show as NaN
        trace = read_text(parameters, windows)
        end = len(windows) - 1
        lags, texts = min(LAGS, end), np.arange(windows.shape[1])
        curves = lag_curves(trace, np.full(len(texts), end - 1), lags=lags, texts=texts)
        limit = SATURATED_BELOW * LARGEST_SLOPES.get(parameters.activation, 1.0)
        return [
            LayerProbe(
                output[end - lags : end : STRIDE],
                float((slope[end - lags : end] < limit).mean()),
                curve,
            )
            for output, slope, curve in zip(trace.outputs, trace.slopes, curves, strict=True)
        ]


def reach(curve: LagCurve) -> int:
    """Return the lag at which the median of a gradient by lag has fallen to a tenth; its length if it has not."""
    below = np.flatnonzero(np.nan_to_num(curve.median, nan=0.0) < REACHED)
    return int(below[0]) if len(below) else len(curve.median)
