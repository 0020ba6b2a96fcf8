"""The eigenvalues of the recurrent kernels: which differences V alone would shrink or amplify.

Axes: H units.
"""

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
        eigenvalues = np.linalg.eigvals(weights.recurrent_kernel.astype(np.float64)).astype(
            np.complex128
        )
        eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]
        spectra.append(RecurrentSpectrum(layer, eigenvalues, float(np.abs(eigenvalues[0]))))
    return spectra


def make_spectrum(reading: Reading) -> Content:
    """Compute the eigenvalues of the recurrent kernels of a network."""
    spectra = recurrent_spectra(reading.parameters)
    table = Table(
        "The spectral radius of V: the largest modulus of an eigenvalue.",
        {
            "layer": [each.layer for each in spectra],
            "units": [len(each.eigenvalues) for each in spectra],
            "spectral radius of V": [each.spectral_radius for each in spectra],
        },
        is_open=True,
    )
    return Content(
        spectra,
        basis="Based on the weights alone; no text is read.",
        figure=Drawing(
            partial(draw_eigenvalues, spectra),
            "Eigenvalues of V of each layer, with the unit circle.",
        ),
        table=table,
    )


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> Figure:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    from matplotlib.patches import Circle

    columns = min(2, len(spectra))
    figure, grid = canvas(
        *(f"V of rnn.{each.layer}" for each in spectra), columns=columns, height=3.4 / columns
    )
    for axes, spectrum in zip(grid, spectra, strict=True):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        axes.set(
            xlim=(-reach, reach),
            ylim=(-reach, reach),
            aspect="equal",
            xlabel="real",
            ylabel="imaginary",
        )
    return figure


SECTION = Section(
    name="spectrum",
    title="The eigenvalues of V",
    equation="v V = λ v",
    text=(
        "An eigenvalue inside the circle belongs to a direction that V alone would shrink to nothing in the end; one "
        "outside, to a direction that V alone would amplify. But V never acts alone: each step multiplies a difference "
        "by V D, where the slopes D change with the text. How fast a difference really shrinks or grows is measured "
        "by the Lyapunov exponents below. The spectral radius of V D does not give this rate, because the matrices "
        "of different steps do not share their eigenvectors."
    ),
    make=make_spectrum,
)
