"""How far back a network learns and predicts, and which differences of its state grow or fade."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charlm.inspection.fixed_points import FixedPoint, HeldCharacter, find_fixed_points
from charlm.inspection.look import (
    BLUE,
    ORANGE,
    RULE,
    SERIES,
    band,
    canvas,
    legend,
    log_scale,
    positive,
    series,
)
from charlm.inspection.memory import (
    GradientByLag,
    ImpulseResponse,
    UsableContext,
    gradient_by_lag,
    impulse_response,
    usable_context,
)
from charlm.inspection.passages import visible
from charlm.inspection.reading import MOST_STATES, Reading
from charlm.inspection.section import Chart, Quantity, Rows, Section, Table, layer_name
from charlm.inspection.stability import Lyapunov, RecurrentSpectrum, lyapunov, recurrent_spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_context(reading: Reading) -> UsableContext:
    """Measure the loss by the number of characters that are given."""
    ngram_nats = None if reading.training_ids is None else reading.ngram_nats
    positions = reading.limits.context_positions
    return usable_context(reading.parameters, reading.ids, positions=positions, ngram_nats=ngram_nats)


def draw_gradient_by_lag(found: GradientByLag) -> "Figure":
    """Draw how the gradient of a loss shrinks or grows on its way back, for each layer."""
    figure, (axes,) = canvas("The gradient of a loss, k characters before it")
    for index, curve in enumerate(found.layers):
        style = series(index)
        band(axes, curve.lag, positive(curve.low), positive(curve.high), colour=style["color"])
        axes.plot(curve.lag, positive(curve.median), label=layer_name(curve.layer), **style)
    log_scale(axes, *(values for curve in found.layers for values in (curve.median, curve.high)))
    axes.axhline(1, **RULE)
    axes.set(xlabel="lag k, characters", ylabel="|dL/dh| at lag k / at lag 0")
    legend(figure, columns=len(SERIES))
    return figure


def draw_usable_context(context: UsableContext) -> "Figure":
    """Draw the loss by the number of characters given."""
    figure, (axes,) = canvas("Loss, given k characters")
    axes.plot(context.characters, context.nats, marker="o", markersize=3.5, label="network", **series(0))
    if context.ngram_order.size:
        style: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 4.5, "color": series(1)["color"]}
        axes.plot(context.ngram_order - 1, context.ngram_nats, label="n-gram, n = k + 1", **style)
    axes.set_xscale("log", base=2)
    axes.set_xticks(context.characters, context.characters, minor=False)
    axes.minorticks_off()
    axes.set(xlabel="k, characters given", ylabel="nats per character")
    legend(figure)
    return figure


def draw_impulse_response(response: ImpulseResponse) -> "Figure":
    """Draw what is left of a replaced character in the state and in the prediction: a constant factor is a line."""
    figure, (upper, lower) = canvas("Change of the state", "Change of the prediction", height=1.5)
    style = series(0)
    band(upper, response.lag, positive(response.state_low), positive(response.state_high), colour=style["color"])
    upper.plot(response.lag, positive(response.state), label="|dh|", **style)
    upper.plot(response.lag, positive(response.linear), label="linear prediction", **series(1))
    lower.plot(response.lag, positive(response.kl), **style)
    log_scale(upper, response.state, response.linear)
    log_scale(lower, response.kl)
    upper.set(xlabel="lag, characters", ylabel="|dh| / |dh| at lag 0")
    lower.set(xlabel="lag, characters", ylabel="KL divergence, nats")
    legend(figure)
    return figure


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> "Figure":
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    from matplotlib.patches import Circle

    columns = min(2, len(spectra))
    figure, grid = canvas(
        *(f"V of {layer_name(each.layer)}" for each in spectra), columns=columns, height=3.4 / columns
    )
    for axes, spectrum in zip(grid, spectra, strict=True):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real", ylabel="imaginary")
    return figure


def draw_lyapunov(found: Lyapunov) -> "Figure":
    """Draw the Lyapunov exponents by their rank."""
    figure, (axes,) = canvas("Lyapunov exponents of the whole state")
    finite = found.exponents[np.isfinite(found.exponents)]
    axes.plot(np.arange(1, len(finite) + 1), finite, marker=".", markersize=4, **series(0))
    axes.axhline(0, **RULE)
    axes.set(xlabel="rank, largest exponent first", ylabel="nats per character")
    axes.locator_params(axis="x", integer=True)
    return figure


def _kind(point: FixedPoint) -> str:
    return ("stable" if point.is_stable else "unstable") if point.is_fixed else "slow"


def point_rows(found: Sequence[HeldCharacter], characters: Sequence[str | None]) -> Rows:
    """Return a row for each point of each character, or one that says what the state does if no point was found."""
    rows: list[tuple[object, ...]] = []
    for held in found:
        begin = (visible(characters[held.id]), held.outcome, held.period)
        rows += [
            (
                *(*begin, _kind(point), point.speed, point.spectral_radius, point.unstable_directions),
                " ".join(visible(characters[index]) for index, _ in point.likeliest),
            )
            for point in held.points
        ] or [(*begin, *[None] * 5)]
    return rows


def spectrum_rows(spectra: Sequence[RecurrentSpectrum]) -> Rows:
    """Return a row for each recurrent kernel."""
    return [
        (
            layer_name(each.layer),
            *(each.spectral_radius, each.largest_singular_value, each.non_normality, each.effective_radius),
        )
        for each in spectra
    ]


def verdict_rows(found: ImpulseResponse) -> Rows:
    """Return what an impulse response is in a word, and its figures."""
    return (
        ("response", found.verdict),
        ("its length in characters", found.length),
        ("half-life in characters", found.half_life),
        ("characters replaced, one at a time", found.positions),
    )


GRADIENT = Section(
    "gradient_by_lag",
    "The gradient by lag",
    "dh_t/dh_{t-1} = V D_t, D_t = diag f'(a_t), a_t = x_t U + h_{t-1} V + b",
    "A line that falls means that a loss teaches little about what came that long before: the gradient vanishes; "
    "one that rises means that it explodes.",
    (
        Quantity(
            "gradient_by_lag",
            lambda reading: gradient_by_lag(reading.trace, positions=reading.limits.gradient_positions),
        ),
    ),
    (
        Chart(
            "gradient-by-lag",
            "gradient by lag, of each layer: the line is the median, a band holds 8 of 10 predictions",
            draw_gradient_by_lag,
        ),
    ),
)
CONTEXT = Section(
    "usable_context",
    "The usable context",
    "L(k) = mean of \N{MINUS SIGN}log p(id_t | id_{t-k}, ..., id_{t-1})",
    "Where the curve becomes flat the network uses nothing that lies further back; "
    "where a square lies below it, counting n-grams uses that context better.",
    (Quantity("usable_context", make_context),),
    (Chart("usable-context", "nats per character by the number of characters given", draw_usable_context),),
)
IMPULSE = Section(
    "impulse_response",
    "The impulse response",
    "dh_{t+1} = dh_t V D_{t+1}",
    "A replaced character fades from the state, and sooner from the prediction; "
    "as long as the dashed line follows, the network acts as a linear filter.",
    (Quantity("impulse_response", lambda reading: impulse_response(reading.trace)),),
    (
        Chart(
            "impulse-response",
            "change of the state (median; the band holds 8 of 10 replacements) and of the prediction (mean) by lag",
            draw_impulse_response,
        ),
    ),
    (Table("Verdict", ("quantity", "value"), verdict_rows, is_folded=False),),
)
SPECTRUM = Section(
    "spectrum",
    "The eigenvalues of V",
    "V v = lambda v; effective radius: the largest |lambda| of V D_t",
    "An eigenvalue inside the circle is a direction that V alone forgets; outside, one that it amplifies "
    "until f flattens it.",
    (
        Quantity(
            "spectrum",
            lambda reading: recurrent_spectra(reading.trace, positions=reading.limits.spectrum_positions),
        ),
    ),
    (Chart("eigenvalues", "eigenvalues of V in the complex plane, with the unit circle", draw_eigenvalues),),
    (
        Table(
            "The recurrent kernels",
            ("layer", "radius of V", "largest singular value of V", "non-normality of V", "radius of V D, median"),
            spectrum_rows,
            is_folded=False,
        ),
    ),
)
LYAPUNOV = Section(
    "lyapunov",
    "Lyapunov exponents",
    "Q_t R_t = (V D_t)^T Q_{t-1}, exponent_i = mean of ln |R_t[i, i]|",
    "Below 0 a small difference of the state shrinks and the network forgets how it started; above 0 it is chaotic.",
    (Quantity("lyapunov", lambda reading: lyapunov(reading.trace)),),
    (Chart("lyapunov", "Lyapunov exponents by rank, largest first", draw_lyapunov),),
    (
        Table(
            "The largest exponent",
            ("largest exponent", "time constant, characters", "dimensions of the state", "characters read"),
            lambda found: [(float(found.exponents[0]), found.time_constant, found.dimensions, found.steps)],
            is_folded=False,
        ),
    ),
)
FIXED_POINTS = Section(
    "fixed_points",
    "Fixed and slow points",
    "F(h) = f(x_c U + h V + b) = h, the character c held constant",
    "A stable point, whose spectral radius is below 1, attracts the state: repeat the character and the network comes "
    "to rest there; near a slow one it only lingers.",
    (
        Quantity(
            "fixed_points",
            lambda reading: find_fixed_points(reading.parameters, reading.ids[:MOST_STATES], reading.states),
        ),
    ),
    tables=(
        Table(
            "The points",
            (
                *("character held", "the state", "period, characters"),
                *("point", "speed", "spectral radius", "unstable directions", "expects next"),
            ),
            point_rows,
            needs_characters=True,
            is_folded=False,
        ),
    ),
)
