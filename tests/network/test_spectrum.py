"""The spectral radius, compared with all eigenvalues in float64."""

import numpy as np
import pytest

from charlm.network.rnn import Floats
from charlm.network.spectrum import spectral_radius


def random_matrix(size: int, *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((size, size)).astype(np.float32)


def largest_eigenvalue(matrix: Floats) -> float:
    return float(np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [1, 2, 30, 200])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_radius_is_the_size_of_the_largest_eigenvalue(size: int, scale: float, seed: int) -> None:
    matrix = np.float32(scale) * random_matrix(size, seed=seed)
    assert spectral_radius(matrix) == pytest.approx(largest_eigenvalue(matrix), rel=1e-2)


def test_an_orthogonal_matrix_has_radius_1() -> None:
    orthogonal = np.linalg.qr(random_matrix(100).astype(np.float64))[0].astype(np.float32)
    assert spectral_radius(orthogonal) == pytest.approx(1, abs=1e-5)


def test_a_rotation_that_shrinks_has_the_factor_as_its_radius() -> None:
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32)
    assert spectral_radius(np.float32(0.9) * turn) == pytest.approx(0.9, rel=1e-5)


def test_a_matrix_that_only_shifts_has_radius_0() -> None:
    assert spectral_radius(np.eye(5, k=1, dtype=np.float32)) == 0
    assert spectral_radius(np.zeros((3, 3), np.float32)) == 0


def test_a_value_that_is_not_finite_gives_nan() -> None:
    assert np.isnan(spectral_radius(np.array([[np.nan]], np.float32)))
    assert np.isnan(spectral_radius(np.array([[np.inf]], np.float32)))
