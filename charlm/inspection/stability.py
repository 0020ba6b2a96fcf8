"""Whether small differences of the state grow or fade: eigenvalues of the recurrent kernels, and Lyapunov exponents.

The exponents are those of the product of the Jacobians dh_t / dh_{t-1} along the text, by QR decompositions (Benettin
et al. 1980).

Axes: H units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import mean_and_error
from charlm.inspection.figures import BLUE, ORANGE, Figure, Panel, canvas, with_errors
from charlm.inspection.reading import Found, Reading, items_of
from charlm.network.gradients import Trace, push_forward

Values = NDArray[np.float64]


BLOCK = 100
"""Characters of a block in the standard errors: the factors of a step depend on few characters before it."""
SHOWN = 4
"""Exponents that are listed."""


@dataclass(frozen=True, eq=False)
class RecurrentSpectrum:
    """The recurrent kernel V of one layer."""

    layer: int
    """From 0, lowest first."""
    eigenvalues: NDArray[np.complex128]
    """Of V, largest size first: complex128 [H]."""
    spectral_radius: float
    """The largest size of an eigenvalue of V."""
    effective_radius: float
    """The median spectral radius of V D_t on the text, D_t = diag f'(a_t)."""
    effective_low: float
    """The smallest of these radii."""
    effective_high: float
    """The largest of them."""
    radius_positions: NDArray[np.int64]
    """Of the characters at which V D_t was computed, int64 [P]."""


def recurrent_spectra(trace: Trace, *, positions: int = 8) -> list[RecurrentSpectrum]:
    """Compute the spectrum of the recurrent kernel V of each layer, and of V D_t at evenly spaced steps of a text.

    Args:
        trace: One text, read.
        positions: The number of steps at most, 1 or more.

    Raises:
        numpy.linalg.LinAlgError: the eigenvalues do not converge, or a value is not finite.

    """
    steps = np.unique(np.linspace(min(100, len(trace.ids) // 2), len(trace.ids) - 1, positions).astype(np.int64))
    found = []
    for layer, (weights, gains) in enumerate(zip(trace.parameters.layers, trace.slopes, strict=True)):
        kernel = weights.recurrent_kernel.astype(np.float64)
        eigenvalues = np.linalg.eigvals(kernel).astype(np.complex128)
        eigenvalues = eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]
        radii = [float(np.abs(np.linalg.eigvals(kernel * gain)).max()) for gain in gains[steps, 0].astype(np.float64)]
        spectrum = RecurrentSpectrum(
            layer=layer,
            eigenvalues=eigenvalues,
            spectral_radius=float(np.abs(eigenvalues[0])),
            effective_radius=float(np.median(radii)),
            effective_low=min(radii),
            effective_high=max(radii),
            radius_positions=steps,
        )
        found.append(spectrum)
    return found


@dataclass(frozen=True, eq=False)
class Lyapunov:
    """The conditional, finite-time Lyapunov exponents of the whole state, all layers together.

    They are conditional on the text that drives the network (Pecora and Carroll 1991), and means over a part of it.
    """

    exponents: NDArray[np.float64]
    """In nats per character, largest first: float64 [n]; -inf beyond the rank of a Jacobian on the way."""
    standard_errors: Values
    """Of each, by blocks of BLOCK characters, float64 [n]; NaN for -inf, and with fewer than MIN_BLOCKS blocks."""
    dimensions: int
    """Of the state: how many exponents there are in all; n may be less."""
    positions: range
    """Of the characters whose steps count."""


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
    dimensions = trace.parameters.state_size
    count = dimensions if dimensions <= full_up_to else min(most, dimensions)
    skipped = min(warm_up, len(trace.ids) // 4)
    end = min(len(trace.ids), skipped + most_steps)
    start = np.random.default_rng(0).standard_normal((dimensions, count))
    basis = np.linalg.qr(start.astype(trace.outputs[0].dtype))[0].T  # [n, dimensions]
    first, logs = max(1, skipped), []
    for time in range(1, end):
        pushed = push_forward(trace.parameters, basis, tuple(gain[time] for gain in trace.slopes))
        q, r = np.linalg.qr(pushed.T)
        basis = q.T
        if time >= first:
            lengths = np.abs(np.diagonal(r))
            lengths[lengths < 64 * np.finfo(lengths.dtype).eps * lengths.max()] = 0  # what rounding leaves of 0
            with np.errstate(divide="ignore"):
                logs.append(np.log(lengths))
    places = np.arange(len(logs))
    pairs = np.array([mean_and_error(column, places, block=BLOCK) for column in np.transpose(logs)], np.float64)
    means, errors = pairs[np.argsort(-pairs[:, 0])].T
    return Lyapunov(means, errors, dimensions, range(first, end))


def draw_eigenvalues(spectra: Sequence[RecurrentSpectrum]) -> Figure:
    """Draw the eigenvalues of V in the complex plane, with the unit circle, for each layer."""
    from matplotlib.patches import Circle

    columns = min(2, len(spectra))
    figure, grid = canvas(*(f"V of rnn.{each.layer}" for each in spectra), columns=columns, height=3.4 / columns)
    for axes, spectrum in zip(grid, spectra, strict=True):
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=ORANGE, linewidth=1.2, zorder=3))
        values = spectrum.eigenvalues
        axes.plot(values.real, values.imag, linestyle="", marker=".", markersize=3.5, color=BLUE)
        reach = 1.08 * max(1.0, spectrum.spectral_radius)
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xlabel="real", ylabel="imaginary")
    return figure


def lyapunov_panel(found: Lyapunov) -> Panel:
    """Show the Lyapunov exponents by their rank; there is no point for minus infinity."""
    curve = with_errors(np.arange(1, len(found.exponents) + 1), found.exponents, found.standard_errors)
    labels = ("rank, largest exponent first", "nats per character")
    return Panel("Conditional Lyapunov exponents of the whole state", labels, {"": curve}, rule=0)


def make_spectrum(reading: Reading) -> Found:
    """Compute the spectra of a network on a text; the wider a layer, the fewer characters."""
    units = max(layer.units for layer in reading.parameters.layers)
    found = recurrent_spectra(reading.trace, positions=max(2, min(16, int(1.5e9 / units**3))))
    return Found(found, partial(draw_eigenvalues, found), found, positions=found[0].radius_positions)


def make_lyapunov(reading: Reading) -> Found:
    """Compute the Lyapunov exponents of a network on a text."""
    found = lyapunov(reading.trace)
    items = items_of(found, "exponents", "standard_errors")[:SHOWN]
    lost, count = np.isneginf(found.exponents).sum(), len(found.exponents)
    html = f'<p class="help">{lost} of {count} exponents are \N{MINUS SIGN}\N{INFINITY}.</p>' if lost else ""
    return Found(found, None, items, "", html, found.positions, [lyapunov_panel(found)])
