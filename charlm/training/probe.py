"""What a network does with a few windows of text: states, saturation, and how far its gradients reach back.

Axes: T time, B batch (windows), H units, K lags, L layers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from charlm.network.backward import follow_back, read_windows
from charlm.network.rnn import Floats, Parameters

WINDOWS, WARM_UP, LAGS = 16, 32, 48
"""B windows of WARM_UP + LAGS characters; the state after the first ones is no longer that of the start."""
STRIDE = 6
"""Every so many characters, the states are counted in the histogram."""
SATURATED_BELOW = 0.19
"""As a share of the largest slope: where tanh has |h| > 0.9, since 1 - 0.9 ** 2 = 0.19."""
LARGEST_SLOPES = {"sigmoid": 1 / 4}
"""Of the activations for which it is not about 1."""


@dataclass(frozen=True, eq=False)
class LagCurve:
    """|dL_t/dh_(t-k)| / |dL_t/dh_t| of one layer, float64 [K] each; NaN if no window has a gradient."""

    median: NDArray[np.float64]
    low: NDArray[np.float64]
    """The 10th percentile."""
    high: NDArray[np.float64]
    """The 90th percentile."""


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
        trace = read_windows(parameters, windows[:-1])
        lags = min(LAGS, len(windows) - 1)
        norms = follow_back(trace, windows[-1], lags=lags)
        limit = SATURATED_BELOW * LARGEST_SLOPES.get(parameters.activation, 1.0)
        return [
            LayerProbe(output[-lags::STRIDE], float((slope[-lags:] < limit).mean()), _curve(norms[:, layer]))
            for layer, (output, slope) in enumerate(zip(trace.outputs, trace.slopes, strict=True))
        ]


def _curve(norms: NDArray[np.float64]) -> LagCurve:
    """Return the percentiles over the windows, given norms [K, B]; a window whose gradient is zero is left out."""
    ratios = norms[:, norms[0] > 0] / norms[0, norms[0] > 0]
    if not ratios.size:
        return LagCurve(*(np.full(len(norms), np.nan) for _ in range(3)))
    low, median, high = np.percentile(ratios, [10, 50, 90], axis=1)
    return LagCurve(median, low, high)
