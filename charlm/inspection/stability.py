"""Whether small differences of the state grow or fade: eigenvalues of the recurrent kernels, and Lyapunov exponents.

The exponents are those of the product of the Jacobians dh_t / dh_{t-1} along the text, by QR decompositions (Benettin
et al. 1980).

Axes: H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.network.gradients import Trace, push_forward

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecurrentSpectrum:
    """The recurrent kernel V of one layer."""

    layer: int
    """From 0, lowest first."""
    eigenvalues: NDArray[np.complex128]
    """Of V, largest size first: complex128 [H]."""
    spectral_radius: float
    """The largest size of an eigenvalue of V."""
    largest_singular_value: float
    """The most by which V can lengthen a vector."""
    non_normality: float
    """Henrici's departure from normality, sqrt(|V|_F^2 - sum |lambda|^2) / |V|_F: 0 = normal, 1 = nilpotent."""
    effective_radius: float
    """The median spectral radius of V D_t on the text, D_t = diag f'(a_t)."""
    effective_radius_positions: int
    """At how many positions of the text it was computed."""


def recurrent_spectra(trace: Trace, *, positions: int = 8) -> tuple[RecurrentSpectrum, ...]:
    """Compute the spectrum of the recurrent kernel V of each layer, and of V D_t at evenly spaced steps of a text.

    Args:
        trace: One text, read.
        positions: The number of steps at most, 1 or more.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues do not converge, or a value is not finite.

    """
    steps = np.unique(np.linspace(min(100, len(trace.ids) // 2), len(trace.ids) - 1, positions).astype(int))
    kernels = (layer.recurrent_kernel.astype(np.float64) for layer in trace.parameters.layers)
    return tuple(
        _spectrum(layer, kernel, gains[steps, 0].astype(np.float64))
        for layer, (kernel, gains) in enumerate(zip(kernels, trace.slopes, strict=True))
    )


def _spectrum(layer: int, kernel: Values, gains: Values) -> RecurrentSpectrum:
    """Return the spectrum of V, [H, H], with the slopes f'(a_t) at some steps, [n, H]."""
    eigenvalues = np.linalg.eigvals(kernel).astype(np.complex128)
    eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]
    radii = [float(np.abs(np.linalg.eigvals(kernel * gain)).max()) for gain in gains]
    return RecurrentSpectrum(
        layer=layer,
        eigenvalues=eigenvalues,
        spectral_radius=float(np.abs(eigenvalues[0])),
        largest_singular_value=float(np.linalg.norm(kernel, 2)),
        non_normality=non_normality(kernel, eigenvalues),
        effective_radius=float(np.median(radii)),
        effective_radius_positions=len(radii),
    )


def non_normality(matrix: Values, eigenvalues: NDArray[np.complex128]) -> float:
    """Return Henrici's departure from normality relative to the norm, sqrt(|A|_F^2 - sum |lambda|^2) / |A|_F.

    Args:
        matrix: A, float64 [H, H].
        eigenvalues: Its eigenvalues lambda, complex128 [H].

    Returns:
        0 for a normal matrix (and for zero) to 1 for a nilpotent one.

    """
    square = float((matrix**2).sum())
    normal = float((np.abs(eigenvalues) ** 2).sum())
    return float(np.sqrt(np.maximum(0.0, square - normal) / square)) if square else 0.0


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The exponents of the whole state, all layers together."""

    exponents: NDArray[np.float64]
    """In nats per character, largest first: float64 [n]; -inf for a direction that is forgotten at once."""
    dimensions: int
    """Of the state: how many exponents there are in all; n may be less."""
    time_constant: float | None
    """-1 / largest exponent, in characters: a difference shrinks to 1/e in this time; None if it does not shrink."""
    steps: int
    """Over how many characters they were averaged."""


def lyapunov(
    trace: Trace, *, most: int = 32, full_up_to: int = 128, warm_up: int = 100, most_steps: int = 1000
) -> Lyapunov:
    """Compute the largest Lyapunov exponents along a text, as means of ln |R_ii| of a QR decomposition a character.

    The Jacobian is that of all layers together, `charlm.network.gradients.push_forward`.

    Args:
        trace: One text, read; T >= 2.
        most: How many exponents to compute of a large state, 1 or more.
        full_up_to: Up to how many dimensions of the state all exponents are computed.
        warm_up: How many characters to read before the mean begins, so that the directions turn to their places; a
            quarter of the text at most.
        most_steps: Over how many characters the mean is taken at most, 1 or more.

    Returns:
        The exponents, largest first.

    """
    dimensions = sum(layer.units for layer in trace.parameters.layers)
    count = dimensions if dimensions <= full_up_to else min(most, dimensions)
    skipped = min(warm_up, len(trace.ids) // 4)
    end = min(len(trace.ids), skipped + most_steps)
    start = np.random.default_rng(0).standard_normal((dimensions, count))
    basis = np.linalg.qr(start.astype(trace.outputs[0].dtype))[0].T  # [n, dimensions]
    sums = np.zeros(count)
    for time in range(1, end):
        pushed = push_forward(trace.parameters, basis, tuple(gain[time] for gain in trace.slopes))
        q, r = np.linalg.qr(pushed.T)
        basis = q.T
        if time >= skipped:
            with np.errstate(divide="ignore"):
                sums += np.log(np.abs(np.diagonal(r)))
    exponents = np.sort(sums / (end - max(1, skipped)))[::-1]
    largest = float(exponents[0])
    time_constant = -1 / largest if largest < 0 else None
    return Lyapunov(exponents, dimensions, time_constant, end - max(1, skipped))
