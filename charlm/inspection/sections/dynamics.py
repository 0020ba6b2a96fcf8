"""The network as a dynamical system: which differences of its state grow or fade."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from charlm.inspection.look import BLUE, ORANGE, canvas, rule, series
from charlm.inspection.sections.section import Chart, Quantity, Rows, Section, Table, layer_name
from charlm.inspection.stability import Lyapunov, RecurrentSpectrum, lyapunov, recurrent_spectra

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
    rule(axes, y=0)
    axes.set(xlabel="rank", ylabel="nats per character")
    axes.locator_params(axis="x", integer=True)
    return figure


def spectrum_rows(spectra: Sequence[RecurrentSpectrum]) -> Rows:
    """Return a row for each recurrent kernel."""
    return [
        (
            layer_name(each.layer),
            *(each.spectral_radius, each.largest_singular_value, each.non_normality),
            *(each.effective_radius, each.effective_radius_low, each.effective_radius_high),
        )
        for each in spectra
    ]


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
            (
                *("layer", "radius of V", "largest singular value", "non-normality"),
                *("radius of V D", "least of V D", "most of V D"),
            ),
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
    (Chart("lyapunov", "Lyapunov exponents by rank", draw_lyapunov),),
    (
        Table(
            "The largest exponent",
            ("exponent", "time constant, characters", "dimensions", "characters read"),
            lambda found: [(float(found.exponents[0]), found.time_constant, found.dimensions, found.steps)],
            is_folded=False,
        ),
    ),
)
