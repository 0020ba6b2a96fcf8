"""The recurrent kernels as matrices: eigenvalues, singular values, non-normality, and the effective radius of V D.

Axes: H units.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.trace import Trace

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
    effective_radius_low: float
    """The smallest of them."""
    effective_radius_high: float
    """The largest of them."""
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
    kernels = (kernel.astype(np.float64) for kernel in trace.weights.recurrent)
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
        effective_radius_low=min(radii),
        effective_radius_high=max(radii),
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
    return float(np.sqrt(max(0.0, square - normal) / square)) if square else 0.0
