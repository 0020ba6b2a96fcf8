"""Activity of a network's layers on validation text: saturation, and the reach of gradients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.network.gradients import (
    SATURATED_BELOW,
    LagCurve,
    lag_curves,
    read_text,
)
from charlm.network.rnn import ACTIVATIONS, Floats, Parameters

WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""Number of windows, and their length, WARM_UP + LAGS characters. The warm-up lets a network forget
its zero state."""
STRIDE = 6
"""Number of characters between two states that are counted in the histogram."""
REACHED = 0.1
"""Smallest gradient that counts as reaching back, as a share of its size at lag 0."""


@dataclass(frozen=True, eq=False)
class LayerProbe:
    """The activity of one layer."""

    states: Floats
    """Sample of the outputs h, float32 of any shape."""
    saturated_share: float
    """Share of units and positions whose activation has a slope below 0.19 of the largest slope."""
    gradient: LagCurve


def choose_windows(ids: NDArray[Any]) -> NDArray[Any] | None:
    """Return evenly spaced windows of a text, integers [T + 1, B]; None for fewer than 2 ids."""
    length = min(WARM_UP + LAGS, len(ids) - 1)
    if length < 1:
        return None
    windows = sliding_window_view(ids, length + 1)
    starts = np.unique(np.linspace(0, len(windows) - 1, WINDOWS).astype(np.int64))
    return np.asarray(windows[starts].T, np.int64)


def probe(parameters: Parameters, windows: NDArray[Any]) -> list[LayerProbe]:
    """Read windows with a network, and follow the gradient of each last prediction back in time.

    Args:
        parameters: The weights.
        windows: Ids from `choose_windows`, integers [T + 1, B].

    Returns:
        A probe of each layer, lowest first.

    """
    end = len(windows) - 1
    lags = min(LAGS, end)
    texts = np.arange(windows.shape[1])
    limit = SATURATED_BELOW * ACTIVATIONS[parameters.activation].largest_slope
    probes = []
    with np.errstate(all="ignore"):  # weights that are not finite give NaN
        trace = read_text(parameters, windows)
        curves = lag_curves(trace, np.full(len(texts), end - 1), lags=lags, texts=texts)
        for output, slope, curve in zip(trace.outputs, trace.slopes, curves, strict=True):
            saturated_share = float((slope[end - lags : end] < limit).mean())
            probes.append(LayerProbe(output[end - lags : end : STRIDE], saturated_share, curve))
    return probes


def reach(curve: LagCurve) -> int:
    """Return the first lag with a median gradient below a tenth, or else the curve's length."""
    below = np.flatnonzero(np.nan_to_num(curve.median, nan=0.0) < REACHED)
    return int(below[0]) if len(below) else len(curve.median)
