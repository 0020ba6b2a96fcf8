"""f'(a) of every activation, compared with central differences of Python's own functions."""

import numpy as np
import pytest
import reference

from charlm.network.derivatives import DERIVATIVES, slope

POINTS = np.array([-7.3, -2.9, -1.1, -0.6, -0.05, 0.04, 0.3, 0.9, 1.4, 3.2, 5.7, 6.4])  # no kink among them
STEP = 1e-6


def test_every_activation_has_its_derivative() -> None:
    assert set(DERIVATIVES) == set(reference.ACTIVATIONS)


@pytest.mark.parametrize("activation", sorted(DERIVATIVES))
def test_the_slope_is_that_of_central_differences(activation: str) -> None:
    f = np.vectorize(reference.ACTIVATIONS[activation], otypes=[float])
    expected = (f(POINTS + STEP) - f(POINTS - STEP)) / (2 * STEP)
    np.testing.assert_allclose(slope(activation, POINTS, f(POINTS)), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("activation", sorted(DERIVATIVES))
def test_the_slope_has_the_dtype_of_its_argument(activation: str) -> None:
    a = POINTS.astype(np.float32)
    assert slope(activation, a, a).dtype == np.float32
