"""Principal components, compared with the singular value decomposition of NumPy."""

import numpy as np
import pytest

from charlm.inspection.components import fit_plane


@pytest.mark.parametrize("shape", [(50, 6), (6, 50)], ids=["many vectors", "long vectors"])
def test_the_plane_is_that_of_the_two_largest_singular_values(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape) * np.linspace(1, 3, shape[1]) + 5
    _, sizes, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    plane = fit_plane(vectors)
    np.testing.assert_allclose(np.abs(plane.axes @ directions[:2].T), np.eye(2), atol=1e-9)
    assert plane.explained == pytest.approx(sizes[:2] ** 2 / (sizes**2).sum())
    np.testing.assert_allclose(plane.project(vectors).var(0) * len(vectors), sizes[:2] ** 2)


def test_the_largest_coordinate_of_an_axis_is_positive() -> None:
    vectors = np.array([[0, 0, 1.0], [0, 0, -1], [0, -5, 0.1], [0, 5, -0.1]])
    for sign in (1, -1):
        plane = fit_plane(sign * vectors)
        assert plane.axes[0, 1] > 0.9
        assert plane.axes[1, 2] > 0.9


@pytest.mark.parametrize("vectors", [[[2.0, 3, 4]], [[2.0, 3, 4]] * 5], ids=["one vector", "equal vectors"])
def test_vectors_that_do_not_differ_all_lie_at_the_origin(vectors: list[list[float]]) -> None:
    plane = fit_plane(np.array(vectors))
    assert plane.explained == (0, 0)
    assert not plane.project(np.array(vectors)).any()


def test_vectors_on_a_line_have_a_second_coordinate_of_zero() -> None:
    vectors = np.outer([1.0, 2, 4], [3, 4])
    plane = fit_plane(vectors)
    assert plane.explained == pytest.approx((1, 0))
    np.testing.assert_allclose(plane.project(vectors)[:, 1], 0)
    assert fit_plane(np.array([[1.0], [2]])).explained == (1, 0)
