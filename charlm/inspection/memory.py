"""How far back a network learns and predicts: the gradients by lag, which vanish or explode, and the usable context.

dh_t / dh_{t-1} = V D_t, D_t = diag f'(a_t)   (rows: v -> v V D_t)
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, counted
from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.figures import RULE, band, canvas, legend, log_scale, positive, series
from charlm.inspection.markup import with_error
from charlm.inspection.section import Chart, Reading, Rows, Section, Table, layer_name
from charlm.network.gradients import LagCurve, Trace, lag_curves, push_forward, slope
from charlm.network.rnn import Parameters, advance, log_softmax
from charlm.network.rnn import nats as character_nats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Values = NDArray[np.float64]
MeanAndError = tuple[float, float | None]

MOST_CONTEXT = 512
"""The most characters that are given."""
ORDERS = (2, 3, 5, 9)
"""Of the n-grams that are counted: each knows one character less."""
USED, FLAT = 0.01, 0.001
"""Nats per character: what lies further back and gives less is not used; below FLAT, no more characters are given."""
BLOCKS = 8
"""Of neighbouring predictions, whose curves give the standard errors of half-lives and slopes."""
VISIBLE = 1e-3
"""The share of a gradient at lag 0 that counts as visible."""
AFTER_END = 6
"""Lags of a finite response that are drawn after it has ended."""
ROUNDING = 1e-12
"""A change of the state this small, relative to that at lag 0, may be a rounding error."""


@dataclass(frozen=True, eq=False)
class LayerGradient(LagCurve):
    """How far back the gradient reaches one layer."""

    half_life: float | None
    """The lag in characters at which `median` has fallen to a half, interpolated between lags of 1 and more; 1 if it
    has so at lag 1; None if it has not at all."""
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


def gradient_by_lag(trace: Trace, *, positions: int = 200, max_lag: int = 128) -> tuple[LayerGradient, ...]:
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
    whole, *blocks = (
        lag_curves(trace, part, lags=lags) for part in (steps, *np.array_split(steps, min(BLOCKS, len(steps))))
    )
    found = []
    for curve, *parts in zip(whole, *blocks, strict=True):
        end = int(np.flatnonzero(curve.median >= VISIBLE).max(initial=0))
        life, slope = (
            (measure(curve.median), _error([*map(measure, (part.median for part in parts))]))
            for measure in (half_life, far_slope)
        )
        found.append(
            LayerGradient(
                **vars(curve),
                half_life=life[0],
                half_life_error=life[1],
                slope=slope[0],
                slope_error=slope[1],
                visible_to=end,
                positions=steps + 1,
            )
        )
    return tuple(found)


def _error(values: Sequence[float | None]) -> float | None:
    """Return the standard error of a mean, given the value of each block."""
    known = [value for value in values if value is not None]
    if len(known) < max(2, len(values)):
        return None
    return statistics.stdev(known) / math.sqrt(len(known))


@dataclass(frozen=True, eq=False)
class UsableContext:
    """The mean loss if only the last k characters are given, or all of them where there are fewer."""

    characters: NDArray[np.int64]
    """k = 0, 1, 2, ..., int64 [n]; what lies before the last k gives less than FLAT, or it is the largest tried."""
    nats: Values
    """Nats per character from the zero state, float64 [n]."""
    standard_errors: Values
    """Of these, by blocks of 500 characters, float64 [n]; NaN with fewer than two blocks."""
    gains: Values
    """By how much all characters give a lower loss than the last k alone, float64 [n]."""
    gain_errors: Values
    """The standard error of each gain, paired: of the differences of the same characters, float64 [n]."""
    whole_nats: float
    """Nats per character, given all characters from the beginning of the text."""
    used: int | None
    """The smallest k whose gain is not more than USED, or not more than 2 standard errors above 0; None if there is
    none, its error is not known, or the text has fewer than 4 k characters."""
    ngram_order: NDArray[np.int64]
    """k + 1 of the n-gram models that were counted on the training text, int64 [m]; empty without that text."""
    ngram_nats: Values
    """Their nats per character on the same characters, float64 [m]."""
    ngram_standard_errors: Values
    """Of these, float64 [m]; NaN with fewer than two blocks."""
    positions: range
    """Of the characters that were scored."""


def usable_context(
    parameters: Parameters,
    ids: NDArray[Any],
    nats: NDArray[np.floating[Any]],
    *,
    most: int = MOST_CONTEXT,
    ngram_nats: Mapping[int, NDArray[np.floating[Any]]] | None = None,
) -> UsableContext:
    """Score the characters of a text given only the last k before each.

    One reading from every character of the text gives all k: after k steps it predicts the character k further on.

    Args:
        parameters: The weights.
        ids: Integers [n], n >= 2.
        nats: The nats of ids 1 to n - 1, the text read as one stream, [n - 1].
        most: The largest k, 1 or more.
        ngram_nats: The nats of ids 1 to n - 1 by n-grams, [n - 1] by their order, rising; None = no n-grams.

    """
    places, scores, gains = np.arange(len(nats)), list[MeanAndError](), list[MeanAndError]()
    state = parameters.zero_state(len(nats))
    for k in range(min(most, len(nats)) + 1):
        if k:
            begun = len(ids) - k  # the readings whose next character is in the text
            state = advance(parameters, ids[k - 1 : -1], tuple(layer[:begun] for layer in state))
        losses = np.concatenate([nats[: max(0, k - 1)], character_nats(parameters.logits(state), ids[max(1, k) :])])
        scores.append(mean_and_error(losses, places))
        gains.append(mean_and_error(losses - nats, places))
        if abs(gains[-1][0]) < FLAT:
            break
    small = [k for k, (gain, error) in enumerate(gains) if error is not None and gain <= max(USED, 2 * error)]
    by_ngrams = [mean_and_error(each, places) for each in (ngram_nats or {}).values()]
    return UsableContext(
        np.arange(len(scores)),
        *_columns(scores),
        *_columns(gains),
        whole_nats=float(np.mean(nats, dtype=np.float64)),
        used=small[0] if small and 4 * small[0] <= len(ids) else None,
        ngram_order=np.array([*(ngram_nats or ())], np.int64),
        **dict(zip(("ngram_nats", "ngram_standard_errors"), _columns(by_ngrams), strict=True)),
        positions=range(1, len(ids)),
    )


def _columns(pairs: Sequence[MeanAndError]) -> tuple[Values, Values]:
    """Return means and their errors, float64 [n] each; NaN for an error that is not known."""
    means, errors = np.array(pairs, np.float64).reshape(-1, 2).T
    return means, errors


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
    verdict: Literal["finite", "infinite"]
    """finite: from some lag on, at every position, the linear prediction is zero, and the change up to rounding."""
    length: int | None
    """The first lag at which a finite response is zero; None if it is infinite, as far as it was followed."""
    half_life: float | None
    """The lag in characters at which `state` has fallen to a half, interpolated; None if it has not."""
    positions: NDArray[np.int64]
    """Of the characters that were replaced, one at a time: int64 [P], P >= 1."""


def impulse_response(trace: Trace, *, positions: int = 128, max_lag: int = 128, seed: int = 0) -> ImpulseResponse:
    """Replace single characters of a text by others, and follow what is left of the difference.

    Args:
        trace: One text, read; T >= 2.
        positions: How many characters to replace at most, one at a time: 1 or more, evenly spaced. One whose
            replacement does not change the state at all is left out.
        max_lag: How far to follow, at most; it is less for a short text.
        seed: Decides which characters of the text the replacements are.

    Raises:
        CharlmError: no replacement changes the state; so it is if all characters of the text are the same.

    """
    lags = min(max_lag, (len(trace.ids) - 1) // 2) + 1
    steps = np.unique(np.linspace(0, len(trace.ids) - lags, positions).astype(np.int64))
    changes, linear, kl = _follow(trace, steps, _replacements(trace, steps, seed=seed), lags=lags)
    known = changes[0] > 0
    if not known.any():
        raise CharlmError("no character of the text can be replaced by one that changes the state")
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
        kl_errors=kl[:, known].std(1, ddof=1) / math.sqrt(known.sum()) if known.sum() > 1 else np.full(lags, np.nan),
        verdict="infinite" if length is None else "finite",
        length=length,
        half_life=half_life(median),
        positions=steps[known],
    )


def _replacements(trace: Trace, steps: NDArray[np.int64], *, seed: int) -> NDArray[np.int64]:
    """Return another character for each step, int64 [P], drawn from those that occur in the text, if there is one."""
    found = np.unique(trace.ids)
    at = np.searchsorted(found, trace.ids[steps, 0])
    shift = np.random.default_rng(seed).integers(1, max(2, len(found)), len(steps))
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
        now = advance(parameters, np.concatenate([ids, replacements if lag == 0 else ids]), now)
        change = np.concatenate([output[count:] - output[:count] for output in now], axis=-1)
        if lag == 0:
            predicted = change
        else:
            slopes = tuple(slope(parameters.activation, output[:count]) for output in now)
            predicted = push_forward(parameters, predicted, slopes)
        logits = parameters.logits(now)
        rows.append((_norm(change), _norm(predicted), divergence(logits[:count], logits[count:])))
    changes, linear, kl = (np.array(series) for series in zip(*rows, strict=True))
    return changes, linear, kl


def divergence(logits: NDArray[Any], other: NDArray[Any]) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...], of p = softmax(logits) and q = softmax(other)."""
    log_p, log_q = (log_softmax(found.astype(np.float64)) for found in (logits, other))
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


