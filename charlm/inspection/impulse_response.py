"""The impulse response: the fading effect of a replaced character on the state and the predictions.

Axes: K lags, P replaced characters.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.figures import Curve, Panel, clipping_note
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Content, Sample, Section
from charlm.network.gradients import Trace, push_forward, slope
from charlm.network.rnn import advance, log_softmax
from charlm.wording import counted

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImpulseResponse:
    """The effect of a replaced character by lag; lag 0 is the step that reads that character."""

    lag: NDArray[np.int64]
    """Lags 0, 1, ..., int64 [K]."""
    state: Values
    """Norm of the change of the whole state, relative to lag 0: the median, float64 [K]."""
    state_low: Values
    """The 10th percentile of the same ratio, float64 [K]."""
    state_high: Values
    """The 90th percentile of the same ratio, float64 [K]."""
    linear: Values
    """Median of the same ratio for the linear prediction dh_{t+1} = dh_t V D_{t+1}, which starts
    from dh at lag 0, float64 [K]."""
    kl: Values
    """Mean of KL(p || q) in nats, where p predicts the next character in the unchanged text and q
    in the text with the replacement, float64 [K]."""
    kl_errors: Values
    """Standard error of each mean over the replacements, float64 [K]; NaN for one replacement."""
    positions: Sample
    """The characters that were replaced, one at a time."""
    unchanged: int
    """Number of these replacements that did not change the state and were left out."""


def impulse_response(
    trace: Trace, *, positions: int = 128, max_lag: int = 128, seed: int = 0
) -> ImpulseResponse:
    """Replace single characters of a text by other characters from it, and follow the difference.

    Args:
        trace: The trace of one text; T >= 2.
        positions: Maximum number of characters to replace, evenly spaced, 1 or more.
        max_lag: The largest lag, 1 or more; it is smaller for a short text.
        seed: Seed of the replacements, drawn from the other characters with equal probability.

    Raises:
        CharlmError: No replacement changes the state, for instance because all characters of the
            text are the same.

    """
    lags = min(max_lag, (len(trace.ids) - 1) // 2) + 1
    steps = np.unique(np.linspace(0, len(trace.ids) - lags, positions).astype(np.int64))
    changes, linear, kl = _follow(trace, steps, lags, seed)
    is_changed = changes[0] > 0
    if not is_changed.any():
        raise CharlmError("no character of the text can be replaced by one that changes the state")
    changes, linear, kl = (values[:, is_changed] for values in (changes, linear, kl))
    low, median, high = np.percentile(changes / changes[0], [10, 50, 90], axis=1)
    count = kl.shape[1]
    kl_errors = np.full(lags, np.nan)
    if count > 1:
        kl_errors = kl.std(1, ddof=1) / np.sqrt(count)
    return ImpulseResponse(
        lag=np.arange(lags),
        state=median,
        state_low=low,
        state_high=high,
        linear=np.median(linear / changes[0], axis=1),
        kl=kl.mean(1),
        kl_errors=kl_errors,
        positions=Sample.of(steps),
        unchanged=len(steps) - count,
    )


def _follow(
    trace: Trace, steps: NDArray[np.int64], lags: int, seed: int
) -> tuple[Values, Values, Values]:
    """Return the norms of the changes and of their linear predictions, and KL, each [K, P].

    The text and its replacements are read in one batch, so that equal states have equal bits.
    """
    parameters = trace.parameters
    count = len(steps)
    replacements = _draw_replacements(trace.ids[:, 0], steps, seed)
    state = []
    for first, outputs in zip(trace.before, trace.outputs, strict=True):
        before = np.where((steps == 0)[:, None], first[0], outputs[steps - 1, 0])
        state.append(np.concatenate([before, before]))
    now = tuple(state)
    predicted: NDArray[Any] = np.empty(0)
    changes, linear, kl = np.empty((3, lags, count))
    for lag in range(lags):
        ids = trace.ids[steps + lag, 0]
        now = advance(parameters, np.concatenate([ids, ids if lag else replacements]), now)
        change = np.concatenate([output[count:] - output[:count] for output in now], axis=-1)
        slopes = tuple(slope(parameters.activation, output[:count]) for output in now)
        predicted = push_forward(parameters, predicted, slopes) if lag else change
        logits = parameters.logits(now)
        changes[lag] = np.linalg.norm(change.astype(np.float64), axis=-1)
        linear[lag] = np.linalg.norm(predicted.astype(np.float64), axis=-1)
        kl[lag] = divergence(logits[:count], logits[count:])
    return changes, linear, kl


def _draw_replacements(
    ids: NDArray[np.int64], steps: NDArray[np.int64], seed: int
) -> NDArray[np.int64]:
    """Return a different character of the text for each step [P], if the text has several."""
    choices = np.unique(ids)
    shifts = np.random.default_rng(seed).integers(1, max(2, len(choices)), len(steps))
    return np.asarray(choices[(np.searchsorted(choices, ids[steps]) + shifts) % len(choices)])


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...].

    Args:
        logits: The logits of p, [..., V].
        other: The logits of q, [..., V].

    """
    log_p = log_softmax(logits.astype(np.float64))
    log_q = log_softmax(other.astype(np.float64))
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))


def make_impulse(reading: Reading) -> Content:
    """Replace characters of a text."""
    response = impulse_response(reading.trace, positions=reading.limits.replacements)
    basis = f"Based on replacements of {response.positions}, one at a time."
    if response.unchanged:
        basis += (
            f" {counted(response.unchanged, 'replacement')} left out: the state did not change."
        )
    return Content(response, basis=basis, figure=impulse_chart(response))


def impulse_chart(response: ImpulseResponse) -> Chart:
    """Draw the effect of a replaced character on the state and on the prediction."""
    state = Panel(
        "Change of the state",
        ("lag, characters", "|dh| / |dh| at lag 0"),
        {"": Curve(response.lag, response.state, (response.state_low, response.state_high))},
        {"linear prediction": Curve(response.lag, response.linear)},
        y_scale="log",
        label="replaced character",
    )
    errors = 2 * response.kl_errors
    lower = np.maximum(response.kl - errors, response.kl / 10)  # above 0, for the logarithmic axis
    prediction = Panel(
        "Change of the prediction",
        ("lag, characters", "KL divergence, nats"),
        {"": Curve(response.lag, response.kl, (lower, response.kl + errors))},
        y_scale="log",
    )
    panels = [state, prediction]
    return Chart(
        panels,
        "Change of the state (median) and of the prediction (mean) by lag, on logarithmic axes: a "
        "straight line is a constant factor per character.",
        "Dashed: the linear prediction. While it follows the curve, the network responds like a "
        "time-varying linear filter. Bands of the state: the 10th to the 90th percentile over "
        "the replacements. Bands of the prediction: ±2 standard errors of the "
        f"mean; the lower edge is at least a tenth of the mean. {clipping_note(panels)}".rstrip(),
    )


SECTION = Section(
    name="impulse_response",
    title="The impulse response",
    equation="linear prediction: dh_{t+1} = dh_t V D_{t+1}",
    text=(
        "One character of the text is replaced by another character of the text, chosen at "
        "random, and the text continues as before. A falling curve means that the difference "
        "fades from the state, or from the predictions. Predictions are compared by the "
        "Kullback-Leibler divergence KL(p || q) = sum of p ln (p / q): p predicts the next "
        "character in the text as it is, q after the replacement."
    ),
    make=make_impulse,
)
