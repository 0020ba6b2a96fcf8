"""Lyapunov exponents: by how much small differences of the whole state grow or shrink per character.

Benettin et al. 1980: QR decomposition of the product of the Jacobians dh_t / dh_{t-1} along the text.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.inspection.trace import Layers, Trace, Values, Weights


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

    A difference of the whole state passes through a step as d_l = (d_l V_l + d_{l-1} U_l) D_l, from the lowest layer l
    up: the Jacobian of all layers together, also across layers.

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
    dimensions = sum(trace.weights.widths)
    count = dimensions if dimensions <= full_up_to else min(most, dimensions)
    skipped = min(warm_up, len(trace.ids) // 4)
    end = min(len(trace.ids), skipped + most_steps)
    start = np.random.default_rng(0).standard_normal((dimensions, count))
    basis = np.linalg.qr(start.astype(trace.weights.bias.dtype))[0].T  # [n, dimensions]
    sums = np.zeros(count)
    for time in range(1, end):
        pushed = push_forward(trace.weights, basis, tuple(gain[time] for gain in trace.slopes))
        q, r = np.linalg.qr(pushed.T)
        basis = q.T
        if time >= skipped:
            with np.errstate(divide="ignore"):
                sums += np.log(np.abs(np.diagonal(r)))
    exponents = np.sort(sums / (end - max(1, skipped)))[::-1]
    largest = float(exponents[0])
    time_constant = -1 / largest if largest < 0 else None
    return Lyapunov(exponents, dimensions, time_constant, end - max(1, skipped))


def push_forward(weights: Weights, differences: Values, slopes: Layers) -> Values:
    """Multiply differences of the state before a step by the Jacobian of the step.

    Args:
        weights: The weights.
        differences: Small differences of the whole state, lowest layer first: [n, sum of H].
        slopes: f'(a_t) of each layer at the step, [n, H] or [1, H].

    Returns:
        The differences after the step, [n, sum of H].

    """
    parts = np.split(differences, np.cumsum(weights.widths)[:-1], axis=1)
    after: list[Values] = []
    for part, recurrent, below, gain in zip(parts, weights.recurrent, weights.below, slopes, strict=True):
        total = part @ recurrent
        if after:
            total += after[-1] @ below
        after.append(total * gain)
    return np.concatenate(after, axis=1)
