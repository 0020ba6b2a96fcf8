"""Conditional Lyapunov exponents: the rates at which small differences grow or shrink along a text.

The exponents describe the product of the Jacobians dh_t / dh_{t-1}, and are computed with QR
decompositions (Benettin et al. 1980). They are conditional on the text that drives the network
(Pecora and Carroll 1991), and finite-time: means over a part of the text.

Axes: n exponents, H units of a layer, D units of all layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.figures import Curve, Panel, with_errors
from charlm.inspection.html import with_error
from charlm.inspection.reading import Reading
from charlm.inspection.section import Chart, Content, Sample, Section, Table
from charlm.network.gradients import Trace, push_forward
from charlm.network.rnn import Floats
from charlm.text.markup import safe

Values = NDArray[np.float64]

BLOCK = 100
"""Number of characters in a block for the standard errors; growth factors more than a block apart
are nearly independent."""
SHOWN = 4
"""Number of exponents of the whole state in the table."""
ROUNDING = 1e-6
"""Exponents closer to 0 than this count as 0, because weights are float32."""


@dataclass(frozen=True)
class LayerExponent:
    """The largest exponent of one layer on its own: the growth rate of the product of its V D_t."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    exponent: float
    """Exponent in nats per character; -inf if a difference disappears completely."""
    standard_error: float
    """Standard error of the exponent from blocks of BLOCK characters; NaN if unknown."""


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The conditional, finite-time Lyapunov exponents of a network on a text."""

    exponents: Values
    """Exponents of the whole state, all layers together, in nats per character, largest first,
    float64 [n]; -inf beyond the rank of a Jacobian."""
    standard_errors: Values
    """Standard error of each exponent from blocks of BLOCK characters, float64 [n]; NaN if
    unknown."""
    dimensions: int
    """D, the number of exponents that exist; n may be smaller."""
    layers: tuple[LayerExponent, ...]
    """The largest exponent of each layer on its own, lowest layer first."""
    positions: Sample
    """The characters whose steps count."""


def lyapunov(
    trace: Trace,
    *,
    most: int = 32,
    full_up_to: int = 128,
    warm_up: int = 100,
    most_steps: int = 1000,
) -> Lyapunov:
    """Compute the largest Lyapunov exponents along a text.

    Args:
        trace: The trace of one text; T >= 2.
        most: Number of exponents if the state has more than `full_up_to` units, 1 or more.
        full_up_to: Maximum number of units of a state whose exponents are all computed.
        warm_up: Number of characters to read before the mean begins, so that the directions
            converge; at most a quarter of the text.
        most_steps: Maximum number of characters in the mean, 1 or more.

    """
    dimensions = trace.parameters.state_size
    skipped = min(warm_up, len(trace.ids) // 4)
    steps = range(max(1, skipped), min(len(trace.ids), skipped + most_steps))
    count = dimensions if dimensions <= full_up_to else min(most, dimensions)
    dtype = trace.outputs[0].dtype
    basis = _random_basis(count, dimensions, dtype)
    exponents, errors = _exponents(partial(_push_all, trace), basis, steps)
    layers = []
    for layer, weights in enumerate(trace.parameters.layers):
        basis = _random_basis(1, weights.units, dtype)
        (exponent,), (error,) = _exponents(partial(_push_one, trace, layer), basis, steps)
        layers.append(LayerExponent(layer, float(exponent), float(error)))
    return Lyapunov(exponents, errors, dimensions, tuple(layers), Sample.of(steps))


Push = Callable[[Floats, int], Floats]
"""A function from differences of a state before a step [n, D], and the step, to the differences
after the step."""


def _push_all(trace: Trace, differences: Floats, time: int) -> Floats:
    slopes = tuple(layer[time] for layer in trace.slopes)
    return push_forward(trace.parameters, differences, slopes)


def _push_one(trace: Trace, layer: int, differences: Floats, time: int) -> Floats:
    pushed = differences @ trace.parameters.layers[layer].recurrent_kernel
    return np.asarray(pushed * trace.slopes[layer][time])


def _random_basis(count: int, dimensions: int, dtype: np.dtype[Any]) -> Floats:
    """Return random orthonormal rows, [count, dimensions]."""
    directions = np.random.default_rng(0).standard_normal((dimensions, count))
    return np.asarray(np.linalg.qr(directions.astype(dtype))[0].T)


def _exponents(push: Push, basis: Floats, steps: range) -> tuple[Values, Values]:
    """Return the largest exponents of a product of Jacobians, and their standard errors.

    The exponents are the means of ln |R_ii| of one QR decomposition per character. The rows of the
    basis [n, D] are orthonormal: a small difference of the state for each exponent.
    """
    logs = []
    for time in range(1, steps.stop):
        pushed = push(basis, time)
        q, r = np.linalg.qr(pushed.T)
        basis = q.T
        if time in steps:
            lengths = np.abs(np.diagonal(r))
            rounding = 64 * np.finfo(pushed.dtype).eps * lengths.max()
            with np.errstate(divide="ignore"):
                logs.append(np.log(np.where(lengths < rounding, 0, lengths)))
    places = np.arange(len(logs))
    scores = [mean_and_error(column, places, block=BLOCK) for column in np.transpose(logs)]
    pairs = np.array(scores, np.float64)  # an unknown error becomes NaN
    exponents, errors = pairs[np.argsort(-pairs[:, 0])].T
    exponents[np.abs(exponents) < ROUNDING] = 0.0
    return exponents, errors


def make_lyapunov(reading: Reading) -> Content:
    """Compute the Lyapunov exponents of a network on a text."""
    found = lyapunov(reading.trace)
    notes = [growth_note(found)]
    lost = int(np.isneginf(found.exponents).sum())
    if lost:
        infinity = "\N{MINUS SIGN}\N{INFINITY}"
        notes.append(f"{lost} of {len(found.exponents)} exponents are {infinity}.")
    return Content(
        found,
        basis=f"Based on the steps that read {found.positions}.",
        figure=lyapunov_chart(found),
        table=lyapunov_table(found),
        html="".join(f"<p>{safe(note)}</p>" for note in notes if note),
        summary=growth_summary(found),
    )


def growth_summary(found: Lyapunov) -> str:
    """Return a clause if the largest exponent is clearly above 0, or is 0, else an empty string."""
    exponent = float(found.exponents[0])
    error = float(found.standard_errors[0])
    if exponent == 0:
        return "keeps small differences (largest Lyapunov exponent 0 within rounding)"
    if exponent <= 0 or exponent < 2 * error:
        return ""
    return (
        f"amplifies small differences (largest Lyapunov exponent {with_error(exponent, error)}), "
        "so that its numbers depend on rounding"
    )


def growth_note(found: Lyapunov) -> str:
    """Return a warning about the other numbers if the largest exponent is above 0, else ""."""
    if not found.exponents[0] > 0:
        return ""
    return (
        "The largest exponent is above 0: small differences grow, including rounding errors. The "
        "loss, and every other number that depends on the state, can differ between processors and "
        "between float32 and float64."
    )


def lyapunov_table(found: Lyapunov) -> Table:
    """List the largest exponents of the whole state and of each layer on its own."""
    whole = zip(found.exponents.tolist(), found.standard_errors.tolist(), strict=True)
    rows = {f"whole state, exponent {rank}": pair for rank, pair in enumerate(whole, 1)}
    rows = dict([*rows.items()][:SHOWN])
    for each in found.layers:
        rows[f"rnn.{each.layer} on its own"] = (each.exponent, each.standard_error)
    return Table(
        f"The largest exponents. ± is a standard error from blocks of {BLOCK} characters.",
        {"differences in": [*rows], "exponent, nats per character": [*rows.values()]},
        is_open=True,
    )


def lyapunov_chart(found: Lyapunov) -> Chart:
    """Draw the exponents by rank, and the factors by which differences shrink in each layer."""
    count = len(found.exponents)
    ranks = np.arange(1, count + 1)
    exponents = Panel(
        "Exponents of the whole state",
        ("rank, largest exponent first", "nats per character"),
        {"": with_errors(ranks, found.exponents, found.standard_errors)},
        rule=0,
    )
    names = ["whole state", *(f"rnn.{layer.layer} on its own" for layer in found.layers)]
    largest = np.array([found.exponents[0], *(layer.exponent for layer in found.layers)])
    errors = np.array([found.standard_errors[0], *(layer.standard_error for layer in found.layers)])
    band = (np.exp(largest - errors), np.exp(largest + errors))
    factors = Panel(
        "Growth of a small difference per character",
        ("factor per character, exp(largest exponent)", ""),
        {"": Curve(names, np.exp(largest), band)},
        x_scale="names",
    )
    drawn = f", the first {count} of {found.dimensions:,}" if count < found.dimensions else ""
    return Chart(
        [exponents, factors],
        f"Top: the exponents of all layers together by rank{drawn}. Bottom: the mean factor by "
        "which a small difference is multiplied per character, in the whole state and in each "
        "layer on its own.",
        f"Bands and bars: ±1 standard error from blocks of {BLOCK} characters.",
    )


SECTION = Section(
    name="lyapunov",
    title="Lyapunov exponents",
    equation="Q_t R_t = (V D_t)^T Q_{t-1}, exponent_i = mean of ln |R_t[i, i]|",
    text=(
        "Below 0, small differences of the state shrink, and the network forgets how it started. "
        "Above 0, they grow; in a state that stays bounded, this is chaos. Minus infinity means "
        "that differences in some direction disappear completely. The exponents hold for this "
        "text; all are means over the same part of it. The exponent of a layer on its own says how "
        "long that layer remembers without the others. The largest exponent of the whole state is "
        "close to the largest exponent of any layer on its own, and to the slope of the gradient "
        "at the lowest layer."
    ),
    make=make_lyapunov,
)
