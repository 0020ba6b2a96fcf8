"""The eigenvalues of the recurrent kernels: the differences that V alone would shrink or amplify.

Axes: H units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.figures import BLUE, ORANGE, Figure, canvas
from charlm.inspection.reading import Reading
from charlm.inspection.section import Content, Drawing, Section, Table
from charlm.network.rnn import Parameters


@dataclass(frozen=True, eq=False)
class RecurrentSpectrum:
    """The eigenvalues of the recurrent kernel V of one layer."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    eigenvalues: NDArray[np.complex128]
    """Eigenvalues of V, largest modulus first, complex128 [H]."""
    spectral_radius: float
    """The largest modulus of an eigenvalue."""


def recurrent_spectra(parameters: Parameters) -> list[RecurrentSpectrum]:
    """Compute the eigenvalues of the recurrent kernel of each layer in float64.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues do not converge, or a weight is not finite.

    """
    spectra = []
    for layer, weights in enumerate(parameters.layers):
        values = np.linalg.eigvals(weights.recurrent_kernel.astype(np.float64))
        order = np.argsort(-np.abs(values), kind="stable")
        eigenvalues = values[order].astype(np.complex128)
        spectra.append(RecurrentSpectrum(layer, eigenvalues, float(np.abs(eigenvalues[0]))))
    return spectra


def make_spectrum(reading: Reading) -> Content:
    """Compute the eigenvalues of the recurrent kernels of a network."""
    spectra = recurrent_spectra(reading.parameters)
    table = Table(
        "The spectral radius of V: the largest modulus of an eigenvalue.",
        {
            "layer": [spectrum.layer for spectrum in spectra],
            "units": [len(spectrum.eigenvalues) for spectrum in spectra],
            "spectral radius of V": [spectrum.spectral_radius for spectrum in spectra],
        },
        is_open=True,
    )
    caption = "Eigenvalues of V of each layer, with the unit circle."
    return Content(
        spectra,
        basis="Based on the weights alone; no text is read.",
        figure=Drawing(partial(draw_eigenvalues, spectra), caption),
        table=table,
    )


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> Figure:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    from matplotlib.patches import Circle

    titles = [f"V of rnn.{spectrum.layer}" for spectrum in spectra]
    heights = [1.7] * math.ceil(len(spectra) / 2) if len(spectra) > 1 else [3.4]
    figure, grid = canvas(*titles, heights=heights)
    for axes, spectrum in zip(grid, spectra, strict=True):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        limits = (-reach, reach)
        axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel="real", ylabel="imaginary")
    return figure


SECTION = Section(
    name="spectrum",
    title="The eigenvalues of V",
    equation="v V = λ v",
    text=(
        "V alone would shrink differences in the direction of an eigenvalue inside the circle, and "
        "amplify differences in the other directions. But V never acts alone: each step multiplies "
        "a difference by V D, where the slopes D change with the text. The Lyapunov exponents "
        "below measure how fast a difference really shrinks or grows. The spectral radius of V D "
        "does not give this rate, because the matrices of different steps have different "
        "eigenvectors."
    ),
    make=make_spectrum,
)
