"""The eigenvalues of the recurrent kernels: the differences that V alone would shrink or amplify.

Axes: H units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import Parameters
from charlm.inspection.reading import Reading
from charlm.inspection.style import ORANGE, Figure, Line, Section, add_axes, table


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


def measure(reading: Reading) -> list[RecurrentSpectrum]:
    """Compute the eigenvalues of the recurrent kernels of a network."""
    return recurrent_spectra(reading.parameters)


# The page

TEXT = (
    "V alone would shrink a difference along an eigenvector whose eigenvalue is inside the circle, "
    "and lengthen the others. But V never acts alone: each step multiplies a difference by V D, "
    "where the slopes D change with the text. The largest exponent, not the spectral radius, says "
    "how fast a difference really shrinks or grows."
)


def plot(figure: Figure, results: Mapping[Line, Sequence[RecurrentSpectrum]]) -> None:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    layers = max(len(spectra) for spectra in results.values())
    axes = add_axes(figure, *(f"V of rnn.{layer}" for layer in range(layers)))
    angles = np.linspace(0, 2 * np.pi, 200)
    for layer, each in enumerate(axes):
        each.plot(np.cos(angles), np.sin(angles), color=ORANGE)
        each.set(aspect="equal", xlabel="real", ylabel="imaginary")
        for line, spectra in results.items():
            if layer < len(spectra):
                values = spectra[layer].eigenvalues
                label = line.label if layer == 0 else None
                each.plot(values.real, values.imag, ".", ms=3, color=line.colour, label=label)


def caption(results: Mapping[Line, Sequence[RecurrentSpectrum]]) -> str:
    """Return a description of the figure, in full sentences."""
    return "Eigenvalues of V of each layer, with the unit circle. No text is read."


def details(results: Mapping[Line, Sequence[RecurrentSpectrum]]) -> str:
    """Return a table of the spectral radii."""
    rows = [
        (f"{line.label} rnn.{spectrum.layer}".strip(), spectrum.spectral_radius)
        for line, spectra in results.items()
        for spectrum in spectra
    ]
    caption = "The spectral radius of V: the largest modulus of an eigenvalue."
    head = ("layer", "spectral radius")
    return table(head, rows, caption=caption, is_folded=len(results) > 1)


SECTION = Section(
    name="spectrum",
    title="The eigenvalues of V",
    equation="v V = λ v",
    text=TEXT,
    measure=measure,
    details=details,
    plot=plot,
    caption=caption,
    is_dynamics=True,
)
