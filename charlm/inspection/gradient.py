"""How far back a loss teaches: the gradients by lag, which vanish or explode.

dh_t / dh_{t-1} = V D_t, D_t = diag f'(a_t)   (rows: v -> v V D_t)

Axes: K lags.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.figures import RULE, band, canvas, legend, log_scale, positive, series
from charlm.inspection.reading import Reading
from charlm.inspection.section import Found
from charlm.network.gradients import LagCurve, Trace, lag_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

VISIBLE = 1e-3
"""The share of a gradient at lag 0 that counts as visible."""
BLOCKS = 8
"""Of neighbouring predictions, whose curves give the standard errors of half-lives and slopes."""


@dataclass(frozen=True, eq=False)
class LayerGradient(LagCurve):
    """How far back the gradient reaches one layer."""

    half_life: float | None
    """The lag in characters at which `median` has fallen to a half: `half_life`."""
    half_life_error: float | None
    """Its standard error, by BLOCKS blocks of neighbouring predictions; None if it is not known in one of them."""
    slope: float | None
    """Of ln `median` over the second half of the lags, in nats per character; None if nothing is left there."""
    slope_error: float | None
    """Its standard error, as above."""
    visible_to: int
    """The last lag at which `median` is at least VISIBLE; the largest one if it reaches further than was followed."""
    positions: NDArray[np.int64]
    """Of the characters whose losses were followed back, int64 [P]."""


def gradient_by_lag(trace: Trace, *, positions: int = 200, max_lag: int = 128) -> list[LayerGradient]:
    """Follow the gradients of evenly spaced predictions of a text back, and compare their norms with those at t.

    Args:
        trace: One text, read; T >= 2.
        positions: How many predictions to follow at most, 1 or more. Those that have fewer characters before them than
            the largest lag are left out, half of a short text at most.
        max_lag: The largest k, at most; it is less for a short text.

    """
    last = len(trace.ids) - 2
    first = min(max_lag, last // 2)
    steps = np.unique(np.linspace(first, last, min(positions, last + 1 - first)).astype(np.int64))
    lags = min(max_lag, int(steps.min())) + 1
    parts = (steps, *np.array_split(steps, min(BLOCKS, len(steps))))
    found = []
    for curve, *blocks in zip(*(lag_curves(trace, part, lags=lags) for part in parts), strict=True):
        medians = [block.median for block in blocks]
        layer = LayerGradient(
            **vars(curve),
            half_life=half_life(curve.median),
            half_life_error=_error(half_life, medians),
            slope=far_slope(curve.median),
            slope_error=_error(far_slope, medians),
            visible_to=int(np.flatnonzero(curve.median >= VISIBLE).max(initial=0)),
            positions=steps + 1,
        )
        found.append(layer)
    return found


def _error(measure: Callable[[Values], float | None], curves: Sequence[Values]) -> float | None:
    """Return the standard error of the mean over the curves of blocks; None if it is not known."""
    values = [value for value in map(measure, curves) if value is not None]
    return None if len(values) < max(2, len(curves)) else statistics.stdev(values) / math.sqrt(len(values))


def half_life(curve: Values) -> float | None:
    """Return the lag at which a curve [K] that begins at 1 has fallen to 1/2, or None.

    It is log-linear between two lags of 1 and more; 1 if the curve has fallen so far at lag 1.
    """
    below = np.flatnonzero(curve <= 0.5)
    if not len(below):
        return None
    lag = int(below[0])
    if lag == 1:
        return 1.0
    with np.errstate(divide="ignore"):
        before, after = np.log2(curve[lag - 1]), np.log2(curve[lag])
    return float(lag - 1 + (before + 1) / (before - after))


def far_slope(curve: Values) -> float | None:
    """Return the slope of the logarithm of a curve [K] over the second half of its lags; None if it is not above 0."""
    far = curve[len(curve) // 2 :]
    if len(far) < 2 or not (far > 0).all():
        return None
    return float(np.polyfit(np.arange(len(far)), np.log(far), 1)[0])


def life_text(life: float) -> str:
    """Return a half-life for the user: below one character, there is nothing to interpolate between."""
    return "1 or less" if life <= 1 else f"{life:.1f}"


def make_gradient(reading: Reading) -> Found:
    """Follow the gradients of a text back."""
    curves = gradient_by_lag(reading.trace, positions=reading.limits.predictions)
    sentence = gradient_sentence(curves) if curves[0].lag[-1] else ""  # no lag in a text of 2 or 3
    return Found(curves, partial(draw_gradient, curves), curves, sentence, positions=curves[0].positions)


def gradient_sentence(curves: Sequence[LayerGradient]) -> str:
    """Return how fast the gradient fades, by the layers, and how far back it can be seen."""
    last, reach = int(curves[0].lag[-1]), max(curve.visible_to for curve in curves)
    lives = sorted(math.inf if curve.half_life is None else curve.half_life for curve in curves)
    named = [life_text(life) if life <= last else f"more than {last}" for life in (lives[0], lives[-1])]
    seen = f"{reach} characters back{' or more' if reach == last else ''}"
    return f"has a gradient that halves in {' to '.join(dict.fromkeys(named))} characters and can be seen {seen}"


def draw_gradient(curves: Sequence[LayerGradient]) -> "Figure":
    """Draw how the gradient of a loss shrinks or grows on its way back, for each layer."""
    figure, (axes,) = canvas("The gradient of a loss, k characters before it")
    for index, curve in enumerate(curves):
        style = series(index)
        band(axes, curve.lag, positive(curve.low), positive(curve.high), colour=style["color"])
        half = "" if curve.half_life is None else f", half-life {life_text(curve.half_life)}"
        median = positive(curve.median)
        if np.isfinite(median).sum() == 1:  # which a line does not show
            style = {**style, "marker": "o"}
        axes.plot(curve.lag, median, label=f"rnn.{curve.layer}{half}", **style)
    log_scale(axes, *(values for curve in curves for values in (curve.median, curve.high)))
    axes.axhline(1, **RULE)
    axes.set(xlabel="lag k, characters", ylabel="|dL/dh| at lag k / at lag 0")
    axes.set_xlim(0, max(1, curves[0].lag[-1]))
    legend(figure, columns=2)
    return figure
