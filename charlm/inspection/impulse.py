"""The impulse response: one character is replaced, and the change of the state is followed.

A linear filter with a finite impulse response is back at zero after some steps, one with an infinite response never is.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.surprise import log_softmax
from charlm.network.gradients import Trace, push_forward, slope
from charlm.network.rnn import advance

Values = NDArray[np.float64]

ROUNDING = 1e-12
"""A change of the state this small, relative to that at lag 0, may be a rounding error."""


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
    """KL divergence of the next character's distribution before and after the change, in nats, mean: float64 [K]."""
    verdict: Literal["finite", "infinite"] | None
    """finite: from some lag on, at every position, the linear prediction is zero, and the change up to rounding; None
    if no replacement changes the state."""
    length: int | None
    """The first lag at which a finite response is zero; None if it is infinite, as far as it was followed."""
    half_life: float | None
    """The lag in characters at which `state` has fallen to a half, interpolated; None if it has not."""
    positions: int
    """How many characters were replaced, one at a time."""


def impulse_response(trace: Trace, *, positions: int = 128, max_lag: int = 128, seed: int = 0) -> ImpulseResponse:
    """Replace single characters of a text by others, and follow what is left of the difference.

    Args:
        trace: One text, read; T >= 2, with at least two different characters for a response that is not empty.
        positions: How many characters to replace at most, one at a time: 1 or more, evenly spaced. One whose
            replacement does not change the state at all is left out.
        max_lag: How far to follow, at most; it is less for a short text.
        seed: Decides which characters of the text the replacements are.

    Returns:
        The response; its curves are NaN if no replacement changes the state.

    """
    lags = min(max_lag, (len(trace.ids) - 1) // 2) + 1
    steps = np.unique(np.linspace(0, len(trace.ids) - lags, positions).astype(np.int64))
    changes, linear, kl = _follow(trace, steps, _replacements(trace, steps, seed=seed), lags=lags)
    known = changes[0] > 0
    if not known.any():
        return _no_response(lags)
    relative = changes[:, known] / changes[0, known]
    low, median, high = np.percentile(relative, [10, 50, 90], axis=1)
    linear_relative = linear[:, known] / changes[0, known]
    length = _length(relative, linear_relative)
    return ImpulseResponse(
        lag=np.arange(lags),
        state=median,
        state_low=low,
        state_high=high,
        linear=np.median(linear_relative, axis=1),
        kl=kl[:, known].mean(1),
        verdict="infinite" if length is None else "finite",
        length=length,
        half_life=half_life(median),
        positions=int(known.sum()),
    )


def _no_response(lags: int) -> ImpulseResponse:
    none = np.full(lags, np.nan)
    return ImpulseResponse(np.arange(lags), none, none, none, none, none, None, None, None, 0)


def _replacements(trace: Trace, steps: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return another character for each step, int64 [P], drawn from those that occur in the text."""
    found = np.unique(trace.ids)
    if len(found) < 2:
        return np.asarray(trace.ids[steps, 0])
    at = np.searchsorted(found, trace.ids[steps, 0])
    shift = np.random.default_rng(seed).integers(1, len(found), len(steps))
    return np.asarray(found[(at + shift) % len(found)])


def _follow(
    trace: Trace, steps: NDArray[np.int64], replacements: NDArray[np.int64], *, lags: int
) -> tuple[Values, Values, Values]:
    """Return |dh|, its linear prediction and the KL divergence, [K, P] each.

    Both texts are read again in one batch, so that equal states are equal to the last bit.
    """
    parameters, count = trace.parameters, len(steps)
    now = tuple(np.tile(_state_before(trace, layer, steps), (2, 1)) for layer in range(len(trace.outputs)))
    predicted: NDArray[Any] = np.empty(0)
    rows: list[tuple[Values, Values, Values]] = []
    for lag in range(lags):
        ids = trace.ids[steps + lag, 0]
        totals, now = advance(parameters, np.concatenate([ids, replacements if lag == 0 else ids]), now)
        change = np.concatenate([output[count:] - output[:count] for output in now], axis=-1)
        if lag == 0:
            predicted = change
        else:
            pairs = zip(totals, now, strict=True)
            slopes = tuple(slope(parameters.activation, total[:count], output[:count]) for total, output in pairs)
            predicted = push_forward(parameters, predicted, slopes)
        logits = parameters.logits(now)
        rows.append((_norm(change), _norm(predicted), divergence(logits[:count], logits[count:])))
    changes, linear, kl = (np.array(series) for series in zip(*rows, strict=True))
    return changes, linear, kl


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...], of p = softmax(logits) and q = softmax(other)."""
    log_p, log_q = log_softmax(logits), log_softmax(other)
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))


def _state_before(trace: Trace, layer: int, steps: NDArray[np.int64]) -> NDArray[Any]:
    """Return the output of a layer at the step before each step, [P, H]."""
    first = (steps == 0)[:, None]
    return np.asarray(np.where(first, trace.before[layer][0], trace.outputs[layer][np.maximum(steps - 1, 0), 0]))


def _norm(rows: NDArray[Any]) -> Values:
    return np.asarray(np.linalg.norm(rows.astype(np.float64), axis=-1))


def _length(state: Values, linear: Values) -> int | None:
    """Return the first lag from which on both [K, P] are zero at every position; None if there is none."""
    is_zero = ((state < ROUNDING) & (linear == 0)).all(1)
    last = np.flatnonzero(~is_zero)
    length = int(last[-1]) + 1 if len(last) else 0
    return length if length < len(state) else None


def half_life(curve: Values) -> float | None:
    """Return the lag at which a curve [K] that begins at 1 has fallen to 1/2, log-linear between two lags, or None."""
    below = np.flatnonzero(curve <= 0.5)
    if not len(below):
        return None
    lag = int(below[0])
    with np.errstate(divide="ignore"):
        before, after = np.log2(curve[lag - 1]), np.log2(curve[lag])
    return float(lag - 1 + (before + 1) / (before - after))
