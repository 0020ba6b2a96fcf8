"""The memory of a network: how far back a gradient, a replaced character and a difference last.

    gradient:              dL/dh_{t-1} = dL/dh_t (V D_t)^T,  D_t = diag f'(a_t)
    linear prediction:     dh_{t+1} = dh_t V D_{t+1}
    Lyapunov exponents:    Q_t R_t = (V D_t)^T Q_{t-1},  exponent_i = mean of ln |R_t[i, i]|

All of them are products of the Jacobians V D_t along a text. The exponents are conditional on the
text that drives the network (Pecora and Carroll 1991) and finite-time, and are computed with QR
decompositions (Benettin et al. 1980). Vectors are rows. Axes: K lags, P predictions or replaced
characters, D units of all layers, H units of a layer, n exponents, L layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import Floats, Integers, Values, advance, log_softmax
from charlm.errors import CharlmError
from charlm.inspection.reading import Reading, SampledCharacters
from charlm.inspection.style import (
    FLOOR,
    GRID,
    INK,
    ORANGE,
    SERIES,
    Axes,
    Cell,
    Figure,
    Line,
    Section,
    add_axes,
    curve,
    fit_logarithmic,
    table,
)
from charlm.measures.estimates import Estimate, as_arrays, mean_at
from charlm.measures.gradients import (
    LagCurve,
    Trace,
    gradient_norms,
    lag_curve,
    log_growth,
    push_forward,
    reach,
    slope,
)

MAX_LAG = 128
"""Largest lag."""
EXPONENT_BLOCK = 100
"""Number of characters in a block for the standard errors of exponents; growth factors more than a
block apart are nearly independent."""
MOST_EXPONENTS = 8
"""Maximum number of exponents of the state or of a layer."""
PASSES = 6
"""Number of times that the first fifth of a text is read before exponents are measured."""
ROUNDING = 1e-6
"""Exponents closer to 0 than this count as 0, because weights are float32."""


@dataclass(frozen=True, eq=False)
class LayerGradient(LagCurve):
    """The gradient at one layer by lag."""

    reach: int
    """Last lag with a `median` of at least a tenth; at most the largest lag that was followed."""
    positions: SampledCharacters
    """The characters whose losses were followed back."""


@dataclass(frozen=True, eq=False)
class ImpulseResponse:
    """The effect of a replaced character by lag; lag 0 is the step that reads that character."""

    lag: Integers
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
    reach: int
    """Last lag with a `state` of at least a tenth; at most the largest lag that was followed."""
    positions: SampledCharacters
    """The characters that were replaced, one at a time; those without an effect are left out."""


@dataclass(frozen=True)
class LayerExponent:
    """The largest exponent of one layer on its own: the growth rate of the product of its V D_t."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    exponent: Estimate
    """Exponent in nats per character, -inf if a difference disappears completely. Its error is from
    blocks of EXPONENT_BLOCK characters."""


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The conditional, finite-time Lyapunov exponents of a network on a text."""

    exponents: Values
    """Exponents of the whole state, all layers together, in nats per character, largest first,
    float64 [n]; -inf beyond the rank of a Jacobian."""
    standard_errors: Values
    """Standard error of each exponent from blocks of EXPONENT_BLOCK characters, float64 [n]; NaN if
    unknown."""
    layers: tuple[LayerExponent, ...]
    """The largest exponent of each layer on its own, lowest layer first."""
    positions: SampledCharacters
    """The characters whose steps count."""

    @property
    def largest(self) -> Estimate:
        """The largest exponent of the whole state."""
        return Estimate.of(self.exponents[0], self.standard_errors[0])


@dataclass(frozen=True, eq=False)
class Memory:
    """The memory of a network on a text."""

    gradient_by_lag: tuple[LayerGradient, ...]
    """The gradient at each layer, lowest layer first."""
    impulse_response: ImpulseResponse
    """The effect of a replaced character."""
    lyapunov: Lyapunov
    """Rates of growth of small differences; negative if they shrink."""


def measure(reading: Reading) -> Memory:
    """Follow gradients back through a text, and replaced characters and differences forwards."""
    limits = reading.limits
    return Memory(
        gradient_by_lag(reading.trace, positions=limits.predictions),
        impulse_response(reading.trace, positions=limits.replacements),
        lyapunov(reading.trace),
    )


# The gradient


def gradient_by_lag(trace: Trace, *, positions: int) -> tuple[LayerGradient, ...]:
    """Follow the gradients of evenly spaced predictions back, relative to their norms at lag 0.

    The largest lag is MAX_LAG, or less for a short text.

    Args:
        trace: The trace of one text; T >= 2.
        positions: Maximum number of predictions to follow, 1 or more. Predictions with fewer
            characters before them than the largest lag are left out, but never more than half of
            the text.

    """
    last = len(trace.ids) - 2
    first = min(MAX_LAG, last // 2)
    steps = np.unique(np.linspace(first, last, min(positions, last + 1 - first)).astype(np.int64))
    lags = first + 1
    layers = []
    sample = SampledCharacters.of(steps + 1)
    for layer, norms in enumerate(gradient_norms(trace, steps, lags=lags)):
        curve = lag_curve(layer, norms)
        layers.append(LayerGradient(**vars(curve), reach=reach(curve.median), positions=sample))
    return tuple(layers)


# The impulse response


def impulse_response(trace: Trace, *, positions: int) -> ImpulseResponse:
    """Replace single characters of a text by other characters from it, and follow the difference.

    The largest lag is MAX_LAG, or less for a short text.

    Args:
        trace: The trace of one text; T >= 2.
        positions: Maximum number of characters to replace, evenly spaced, 1 or more.

    Raises:
        CharlmError: No replacement changes the state, for instance because all characters of the
            text are the same.

    """
    lags = min(MAX_LAG, (len(trace.ids) - 1) // 2) + 1
    steps = np.unique(np.linspace(0, len(trace.ids) - lags, positions).astype(np.int64))
    changes, linear, kl = _follow(trace, steps, lags)
    is_changed = changes[0] > 0
    if not is_changed.any():
        raise CharlmError("no replaced character changes the state")
    changes, linear, kl = (values[:, is_changed] for values in (changes, linear, kl))
    low, median, high = np.percentile(changes / changes[0], [10, 50, 90], axis=1)
    return ImpulseResponse(
        lag=np.arange(lags),
        state=median,
        state_low=low,
        state_high=high,
        linear=np.median(linear / changes[0], axis=1),
        kl=kl.mean(1),
        reach=reach(median),
        positions=SampledCharacters.of(steps[is_changed]),
    )


def _follow(trace: Trace, steps: Integers, lags: int) -> tuple[Values, Values, Values]:
    """Return the norms of the changes and of their linear predictions, and KL, each [K, P].

    The text and its replacements are read in one batch, so that equal states have equal bits.
    """
    parameters = trace.parameters
    count = len(steps)
    replacements = _draw_replacements(trace.ids[:, 0], steps)
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


def divergence(logits: Floats, other: Floats) -> Values:
    """Return KL(p || q) = sum p (ln p - ln q) in nats, float64 [...].

    Args:
        logits: The logits of p, [..., V].
        other: The logits of q, [..., V].

    """
    log_p = log_softmax(logits.astype(np.float64))
    log_q = log_softmax(other.astype(np.float64))
    return np.asarray(np.maximum(0, (np.exp(log_p) * (log_p - log_q)).sum(-1)))


def _draw_replacements(ids: Integers, steps: Integers) -> Integers:
    """Return a random other character of the text for each step [P], if there are several."""
    choices = np.unique(ids)
    shifts = np.random.default_rng(0).integers(1, max(2, len(choices)), len(steps))
    return np.asarray(choices[(np.searchsorted(choices, ids[steps]) + shifts) % len(choices)])


# Lyapunov exponents


def lyapunov(trace: Trace) -> Lyapunov:
    """Compute the largest Lyapunov exponents along a text, except for its first fifth.

    The first fifth is read several times before, so that the first directions turn into those that
    grow most. They do so slowly if several directions grow at nearly the same rate; then other
    first directions give other exponents. The first directions are random, but always the same.

    Args:
        trace: The trace of one text; T >= 2.

    """
    length = len(trace.ids)
    counted = range(max(1, length // 5), length)
    exponents, errors = _exponents(trace, None, counted)
    layers = []
    for layer in range(len(trace.outputs)):
        of_layer, errors_of_layer = _exponents(trace, layer, counted)
        layers.append(LayerExponent(layer, Estimate.of(of_layer[0], errors_of_layer[0])))
    return Lyapunov(exponents, errors, tuple(layers), SampledCharacters.of(counted))


def _exponents(trace: Trace, layer: int | None, counted: range) -> tuple[Values, Values]:
    """Return the largest exponents of the state or of a layer, and their standard errors.

    Args:
        trace: The trace of one text.
        layer: The layer, or None for the whole state.
        counted: The steps that are measured; those before them are the warm-up.

    """
    steps = chain([*range(1, counted.start)] * PASSES, counted)
    logs = log_growth(trace, steps, count=MOST_EXPONENTS, layer=layer)[-len(counted) :]
    places = np.arange(len(counted))
    estimates = [mean_at(column, places, block=EXPONENT_BLOCK) for column in logs.T]
    exponents, errors = as_arrays(estimates)
    order = np.argsort(-exponents)
    exponents[np.abs(exponents) < ROUNDING] = 0.0
    return exponents[order], errors[order]


# The page

TEXT = (
    "How much is left after k characters? Gradient: the loss of a prediction is followed back "
    "through the text. A falling line means that the loss teaches little about what came k "
    "characters earlier: the gradient vanishes; a rising line means that it explodes. Training "
    "cuts it off at the border of a window, this figure does not.</p><p>Replacement: one "
    "character of the text is replaced by another one, chosen at random, and the text continues "
    "as before. The change of the prediction is the Kullback-Leibler divergence sum of p ln (p / "
    "q), where p predicts the next character in the text as it is, and q after the "
    "replacement.</p><p>Exponent: the largest Lyapunov exponent is the rate far back, the mean "
    "logarithm of the factor per character by which a small difference finally grows or shrinks "
    "on this text; at first it changes at another rate. Below 0, the network forgets how it "
    "started; above 0, in a bounded state, it is chaotic: rounding errors grow, too, so its "
    "numbers differ between machines. Minus infinity means that every difference disappears "
    "completely. Layers are counted from rnn.0, which reads the characters. Far back, the "
    "gradient at a layer has the slope of the largest exponent of this layer and of the layers "
    "above it, through which it also arrives."
)
CAPTION = (
    "Gradient: its size at the state h, relative to k = 0, the median of the losses of {gradient}. "
    "State: the change of h, relative to k = 0, the median of replacements of {response}. "
    f"Prediction: the mean for the same replacements. The axes are logarithmic and end at {FLOOR}: "
    "a straight line is a constant factor per character."
)
ALONE = (
    " Bands: the 10th to the 90th percentile. Dashed: the linear prediction, the first change "
    "multiplied by one Jacobian V D after the other; while it follows the curve, the network "
    "responds like a time-varying linear filter. Dotted: a factor of exp(largest exponent) per "
    "character."
)
TOGETHER = " A line is a run; the gradient is that of the lowest layer."
HEAD = ("layer", "reach", "largest exponent")
TABLE = (
    "Reach: the last k with at least a tenth of the gradient at k = 0; for the whole state, of the "
    "change after a replacement. Exponent: in nats per character, of the layer on "
    "its own or of the whole state. \N{PLUS-MINUS SIGN}: one standard error over the text, from "
    "blocks of neighbouring characters. Exponents are measured from one fixed random start; if "
    "many differences fade at nearly the same rate, another start changes them by more than that."
)


def plot(figure: Figure, results: Mapping[Line, Memory]) -> None:
    """Draw gradient, state and prediction by lag: all layers of one run, or several runs."""
    axes = add_axes(
        figure, "Gradient k characters back", "State after a replacement", "Prediction after it"
    )
    gradient, state, prediction = axes
    for each in axes:
        each.set(xlabel="k, characters")
        each.set_yscale("log", nonpositive="mask")
        if each is not gradient:
            each.sharex(gradient)
    gradient.set_ylabel("|dL/dh|, 1 at k = 0")
    state.set_ylabel("|dh|, 1 at k = 0")
    prediction.set_ylabel("KL divergence, nats")
    for line, memory in results.items():
        if len(results) == 1:
            _plot_alone(gradient, state, memory)
        else:
            lowest = memory.gradient_by_lag[0]
            curve(gradient, lowest.lag, lowest.median, colour=line.colour, label=line.group)
        response = memory.impulse_response
        curve(state, response.lag, response.state, colour=line.colour)
        curve(prediction, response.lag, response.kl, colour=line.colour)
    for each in axes:
        fit_logarithmic(each)


def _plot_alone(gradient: Axes, state: Axes, memory: Memory) -> None:
    """Draw what only the figure of a single run shows: layers, bands and predictions."""
    for layer in memory.gradient_by_lag:
        colour = SERIES[layer.layer % len(SERIES)]
        curve(
            gradient,
            layer.lag,
            layer.median,
            (layer.low, layer.high),
            colour=colour,
            label=f"rnn.{layer.layer}",
        )
    response = memory.impulse_response
    lag = response.lag
    state.fill_between(lag, response.state_low, response.state_high, color=GRID)
    curve(state, lag, response.linear, colour=INK, dashes="--", label="linear prediction")
    rate = np.exp(memory.lyapunov.exponents[0]) ** lag
    curve(state, lag, rate, colour=ORANGE, dashes=":", label="exp(largest exponent k)")


def caption(results: Mapping[Line, Memory]) -> str:
    """Return a description of the figure and of its sample, in full sentences."""
    memory, *_ = results.values()
    gradient = memory.gradient_by_lag[0].positions
    replaced = memory.impulse_response.positions
    ending = ALONE if len(results) == 1 else TOGETHER
    return CAPTION.format(gradient=gradient, response=replaced) + ending


def details(results: Mapping[Line, Memory]) -> str:
    """Return the table of reaches and exponents."""
    rows: list[Sequence[Cell]] = []
    for line, memory in results.items():
        found = memory.lyapunov
        if len(found.layers) > 1:
            reached = memory.impulse_response.reach
            rows.append((f"{line.label} whole state".strip(), reached, found.largest))
        for gradient, exponent in zip(memory.gradient_by_lag, found.layers, strict=True):
            name = f"{line.label} rnn.{gradient.layer}".strip()
            rows.append((name, gradient.reach, exponent.exponent))
    summary = "Reach and exponents of each layer" if len(results) > 1 else ""
    return table(HEAD, rows, caption=TABLE, summary=summary)


SECTION = Section(
    name="memory",
    title="Memory: gradients, replaced characters and small differences",
    equation=(
        "dL/dh<sub>t&minus;1</sub> = dL/dh<sub>t</sub> (V D<sub>t</sub>)<sup>T</sup>, "
        "dh<sub>t</sub> = dh<sub>t&minus;1</sub> V D<sub>t</sub>, "
        "D<sub>t</sub> = diag f'(a<sub>t</sub>)"
    ),
    text=TEXT,
    measure=measure,
    details=details,
    plot=plot,
    caption=caption,
)
