"""What is left of a replaced character, in the state and in the predictions.

Axes: K lags, P replaced characters.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.figures import band, canvas, legend, log_scale, positive, series
from charlm.inspection.gradient import half_life
from charlm.inspection.reading import Reading
from charlm.inspection.section import Found
from charlm.network.gradients import Trace, push_forward, slope
from charlm.network.rnn import advance, log_softmax

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]

AFTER_END = 6
"""Lags of a finite response that are drawn after it has ended."""
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
    """KL(p || q) of the next character's distributions without (p) and with the change (q), in nats, the mean over the
    replacements: float64 [K]."""
    kl_errors: Values
    """Its standard errors, float64 [K]; NaN for a single replacement."""
    length: int | None
    """The first lag from which on, at every position, the linear prediction is zero, and the change up to rounding;
    None if there is none as far as it was followed: the response is infinite."""
    half_life: float | None
    """The lag in characters at which `state` has fallen to a half: `charlm.inspection.gradient.half_life`."""
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
    is_left = ((relative >= ROUNDING) | (linear != 0)).any(1)
    length = int(np.flatnonzero(is_left)[-1]) + 1
    return ImpulseResponse(
        lag=np.arange(lags),
        state=median,
        state_low=low,
        state_high=high,
        linear=np.median(linear, axis=1),
        kl=kl.mean(1),
        kl_errors=kl.std(1, ddof=1) / math.sqrt(kl.shape[1]) if kl.shape[1] > 1 else np.full(lags, np.nan),
        length=length if length < lags else None,
        half_life=half_life(median),
        positions=steps[known],
    )


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...], of p = softmax(logits) and q = softmax(other)."""
    log_p, log_q = (log_softmax(found.astype(np.float64)) for found in (logits, other))
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))


def draw_impulse_response(response: ImpulseResponse) -> "Figure":
    """Draw what is left of a replaced character in the state and in the prediction: a constant factor is a line."""
    figure, (upper, lower) = canvas("Change of the state", "Change of the prediction", height=1.5)
    upper.set(xlabel="lag, characters", ylabel="|dh| / |dh| at lag 0")
    lower.set(xlabel="lag, characters", ylabel="KL divergence, nats")
    style, lag, is_finite = series(0), response.lag, response.length is not None
    if response.length is not None:  # it ends after a few characters, in zeros, which a logarithmic axis cannot show
        style, lag = {**style, "marker": "o", "markersize": 3}, lag[: response.length + AFTER_END]
    values = (response.state_low, response.state_high, response.state, response.linear, response.kl)
    low, high, state, linear, kl = (each[: len(lag)] if is_finite else positive(each) for each in values)
    band(upper, lag, low, high, colour=series(0)["color"])
    upper.plot(lag, state, label="|dh|", **style)
    upper.plot(lag, linear, label="linear prediction", **series(1))
    lower.plot(lag, kl, **style)
    errors = 2 * np.nan_to_num(response.kl_errors[: len(lag)])
    band(lower, lag, np.maximum(kl - errors, kl / 10), kl + errors, colour=series(0)["color"])
    if not is_finite:
        log_scale(upper, state, linear)
        log_scale(lower, kl)
    legend(figure)
    return figure


def make_impulse(reading: Reading) -> Found:
    """Replace characters of a text."""
    found = impulse_response(reading.trace)
    return Found(found, partial(draw_impulse_response, found), positions=found.positions)
