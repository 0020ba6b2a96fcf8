"""The polynomials of Muon's iteration, compared with what a minimax approximation must satisfy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from charlm.engine.polar import MARGIN, Quintic, minimax_quintic, polar_polynomials


def values(polynomial: Quintic, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Evaluate by NumPy's own polynomials."""
    a, b, c = polynomial
    return np.polynomial.Polynomial([0, a, 0, b, 0, c])(x)


@pytest.mark.parametrize(("low", "high"), [(0.1, 1.0), (0.3, 1.7), (0.9, 1.1)])
def test_a_minimax_polynomial_has_its_largest_error_four_times_with_alternating_signs(low: float, high: float) -> None:
    x = np.linspace(low, high, 20001)
    error = 1 - values(minimax_quintic(low, high), x)
    size = np.abs(error).max()
    signs = np.sign(error[np.abs(error) > size * (1 - 1e-6)])
    assert 1 + np.count_nonzero(np.diff(signs)) == 4  # Chebyshev: as many as coefficients, and one


def test_for_an_interval_that_is_nearly_a_point_both_derivatives_are_zero_there() -> None:
    a, b, c = minimax_quintic(0.9999, 1.0)
    polynomial = np.polynomial.Polynomial([0, a, 0, b, 0, c])
    assert [polynomial(1.0), polynomial.deriv()(1.0), polynomial.deriv(2)(1.0)] == pytest.approx([1, 0, 0])


@pytest.mark.parametrize(
    ("steps", "floor", "error"), [(3, 0.01, 0.33), (4, 0.005, 0.14), (5, 0.001, 0.21), (8, 0.001, 1e-6)]
)
def test_together_they_bring_the_whole_interval_near_1(steps: int, floor: float, error: float) -> None:
    x = np.geomspace(floor, 1, 10_001)
    for polynomial in polar_polynomials(steps, floor):
        x = values(polynomial, x)
    assert np.abs(x - 1).max() < error


def test_they_bring_it_nearer_than_the_same_polynomial_every_time() -> None:
    jordan = Quintic(3.4445, -4.7750, 2.0315)
    ours = theirs = np.geomspace(0.01, 1, 1001)
    for polynomial in polar_polynomials(3, 0.01):
        ours, theirs = values(polynomial, ours), values(jordan, theirs)
    assert np.abs(ours - 1).max() < 0.33
    assert np.abs(theirs - 1).max() > 0.55


def test_a_value_just_above_the_interval_is_not_amplified_beyond_it() -> None:
    x = np.array([MARGIN])
    for polynomial in polar_polynomials(4, 0.01)[:-1]:
        x = values(polynomial, x)
        assert x < 2


def test_no_steps_are_no_polynomials() -> None:
    assert polar_polynomials(0, 0.01) == []
