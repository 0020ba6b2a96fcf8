"""The largest eigenvalues of large matrices, compared with all of them."""

import numpy as np
import pytest

from charlm.inspection.eigenvalues import leading_eigenvalues


def test_a_small_matrix_has_all_its_eigenvalues_largest_first() -> None:
    found = leading_eigenvalues(np.array([[0.0, 2, 0], [-2, 0, 0], [0, 0, 3]]))
    assert np.abs(found) == pytest.approx([3, 2, 2])
    assert sorted(found.imag) == pytest.approx([-2, 0, 2])


@pytest.mark.parametrize("scale", [1.0, np.linspace(0.1, 1, 300)], ids=["dense edge", "few large"])
def test_the_largest_size_of_a_large_matrix_is_exact_to_one_percent(scale: float) -> None:
    matrix = np.random.default_rng(0).standard_normal((300, 300)) / np.sqrt(300) * scale
    expected = np.sort(np.abs(np.linalg.eigvals(matrix)))[::-1]
    found = np.abs(leading_eigenvalues(matrix))
    assert found[0] == pytest.approx(expected[0], rel=0.01)
    assert found[:20] == pytest.approx(expected[:20], rel=0.05)


def test_a_krylov_space_that_ends_early_gives_what_it_holds() -> None:
    matrix = np.zeros((300, 300))
    matrix[0, 0], matrix[1, 1] = 5, -2
    assert np.abs(leading_eigenvalues(matrix))[:2] == pytest.approx([5, 2])
    assert not np.abs(leading_eigenvalues(np.zeros((300, 300)))).any()
