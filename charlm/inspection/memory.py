"""How long a network remembers: how far back a loss teaches, and what is left of a character that was replaced.

    dh_t / dh_{t-1} = V D_t, D_t = diag f'(a_t)   (rows: v -> v V D_t)

The gradients of a loss vanish or explode by lag; the change of the state by one character fades, ends or grows.

Axes: K lags, P replaced characters.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.evaluation.scoring import standard_error
from charlm.inspection.figures import Curve, Panel
from charlm.inspection.reading import Found, Reading
from charlm.network.gradients import LagCurve, Trace, lag_curves, push_forward, slope
from charlm.network.rnn import advance, log_softmax
from charlm.wording import counted

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
        layer = LayerGradient(
            **vars(curve),
            half_life=half_life(curve.median),
            half_life_error=_error(half_life, blocks),
            slope=far_slope(curve.median),
            slope_error=_error(far_slope, blocks),
            visible_to=int(np.flatnonzero(curve.median >= VISIBLE).max(initial=0)),
            positions=steps + 1,
        )
        found.append(layer)
    return found


def _error(measure: Callable[[Values], float | None], blocks: Sequence[LagCurve]) -> float | None:
    """Return the standard error of a measure by its values in blocks; None if it is not known in one of them."""
    values = [measure(block.median) for block in blocks]
    return None if None in values else standard_error(np.array(values, np.float64))


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


def make_gradient(reading: Reading) -> Found:
    """Follow the gradients of a text back."""
    curves = gradient_by_lag(reading.trace, positions=reading.limits.predictions)
    sentence = gradient_sentence(curves) if curves[0].lag[-1] else ""  # no lag in a text of 2 or 3
    panels, positions = [gradient_panel(curves)], curves[0].positions
    return Found(curves, panels=panels, items=curves, sentence=sentence, positions=positions)


def gradient_sentence(curves: Sequence[LayerGradient]) -> str:
    """Return how fast the gradient fades, by the layers, and how far back it can be seen."""
    last, reach = int(curves[0].lag[-1]), max(curve.visible_to for curve in curves)
    lives = sorted(math.inf if curve.half_life is None else curve.half_life for curve in curves)
    named = [
        f"{life:.1f}".removesuffix(".0") if life <= last else f"more than {last}" for life in (lives[0], lives[-1])
    ]
    halves = " to ".join(dict.fromkeys(named)) + (" character" if named == ["1", "1"] else " characters")
    halves += " by layer" if named[0] != named[1] else ""
    halves = f"halves in {halves}" if lives[0] <= last else f"does not halve in {counted(last, 'character')}"
    seen = f"can be seen {counted(reach, 'character')} back{' or more' if reach == last else ''}"
    return f"has a gradient that {halves} and {seen if reach else 'cannot be seen one character back'}"


def gradient_panel(layers: Sequence[LayerGradient]) -> Panel:
    """Show how the gradient of a loss shrinks or grows on its way back, for each layer."""
    curves = {f"rnn.{each.layer}": Curve(each.lag, each.median, (each.low, each.high)) for each in layers}
    labels = ("lag k, characters", "|dL/dh| at lag k / at lag 0")
    return Panel("The gradient of a loss, k characters before it", labels, curves, scale="log", rule=1)


@dataclass(frozen=True, eq=False)
class ImpulseResponse:
    """What is left of a replaced character, by lag; lag 0 is the step that reads it. Medians over the positions."""

    lag: NDArray[np.int64]
    """0, 1, ..., int64 [K]."""
    state: Values
    """|dh|, the norm of the change of the whole state, over that at lag 0: float64 [K]."""
    state_low: Values
    """The 10th percentile, float64 [K]."""
    state_high: Values
    """The 90th percentile, float64 [K]."""
    linear: Values
    """The same by the linear prediction dh_{t+1} = dh_t V D_{t+1}, begun with dh at lag 0: float64 [K]."""
    kl: Values
    """KL(p || q) of the next character's distributions without (p) and with the change (q), in nats, the mean over the
    replacements: float64 [K]."""
    kl_errors: Values
    """Its standard errors, float64 [K]; NaN for a single replacement."""
    positions: NDArray[np.int64]
    """Of the characters that were replaced, one at a time: int64 [P], P >= 1."""


def impulse_response(trace: Trace, *, positions: int = 128, max_lag: int = 128, seed: int = 0) -> ImpulseResponse:
    """Replace single characters of a text by others that occur in it, and follow what is left of the difference.

    Both texts are read again in one batch, so that equal states are equal to the last bit.

    Args:
        trace: One text, read; T >= 2.
        positions: How many characters to replace at most, one at a time: 1 or more, evenly spaced. One whose
            replacement does not change the state at all is left out.
        max_lag: How far to follow, at most; it is less for a short text.
        seed: Decides which characters the replacements are: each other one is equally likely.

    Raises:
        CharlmError: no replacement changes the state; so it is if all characters of the text are the same.

    """
    parameters, lags = trace.parameters, min(max_lag, (len(trace.ids) - 1) // 2) + 1
    steps = np.unique(np.linspace(0, len(trace.ids) - lags, positions).astype(np.int64))
    count, choices = len(steps), np.unique(trace.ids)
    shift = np.random.default_rng(seed).integers(1, max(2, len(choices)), count)
    replacements = choices[(np.searchsorted(choices, trace.ids[steps, 0]) + shift) % len(choices)]
    now = tuple(
        np.tile(np.where((steps == 0)[:, None], before[0], outputs[steps - 1, 0]), (2, 1))
        for before, outputs in zip(trace.before, trace.outputs, strict=True)
    )
    predicted: NDArray[Any] = np.empty(0)
    changes, linear, kl = np.empty((3, lags, count))
    for lag in range(lags):
        ids = trace.ids[steps + lag, 0]
        now = advance(parameters, np.concatenate([ids, replacements if lag == 0 else ids]), now)
        change = np.concatenate([output[count:] - output[:count] for output in now], axis=-1)
        slopes = tuple(slope(parameters.activation, output[:count]) for output in now)
        predicted = push_forward(parameters, predicted, slopes) if lag else change
        logits = parameters.logits(now)
        changes[lag], linear[lag] = (np.linalg.norm(rows.astype(np.float64), axis=-1) for rows in (change, predicted))
        kl[lag] = divergence(logits[:count], logits[count:])
    known = changes[0] > 0
    if not known.any():
        raise CharlmError("no character of the text can be replaced by one that changes the state")
    relative, linear = changes[:, known] / changes[0, known], linear[:, known] / changes[0, known]
    kl = kl[:, known]
    low, median, high = np.percentile(relative, [10, 50, 90], axis=1)
    return ImpulseResponse(
        lag=np.arange(lags),
        state=median,
        state_low=low,
        state_high=high,
        linear=np.median(linear, axis=1),
        kl=kl.mean(1),
        kl_errors=kl.std(1, ddof=1) / math.sqrt(kl.shape[1]) if kl.shape[1] > 1 else np.full(lags, np.nan),
        positions=steps[known],
    )


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...], of p = softmax(logits) and q = softmax(other)."""
    log_p, log_q = (log_softmax(found.astype(np.float64)) for found in (logits, other))
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))


def impulse_panels(response: ImpulseResponse) -> list[Panel]:
    """Show what is left of a replaced character in the state and in the prediction: a constant factor is a line."""
    lag, kl, errors = response.lag, response.kl, 2 * response.kl_errors
    state = Curve(lag, response.state, (response.state_low, response.state_high))
    prediction = Curve(lag, kl, (np.maximum(kl - errors, kl / 10), kl + errors))
    besides = {"linear prediction": Curve(lag, response.linear)}
    labels, kl_labels = ("lag, characters", "|dh| / |dh| at lag 0"), ("lag, characters", "KL divergence, nats")
    return [
        Panel("Change of the state", labels, {"|dh|": state}, besides, scale="log"),
        Panel("Change of the prediction", kl_labels, {"": prediction}, scale="log"),
    ]


def make_impulse(reading: Reading) -> Found:
    """Replace characters of a text."""
    found = impulse_response(reading.trace)
    return Found(found, panels=impulse_panels(found), positions=found.positions)