def make_context(reading: Reading) -> UsableContext:
    """Measure the loss by the number of characters that are given."""
    ids = reading.ids[: reading.limits.context_positions]
    orders = () if reading.training_ids is None else ORDERS
    ngram_nats = {order: reading.ngram_nats(order)[: len(ids) - 1] for order in orders}
    return usable_context(reading.parameters, ids, reading.nats[: len(ids) - 1], ngram_nats=ngram_nats)


def draw_gradient_by_lag(curves: Sequence[LayerGradient]) -> "Figure":
    """Draw how the gradient of a loss shrinks or grows on its way back, for each layer."""
    figure, (axes,) = canvas("The gradient of a loss, k characters before it")
    for index, curve in enumerate(curves):
        style = series(index)
        band(axes, curve.lag, positive(curve.low), positive(curve.high), colour=style["color"])
        half = "" if curve.half_life is None else f", half-life {life_text(curve.half_life)}"
        median = positive(curve.median)
        if np.isfinite(median).sum() == 1:  # which a line does not show
            style = {**style, "marker": "o"}
        axes.plot(curve.lag, median, label=f"{layer_name(curve.layer)}{half}", **style)
    log_scale(axes, *(values for curve in curves for values in (curve.median, curve.high)))
    axes.axhline(1, **RULE)
    axes.set(xlabel="lag k, characters", ylabel="|dL/dh| at lag k / at lag 0")
    axes.set_xlim(0, max(1, curves[0].lag[-1]))
    legend(figure, columns=2)
    return figure


