"""Probes of the layers of a network: the windows, the saturation, and the reach of gradients."""

from typing import Any

import numpy as np
import pytest
from arrays import check_close
from inspection.networks import one_layer
from models import one_layer_of

from charlm.measures.gradients import choose_windows, probe, reach

TEXT = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint8)
WINDOWS: Any = choose_windows(TEXT)


def test_windows_are_spread_over_the_text() -> None:
    assert WINDOWS.shape == (32 + 48 + 1, 16)
    np.testing.assert_array_equal(WINDOWS[:, 0], TEXT[: len(WINDOWS)])
    np.testing.assert_array_equal(WINDOWS[:, -1], TEXT[-len(WINDOWS) :])


@pytest.mark.parametrize(("length", "shape"), [(2, (2, 1)), (10, (10, 1)), (82, (81, 2))])
def test_a_short_text_has_fewer_windows(length: int, shape: tuple[int, int]) -> None:
    windows = choose_windows(TEXT[:length])
    assert windows.shape == shape


@pytest.mark.parametrize("factor", [0.9, 1.05])
def test_the_gradient_of_a_linear_network_is_a_power_of_its_factor(factor: float) -> None:
    (layer,) = probe(one_layer(factor * np.eye(2), ids=5), choose_windows(TEXT[:49]))
    curves = [layer.gradient.low, layer.gradient.median, layer.gradient.high]
    check_close(curves, 3 * [factor ** np.arange(48)], rtol=1e-4)
    assert layer.saturated_share == 0


@pytest.mark.parametrize(("activation", "scale"), [("tanh", 1), ("sigmoid", 2)])
@pytest.mark.parametrize(("state", "share"), [(0.895, 0), (0.905, 1)])
def test_a_unit_is_saturated_where_tanh_is_beyond_0_9(
    state: float, share: float, activation: str, scale: int
) -> None:
    kernel = np.full((5, 1), scale * np.arctanh(state))
    unit = one_layer_of(kernel, np.zeros((1, 1)), np.ones((1, 5)), activation=activation)
    assert probe(unit, WINDOWS)[0].saturated_share == share


@pytest.mark.parametrize(
    ("median", "lag"),
    [
        ([1, 0.5, 0.09, 0.2, 0.05], 3),
        ([1, 0.5, 0.1], 2),
        ([1, np.nan, 0.5], 2),
        ([np.nan], 0),
        ([1, np.inf, 0.0], 1),
    ],
)
def test_the_gradient_reaches_to_the_last_lag_with_a_tenth(median: list[float], lag: int) -> None:
    assert reach(np.array(median)) == lag
