"""The gradient of a prediction's loss by lag: it vanishes or explodes.

    dL/dh_{t-1} = dL/dh_t D_t V^T, D_t = diag f'(a_t)

Vectors are rows. Axes: K lags, P predictions.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import standard_error
from charlm.inspection.figures import Curve, Panel, clipping_note
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Content, Sample, Section, Table
from charlm.network.gradients import LagCurve, Trace, lag_curves
from charlm.wording import counted

Values = NDArray[np.float64]

VISIBLE = 1e-3
"""Smallest size of a gradient that counts as visible, as a share of its size at lag 0."""
BLOCKS = 8
"""Number of blocks of neighbouring predictions for the standard errors of half-lives and slopes."""


@dataclass(frozen=True, eq=False)
class LayerGradient(LagCurve):
    """The gradient at one layer by lag."""

    half_life: float | None
    """Lag in characters where `median` reaches 1/2, see `half_life`; None if it does not."""
    half_life_error: float | None
    """Standard error of the half-life from blocks of predictions; None if a block has no
    half-life."""
    slope: float | None
    """Slope of ln `median` over the second half of the lags, in nats per character; None if the
    median is 0 there."""
    slope_error: float | None
    """Standard error of the slope from blocks of predictions; None if a block has no slope."""
    visible_to: int
    """Last lag with a `median` of at least VISIBLE; at most the largest lag that was followed."""
    blocks: int
    """Number of blocks of neighbouring predictions behind the standard errors."""
    positions: Sample
    """The characters whose losses were followed back."""


def gradient_by_lag(
    trace: Trace, *, positions: int = 200, max_lag: int = 128
) -> list[LayerGradient]:
    """Follow the gradients of evenly spaced predictions back, relative to their norms at lag 0.

    Args:
        trace: The trace of one text; T >= 2.
        positions: Maximum number of predictions to follow, 1 or more. Predictions with fewer
            characters before them than the largest lag are left out, but never more than half of
            the text.
        max_lag: The largest lag, 1 or more; it is smaller for a short text.

    """
    last = len(trace.ids) - 2
    first = min(max_lag, last // 2)
    steps = np.unique(np.linspace(first, last, min(positions, last + 1 - first)).astype(np.int64))
    lags = min(max_lag, int(steps[0])) + 1
    blocks = np.array_split(steps, min(BLOCKS, len(steps)))
    block_curves = [lag_curves(trace, block, lags=lags) for block in blocks]
    layers = []
    for index, curve in enumerate(lag_curves(trace, steps, lags=lags)):
        medians = [curves[index].median for curves in block_curves]
        layer = LayerGradient(
            **vars(curve),
            half_life=half_life(curve.median),
            half_life_error=_error(half_life, medians),
            slope=far_slope(curve.median),
            slope_error=_error(far_slope, medians),
            visible_to=int(np.flatnonzero(curve.median >= VISIBLE).max(initial=0)),
            blocks=len(blocks),
            positions=Sample.of(steps + 1),
        )
        layers.append(layer)
    return layers


def _error(measure: Callable[[Values], float | None], medians: Sequence[Values]) -> float | None:
    """Return the standard error of a measure over blocks; None if it is unknown in a block."""
    values = [measure(median) for median in medians]
    return None if None in values else standard_error(np.array(values, np.float64))


def half_life(curve: Values) -> float | None:
    """Return the lag where a curve [K] that begins at 1 reaches 1/2; None if it does not.

    The logarithm of the curve is interpolated between two lags, but the result is at least 1.
    """
    below = np.flatnonzero(curve <= 0.5)
    if not len(below):
        return None
    lag = int(below[0])
    if lag == 1:
        return 1.0
    with np.errstate(divide="ignore"):
        before, after = np.log2(curve[lag - 1 : lag + 1])
    return float(lag - 1 + (before + 1) / (before - after))


def far_slope(curve: Values) -> float | None:
    """Return the slope of the logarithm of a curve [K] over the second half of its lags.

    The slope is None for fewer than 2 lags, or if the curve is not above 0 there.
    """
    far = curve[len(curve) // 2 :]
    if len(far) < 2 or not (far > 0).all():
        return None
    return float(np.polyfit(np.arange(len(far)), np.log(far), 1)[0])


def make_gradient(reading: Reading) -> Content:
    """Follow the gradients of predictions back through the text."""
    layers = gradient_by_lag(reading.trace, positions=reading.limits.predictions)
    return Content(
        layers,
        basis=f"Based on the losses of {layers[0].positions}.",
        figure=gradient_chart(layers),
        table=gradient_table(layers),
        summary=gradient_summary(layers),
    )


def gradient_summary(layers: Sequence[LayerGradient]) -> str:
    """Return how fast the gradient shrinks, and how far back it is visible; empty if unknown."""
    last = int(layers[0].lag[-1])
    layers = [layer for layer in layers if np.isfinite(layer.median[0])]
    if not last or not layers:
        return ""
    lives = [layer.half_life or math.inf for layer in layers]
    reach = max(layer.visible_to for layer in layers)
    if min(lives) > last:
        halves = f"does not halve within {counted(last, 'character')}"
    else:
        halves = f"halves in {_range_of(lives, last)}"
    if reach == 0:
        return f"has a gradient that {halves} and is not visible one character back"
    more = " or more" if reach == last else ""
    return f"has a gradient that {halves} and is visible {counted(reach, 'character')} back{more}"


def _range_of(lives: Sequence[float], last: int) -> str:
    """Return half-lives as a range; a half-life beyond the last lag is "more than" that lag."""
    shortest, longest = (
        f"{life:.1f}".removesuffix(".0") if life <= last else f"more than {last}"
        for life in (min(lives), max(lives))
    )
    if shortest == longest:
        return "1 character" if shortest == "1" else f"{shortest} characters"
    return f"{shortest} to {longest} characters, depending on the layer,"


def gradient_table(layers: Sequence[LayerGradient]) -> Table:
    """List the half-life, the slope and the reach of each layer."""
    blocks = counted(layers[0].blocks, "block")
    return Table(
        "Half-life: the lag at which the median has fallen to 1/2, at least 1. "
        "Slope: the slope of ln(median) over the second half of the lags. Visible to: the last "
        "lag with at least 1/1000 of the gradient at lag 0 of the same layer. ± is a standard "
        f"error from {blocks} of neighbouring predictions; it is left out if the "
        "half-life or slope of a block is unknown.",
        {
            "layer": [layer.layer for layer in layers],
            "half-life, characters": [(layer.half_life, layer.half_life_error) for layer in layers],
            "slope, nats per character": [(layer.slope, layer.slope_error) for layer in layers],
            "visible to lag": [layer.visible_to for layer in layers],
        },
        is_open=True,
    )


def gradient_chart(layers: Sequence[LayerGradient]) -> Chart:
    """Draw the size of the gradient by lag, a line for each layer."""
    curves = {
        f"rnn.{layer.layer}": Curve(layer.lag, layer.median, (layer.low, layer.high))
        for layer in layers
    }
    panel = Panel(
        "Gradient of a loss, k characters earlier",
        ("lag k, characters", "|dL/dh| at lag k / at lag 0"),
        curves,
        y_scale="log",
        rule=1,
    )
    note = clipping_note([panel])
    return Chart(
        [panel],
        "Size of the gradient at the state of each layer by lag, relative to lag 0: the median "
        "over the predictions.",
        f"Bands: the 10th to the 90th percentile of the predictions. {note}".rstrip(),
    )


SECTION = Section(
    name="gradient_by_lag",
    title="The gradient by lag",
    equation="dL/dh_{t-1} = dL/dh_t D_t V^T, D_t = diag f'(a_t), a_t = x_t U + h_{t-1} V + b",
    text=(
        "The loss of one prediction is followed back through the text. A falling line means that "
        "the loss teaches little about what came k characters earlier: the gradient vanishes. A "
        "rising line means that it explodes. The gradient counts as visible down to 1/1000 of its "
        "size. Training cuts it off at the border of a window; this figure does not. Far back, the "
        "lines are nearly straight. The slope at a layer is close to the largest of the Lyapunov "
        "exponents of that layer and of the layers above it, because the gradient also arrives "
        "through them."
    ),
    make=make_gradient,
)