def draw_usable_context(context: UsableContext) -> "Figure":
    """Draw the loss by the number of characters given, with standard errors."""
    figure, (axes,) = canvas("Loss, given k characters")
    given, bars = context.ngram_order - 1, dict[str, Any](capsize=2, elinewidth=1, markersize=3.5)
    errors, ngram_errors = (np.nan_to_num(each) for each in (context.standard_errors, context.ngram_standard_errors))
    axes.errorbar(context.characters, context.nats, errors, marker="o", label="network", **series(0), **bars)
    axes.axhline(context.whole_nats, **{**RULE, "linestyle": ":"}, label="all characters given")
    if given.size:
        bars |= {"linestyle": "", "marker": "s", "color": series(1)["color"], "label": "n-gram, n = k + 1"}
        axes.errorbar(given, context.ngram_nats, ngram_errors, **bars)
    if context.used is not None:
        axes.axvline(context.used, **RULE)
    axes.set_xscale("symlog", base=2, linthresh=1)
    last = int(context.characters[-1])
    ticks = [0, *(1 << power for power in range(last.bit_length()))]
    axes.set_xticks(ticks, ticks, minor=False)
    axes.set(xlabel="k, characters given", ylabel="nats per character", xlim=(-0.2, None))
    legend(figure)
    return figure


def context_sentence(context: UsableContext) -> str:
    """Return how many characters of context the network uses, and what those before them give."""
    if context.used is None:
        return ""
    rest = with_error(float(context.gains[context.used]), float(context.gain_errors[context.used]))
    used = counted(context.used, "character")
    return f"uses {used} of context (all that is further back gives {rest} nats per character)"


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
    errors = np.nan_to_num(response.kl_errors[: len(lag)])
    band(lower, lag, np.maximum(kl - 2 * errors, kl / 10), kl + 2 * errors, colour=series(0)["color"])
    if not is_finite:
        log_scale(upper, state, linear)
        log_scale(lower, kl)
    legend(figure)
    return figure


def life_text(life: float) -> str:
    """Return a half-life for the user: below one character, there is nothing to interpolate between."""
    return "1 or less" if life <= 1 else f"{life:.1f}"


