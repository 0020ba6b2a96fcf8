"""Polynomials that bring singular values near 1 in as few iterations as possible.

Muon's iteration applies an odd polynomial p(x) = a x + b x^3 + c x^5 to the singular values of a matrix. Instead of the
same polynomial every time, each iteration can use the one that is best for the interval in which the singular values
lie by then (Amsel et al. 2025, "The Polar Express"): the minimax approximation of 1, found by the Remez algorithm.
"""

from typing import NamedTuple

import numpy as np

MARGIN = 1.01
"""Factor by which singular values may exceed the interval through rounding before the polynomials amplify them."""
NARROWEST = 0.1
"""The interval of a polynomial reaches down to at least this share of its upper end; a wider one is not monotonic."""
CLOSE = 1 - 1e-3
"""Ratio of the ends of an interval above which it counts as a point: its Remez system cannot be solved in float64."""
EXCHANGES = 50
"""Maximum number of exchanges of the Remez algorithm; about five are enough."""


class Quintic(NamedTuple):
    """The odd polynomial p(x) = a x + b x^3 + c x^5."""

    a: float
    b: float
    c: float

    def __call__(self, x: float) -> float:
        """Return p(x)."""
        return self.a * x + self.b * x**3 + self.c * x**5

    def stretched(self, factor: float) -> "Quintic":
        """Return the polynomial x -> p(x / factor)."""
        return Quintic(self.a / factor, self.b / factor**3, self.c / factor**5)

    def times(self, factor: float) -> "Quintic":
        """Return the polynomial x -> factor p(x)."""
        return Quintic(self.a * factor, self.b * factor, self.c * factor)


def polar_polynomials(steps: int, floor: float) -> list[Quintic]:
    """Return the polynomials that, applied one after the other, bring the interval [floor, 1] nearest to 1.

    Args:
        steps: The number of polynomials, 0 or more.
        floor: The least singular value to bring near 1, more than 0 and less than 1. Smaller ones grow as well, but
            stay smaller.

    """
    polynomials: list[Quintic] = []
    low, high = floor, 1.0
    for step in range(steps):
        polynomial = minimax_quintic(max(low, NARROWEST * high), high)
        polynomial = polynomial.times(2 / (polynomial(low) + polynomial(high)))  # equally far from 1 at both ends
        if step < steps - 1:
            polynomial = polynomial.stretched(MARGIN)
        polynomials.append(polynomial)
        low = polynomial(low)
        high = 2 - low
    return polynomials


def minimax_quintic(low: float, high: float) -> Quintic:
    """Return the odd polynomial of degree 5 whose largest distance from 1 on [low, high] is least.

    By the Remez algorithm: the error has the same size and alternating signs at both ends and at two points between,
    where the derivative is zero.

    Args:
        low: More than 0.
        high: More than `low`.

    """
    if low > CLOSE * high:
        return Quintic(15 / 8, -10 / 8, 3 / 8).stretched(high)  # both derivatives are zero at 1 (Newton-Schulz)
    inner = np.linspace(low, high, 4)[1:3]
    for _ in range(EXCHANGES):
        points = np.array([low, *inner, high])
        system = np.stack([points, points**3, points**5, [1, -1, 1, -1]], axis=1)
        a, b, c, _ = np.linalg.solve(system, np.ones(4))
        root = np.sqrt(9 * b**2 - 20 * a * c)  # a + 3 b x^2 + 5 c x^4 = 0
        extremes = np.sqrt((-3 * b + np.array([-root, root])) / (10 * c))
        if np.allclose(extremes, inner, rtol=1e-12, atol=0):
            break
        inner = extremes
    return Quintic(float(a), float(b), float(c))
