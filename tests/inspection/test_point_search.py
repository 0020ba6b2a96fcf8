"""Fixed and slow points: of one unit by bisection and by a grid, of larger networks by the step of the reference."""

from collections.abc import Callable

import numpy as np
import pytest

from charlm.inspection.point_search import find_point
from charlm.network.rnn import ACTIVATIONS, Layer, Parameters

RandomParameters = Callable[..., Parameters]


def one_unit(u: float, v: float, activation: str = "tanh") -> Parameters:
    """Return a network of one unit and one character, h <- f(u + v h)."""
    layer = Layer(np.array([[u]], np.float32), np.array([[v]], np.float32), None)
    zeros = np.zeros((1, 1), np.float32)
    return Parameters(None, (layer,), zeros, zeros[0], activation=activation).cast(np.float64)


def bisect(change: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of a function that changes its sign from `low` to `high`."""
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if change(low) * change(middle) > 0 else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize(("u", "v"), [(0.25, 2.5), (0, 3), (-0.125, 1.5), (0.5, 0.75), (1, -2)], ids=str)
def test_fixed_points_of_one_unit_are_the_roots_that_bisection_finds(u: float, v: float) -> None:
    def change(h: float) -> float:
        return float(np.tanh(u + v * h) - h)

    grid = np.linspace(-1.01, 1.013, 400)
    signs = np.sign([change(h) for h in grid])
    expected = [bisect(change, grid[i], grid[i + 1]) for i in np.flatnonzero(signs[1:] != signs[:-1])]
    searches = [find_point(one_unit(u, v), 0, (np.array([start]),)) for start in np.linspace(-1, 1, 21)]
    found = sorted({round(float(point.state[0][0]), 7) for point in searches if point and point.is_fixed})
    assert found == pytest.approx(expected, abs=1e-7)


def test_a_slow_point_is_where_the_speed_is_lowest() -> None:
    u, v = 0.55, 2.0  # a little beyond the fold where two fixed points have met
    grid = np.linspace(-0.9, 0, 100_001)
    speeds = np.abs(np.tanh(u + v * grid) - grid)
    point = find_point(one_unit(u, v), 0, (np.array([-0.9]),))
    assert point is not None
    assert not point.is_fixed
    assert point.state[0][0] == pytest.approx(grid[speeds.argmin()], abs=2e-3)
    assert point.speed == pytest.approx(speeds.min(), rel=1e-3)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_fixed_point_of_a_stack_is_not_moved_by_a_step(random_parameters: RandomParameters, activation: str) -> None:
    parameters = random_parameters(layers=3, skip_connections=True, embedding=3, activation=activation, scale=0.1)
    weights = parameters.cast(np.float64)
    point = find_point(weights, 2, tuple(np.full(4, 0.1) for _ in range(3)))
    assert point is not None
    assert point.is_fixed
    rows = [state[None] for state in point.state]
    for index, layer in enumerate(parameters.layers):
        table = parameters.input_tables[index][2].astype(np.float64)
        below = rows[index - 1] @ parameters.below_kernels[index] if index else 0
        after = ACTIVATIONS[activation](table + below + rows[index] @ layer.recurrent_kernel)
        np.testing.assert_allclose(after, rows[index], atol=1e-6)


def test_a_linear_layer_has_the_point_that_solves_its_equations(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear")
    layer = parameters.layers[0]
    assert layer.bias is not None
    expected = np.linalg.solve(
        np.eye(4) - layer.recurrent_kernel.T.astype(np.float64), (layer.kernel[1] + layer.bias).astype(np.float64)
    )
    point = find_point(parameters.cast(np.float64), 1, (np.zeros(4),))
    assert point is not None
    assert point.state[0] == pytest.approx(expected, rel=1e-5)