def gradient_sentence(curves: Sequence[LayerGradient]) -> str:
    """Return how fast the gradient fades, by the layers, and how far back it can be seen."""
    last, reach = int(curves[0].lag[-1]), max(curve.visible_to for curve in curves)
    lives = sorted(math.inf if curve.half_life is None else curve.half_life for curve in curves)
    named = [life_text(life) if life <= last else f"more than {last}" for life in (lives[0], lives[-1])]
    seen = f"{reach} characters back{' or more' if reach == last else ''}"
    return f"has a gradient that halves in {' to '.join(dict.fromkeys(named))} characters and can be seen {seen}"


def gradient_rows(curves: Sequence[LayerGradient]) -> Rows:
    """Return a row for each layer."""
    return [
        (
            *(layer_name(curve.layer), (curve.half_life, curve.half_life_error)),
            *((curve.slope, curve.slope_error), curve.visible_to),
        )
        for curve in curves
    ]


GRADIENT = Section(
    "gradient_by_lag",
    "The gradient by lag",
    "dh_t/dh_{t-1} = V D_t, D_t = diag f'(a_t), a_t = x_t U + h_{t-1} V + b",
    "A line that falls means that a loss teaches little about what came that long before: the gradient vanishes; "
    "one that rises means that it explodes. Far back, a line is straight: its slope is a Lyapunov exponent of the next "
    "part of this page, the largest of those of this layer and of the layers above it. So the slopes of a stack are "
    "exponents of the whole state, the lowest layer's the first.",
    lambda reading: gradient_by_lag(
        reading.trace, positions=reading.limits.gradient_positions, max_lag=reading.limits.lags
    ),
    Chart(
        "gradient-by-lag",
        "gradient by lag, of each layer: the line is the median, a band holds 8 of 10 predictions; "
        "a gradient can be seen as long as a thousandth is left",
        draw_gradient_by_lag,
    ),
    Table(
        "Half-life: the lag at which a half of the median is left, 1 if so after one character. Slope: of ln median, "
        "over the second half of the lags. Errors: standard errors by 8 blocks of predictions",
        ("layer", "half-life, characters", "slope, nats per character", "can be seen to lag"),
        lambda found, _: gradient_rows(found),
        is_folded=False,
    ),
    sentence=lambda found: gradient_sentence(found) if found[0].lag[-1] else "",  # no lag in a text of 2 or 3
)
CONTEXT = Section(
    "usable_context",
    "The usable context",
    "L(k) = mean of \N{MINUS SIGN}log p(id_t | id_{t-k}, ..., id_{t-1})",
    "Where the curve becomes flat the network uses nothing that lies further back; "
    "where a square lies below it, counting n-grams uses that context better. The context that is used is the smallest "
    "k for which all characters give no more than 0.01 nats beyond the last k, or no more than 2 standard errors of "
    "this difference, which is taken character by character.",
    make_context,
    Chart(
        "usable-context",
        "nats per character by the number of characters given; bars are standard errors, by blocks of 500 characters; "
        "the vertical line marks the context that is used",
        draw_usable_context,
    ),
    Table(
        "What all characters give beyond the last k",
        ("k", "nats per character, given k", "difference to all characters"),
        lambda found, _: [
            (k, (float(nats), float(error)), (float(gain), float(gain_error)))
            for k, nats, error, gain, gain_error in zip(
                *(found.characters.tolist(), found.nats, found.standard_errors, found.gains, found.gain_errors),
                strict=True,
            )
        ],
    ),
    sentence=context_sentence,
)
IMPULSE = Section(
    "impulse_response",
    "The impulse response",
    "dh_{t+1} = dh_t V D_{t+1}",
    "A character of the text is replaced by another one, each of those that occur in the text being equally likely, "
    "and the text goes on as before. A curve that falls means that the difference fades, from the state or from the "
    "prediction: KL(p || q) = sum of p ln (p / q), p the prediction after the text as it is, q the one after the "
    "replacement. As long as the dashed line follows, a difference passes as through a linear filter that changes with "
    "the text.",
    lambda reading: impulse_response(
        reading.trace, positions=reading.limits.response_positions, max_lag=reading.limits.lags
    ),
    Chart(
        "impulse-response",
        "change of the state (median; the band holds 8 of 10 replacements) and of the prediction (mean; the band is 2 "
        "standard errors to both sides, by replacement) by lag",
        draw_impulse_response,
    ),
)
