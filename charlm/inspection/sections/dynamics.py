"""The network as a dynamical system: which differences of its state grow or fade, and where a state comes to rest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from charlm.inspection.fixed_points import FixedPoint, FixedPoints, find_fixed_points
from charlm.inspection.look import BLUE, GREEN, INK, MUTED, ORANGE, PAPER, WIDTH, canvas, legend, rule, series
from charlm.inspection.passages import visible
from charlm.inspection.reading import FEW_STATES, Reading
from charlm.inspection.sections.section import Chart, Quantity, Rows, Section, Table, layer_name
from charlm.inspection.stability import Lyapunov, RecurrentSpectrum, lyapunov, recurrent_spectra
from charlm.network.gradients import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 2
INITIAL_STEPS = 500
"""Over how many characters the exponents of the untrained network are averaged."""


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> "Figure":
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    from matplotlib.patches import Circle

    across = min(COLUMNS, len(spectra))
    down = -(-len(spectra) // across)
    figure, grid = canvas(down, across, width=WIDTH, height=down * (2.7 if across > 1 else 3.8))
    for axes, spectrum in zip(grid.ravel(), spectra, strict=False):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real")
        axes.set_title(f"V of {layer_name(spectrum.layer)}", loc="left")
    grid[0, 0].set_ylabel("imaginary")
    for axes in grid.ravel()[len(spectra) :]:
        axes.remove()
    return figure


def draw_lyapunov(trained: Lyapunov, initial: Lyapunov | None = None) -> "Figure":
    """Draw the Lyapunov exponents by their rank, of the trained network and of one with weights drawn anew."""
    figure, ((axes,),) = canvas()
    for index, (name, found) in enumerate((("trained", trained), ("untrained", initial))):
        if found is None:
            continue
        finite = found.exponents[np.isfinite(found.exponents)]
        axes.plot(np.arange(1, len(finite) + 1), finite, marker=".", markersize=4, label=name, **series(index))
    rule(axes, y=0)
    axes.set(xlabel="rank", ylabel="nats per character")
    axes.locator_params(axis="x", integer=True)
    legend(figure)
    return figure


def draw_fixed_points(found: FixedPoints, characters: Sequence[str | None]) -> "Figure":
    """Draw the fixed and slow points for each character held constant, by their spectral radius."""
    figure, ((axes,),) = canvas(height=0.9 + 0.28 * max(3, len(found.characters)))
    looks: dict[str, tuple[str, str, str]] = {
        "stable": ("o", GREEN, GREEN),
        "unstable": ("o", PAPER, ORANGE),
        "slow": ("x", MUTED, MUTED),
    }
    points = [(row, point) for row, held in enumerate(found.characters) for point in held.points]
    for kind, (marker, face, edge) in looks.items():
        places = [(point.spectral_radius, row) for row, point in points if _kind(point) == kind]
        if places:
            across, up = zip(*places, strict=True)
            style = {"markerfacecolor": face, "markeredgecolor": edge, "linestyle": "", "markersize": 5.5}
            axes.plot(across, up, marker=marker, label=kind, **style)
    rule(axes, x=1)
    labels = [visible(characters[held.id]) for held in found.characters]
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.set(xlabel="spectral radius of the Jacobian", ylabel="character held", ylim=(len(labels) - 0.5, -0.5))
    legend(figure)
    return figure


def _kind(point: FixedPoint) -> str:
    if not point.is_fixed:
        return "slow"
    return "stable" if point.is_stable else "unstable"


def spectrum_rows(trained: Sequence[RecurrentSpectrum], initial: Sequence[RecurrentSpectrum] | None) -> Rows:
    """Return a row for each recurrent kernel, trained and untrained."""
    return [
        (
            f"{layer_name(each.layer)}{label}",
            *(each.spectral_radius, each.largest_singular_value, each.non_normality),
            *(each.effective_radius, each.effective_radius_low, each.effective_radius_high),
        )
        for label, spectra in (("", trained), (", untrained", initial or ()))
        for each in spectra
    ]


def lyapunov_rows(trained: Lyapunov, initial: Lyapunov | None) -> Rows:
    """Return the largest exponent, trained and untrained."""
    return [
        (name, float(found.exponents[0]), found.time_constant, found.dimensions, found.steps)
        for name, found in (("trained", trained), ("untrained", initial))
        if found is not None
    ]


def held_rows(found: FixedPoints, characters: Sequence[str | None]) -> Rows:
    """Return a row for each character."""
    return [
        (visible(characters[each.id]), each.outcome, each.period, each.settling_characters) for each in found.characters
    ]


def point_rows(found: FixedPoints, characters: Sequence[str | None]) -> Rows:
    """Return a row for each point of each character."""
    return [
        (
            visible(characters[held.id]),
            "fixed" if point.is_fixed else "slow",
            *(point.speed, point.spectral_radius, point.unstable_directions, point.starts),
            " ".join(visible(characters[index]) for index, _ in point.likeliest),
        )
        for held in found.characters
        for point in held.points
    ]


def make_spectra(reading: Reading, trace: Trace) -> tuple[RecurrentSpectrum, ...]:
    """Return the spectrum of each layer."""
    return recurrent_spectra(trace, positions=reading.limits.spectrum_positions)


SPECTRUM = Section(
    "spectrum",
    "The eigenvalues of V",
    "V v = lambda v; effective radius: the largest |lambda| of V D_t",
    "An eigenvalue inside the circle is a direction that V alone forgets; outside, one that it amplifies "
    "until f flattens it.",
    (
        Quantity("spectrum", lambda reading: make_spectra(reading, reading.trace), missing=()),
        Quantity("initial_spectrum", lambda reading: make_spectra(reading, reading.initial_trace), missing=()),
    ),
    (Chart("eigenvalues", "eigenvalues of V in the complex plane, with the unit circle", draw_eigenvalues),),
    (
        Table(
            "The recurrent kernels",
            (
                "layer",
                "radius of V",
                "largest singular value",
                "non-normality",
                "radius of V D",
                "least of V D",
                "most of V D",
            ),
            spectrum_rows,
            ("spectrum", "initial_spectrum"),
            is_folded=False,
        ),
    ),
)
LYAPUNOV = Section(
    "lyapunov",
    "Lyapunov exponents",
    "Q_t R_t = (V D_t)^T Q_{t-1}, exponent_i = mean of ln |R_t[i, i]|",
    "Below 0 a small difference of the state shrinks and the network forgets how it started; above 0 it is chaotic.",
    (
        Quantity("lyapunov", lambda reading: lyapunov(reading.trace)),
        Quantity("initial_lyapunov", lambda reading: lyapunov(reading.initial_trace, most_steps=INITIAL_STEPS)),
    ),
    (Chart("lyapunov", "Lyapunov exponents by rank", draw_lyapunov, ("lyapunov", "initial_lyapunov")),),
    (
        Table(
            "The largest exponent",
            ("weights", "exponent", "time constant, characters", "dimensions", "characters read"),
            lyapunov_rows,
            ("lyapunov", "initial_lyapunov"),
            is_folded=False,
        ),
    ),
)
FIXED_POINTS = Section(
    "fixed_points",
    "Fixed and slow points",
    "F(h) = f(x_c U + h V + b) = h, the character c held constant",
    "Points left of the line at 1 attract the state: repeat the character and the network comes to rest there.",
    (
        Quantity(
            "fixed_points",
            lambda reading: find_fixed_points(reading.parameters, reading.ids[:FEW_STATES], reading.few_states),
        ),
    ),
    (
        Chart(
            "fixed-points",
            "spectral radius at the fixed and slow points of each character",
            lambda found, characters: draw_fixed_points(found, characters) if found.characters else None,
            ("fixed_points", "characters"),
        ),
    ),
    (
        Table(
            "What the state does",
            ("held", "outcome", "period", "settles after"),
            held_rows,
            ("fixed_points", "characters"),
            is_folded=False,
        ),
        Table(
            "The points",
            ("held", "kind", "speed", "radius", "unstable directions", "starts", "expects"),
            point_rows,
            ("fixed_points", "characters"),
        ),
    ),
)
