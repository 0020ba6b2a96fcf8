"""The weights of a network: their shapes, and the eigenvalues of the recurrent kernels.

Axes: H units.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.core.architecture import Shape
from charlm.inspection.reading import Reading
from charlm.inspection.style import MUTED, Figure, Line, Section, add_axes, table

SYMBOLS = {
    "embedding": "E",
    "kernel": "U",
    "recurrent_kernel": "V",
    "bias": "b",
    "logits.kernel": "W",
    "logits.bias": "c",
}
"""Symbols of tensors in the equations, by their whole name or its last part."""
TIMES = "\N{MULTIPLICATION SIGN}"


# The eigenvalues


@dataclass(frozen=True, eq=False)
class RecurrentSpectrum:
    """The eigenvalues of the recurrent kernel V of one layer."""

    layer: int
    """Index of the layer, 0 is the lowest."""
    eigenvalues: NDArray[np.complex128]
    """Eigenvalues of V, largest modulus first, complex128 [H]."""
    spectral_radius: float
    """The largest modulus of an eigenvalue."""


def measure_spectrum(reading: Reading) -> list[RecurrentSpectrum]:
    """Compute the eigenvalues of the recurrent kernel of each layer in float64.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues do not converge, or a weight is not finite.

    """
    spectra = []
    for layer, weights in enumerate(reading.parameters.layers):
        values = np.linalg.eigvals(weights.recurrent_kernel.astype(np.float64))
        order = np.argsort(-np.abs(values), kind="stable")
        eigenvalues = values[order].astype(np.complex128)
        spectra.append(RecurrentSpectrum(layer, eigenvalues, float(np.abs(eigenvalues[0]))))
    return spectra


SPECTRUM_TEXT = (
    "V alone would in the end shrink every difference if all eigenvalues were inside the circle; "
    "before that, a difference may grow, because V is not normal. But V never acts alone: each "
    "step multiplies a difference by V D, where the slopes D change with the text. The largest "
    "exponent, not the spectral radius, says how fast a difference really shrinks or grows."
)


def plot_spectrum(figure: Figure, results: Mapping[Line, Sequence[RecurrentSpectrum]]) -> None:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    layers = max(len(spectra) for spectra in results.values())
    axes = add_axes(figure, *(f"V of rnn.{layer}" for layer in range(layers)))
    angles = np.linspace(0, 2 * np.pi, 200)
    for layer, each in enumerate(axes):
        each.plot(np.cos(angles), np.sin(angles), color=MUTED)
        each.set(aspect="equal", xlabel="real", ylabel="imaginary")
        for line, spectra in results.items():
            if layer < len(spectra):
                values = spectra[layer].eigenvalues
                each.plot(values.real, values.imag, ".", ms=3, color=line.colour, label=line.group)


def spectrum_caption(results: Mapping[Line, Sequence[RecurrentSpectrum]]) -> str:
    """Return the caption, with the spectral radii of a single run."""
    caption = "Eigenvalues of V of each layer, with the unit circle. No text is read."
    if len(results) == 1:
        (spectra,) = results.values()
        radii = ", ".join(f"{spectrum.spectral_radius:.3f}" for spectrum in spectra)
        caption += f" Spectral radius, the largest modulus of each layer: {radii}."
    return caption


SPECTRUM = Section(
    name="spectrum",
    title="The eigenvalues of V",
    equation="v V = λ v",
    text=SPECTRUM_TEXT,
    measure=measure_spectrum,
    plot=plot_spectrum,
    caption=spectrum_caption,
)


# The shapes


@dataclass(frozen=True)
class Network:
    """The weights of a network, and how it was trained."""

    shapes: Mapping[str, Shape]
    """Shape of each tensor by its name in a model file, in the order of the forward pass."""
    parameters: int
    """Number of weights."""
    settings: Mapping[str, Any]
    """Every setting of the run by its dotted key."""


def measure_network(reading: Reading) -> Network:
    """List the weights of a network and the settings of its run."""
    architecture = reading.parameters.architecture
    return Network(architecture.shapes(), architecture.size, reading.settings)


NETWORK_TEXT = (
    "A recurrent network applies the same weights at every step. x is the input of a layer: the "
    "character, one-hot or as a row of the embedding E, and in a stack also the output of the "
    "layer below. With skip connections, every layer reads the character, and the logits read "
    "every layer. Vectors are rows. The equations on this page are for a single layer; in a stack, "
    "a change of one layer also reaches the layers above it within the same step."
)


def network_details(results: Mapping[Line, Network]) -> str:
    """Return the tables of weights and settings of the first run."""
    line, network = next(iter(results.items()))
    rows = []
    for name, shape in network.shapes.items():
        symbol = SYMBOLS.get(name) or SYMBOLS[name.rpartition(".")[2]]
        rows.append((name, symbol, f" {TIMES} ".join(map(str, shape)), math.prod(shape)))
    total = ("all", "", "", network.parameters)
    run = f" of {line.label}" if line.label else ""
    head = ("tensor", "symbol", "shape", "weights")
    caption = "The symbols are the same as in the equation; layers are counted from rnn.0."
    weights = table(head, [*rows, total], caption=caption, summary=f"The weights{run}")
    settings = [(key, str(value)) for key, value in network.settings.items()]
    caption = "All settings; training.parts depends on the number of cores."
    return weights + table(
        ("setting", "value"), settings, caption=caption, summary=f"The settings{run}"
    )


NETWORK = Section(
    name="network",
    title="The network",
    equation=(
        "h<sub>t</sub> = f(x<sub>t</sub> U + h<sub>t&minus;1</sub> V + b), "
        "h<sub>0</sub> = 0, logits<sub>t</sub> = h<sub>t</sub> W + c"
    ),
    text=NETWORK_TEXT,
    measure=measure_network,
    details=network_details,
)
