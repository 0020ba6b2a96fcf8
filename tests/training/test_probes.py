"""What the layers of a network do while they read text: saturation, and the reach of gradients."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from arrays import check_close
from inspection.networks import one_layer
from models import one_layer_of, random_parameters

from charlm.network.gradients import LagCurve
from charlm.training.probes import choose_windows, probe, reach

TEXT = np.random.default_rng(0).integers(0, 5, 4000).astype(np.uint8)
WINDOWS: Any = choose_windows(TEXT)


def test_windows_are_spread_over_the_text_and_a_short_one_has_fewer_and_shorter_windows() -> None:
    assert WINDOWS.shape == (32 + 48 + 1, 16)
    np.testing.assert_array_equal(WINDOWS[:, 0], TEXT[: len(WINDOWS)])
    np.testing.assert_array_equal(WINDOWS[:, -1], TEXT[-len(WINDOWS) :])
    for length, shape in ((0, None), (1, None), (2, (2, 1)), (10, (10, 1)), (82, (81, 2))):
        windows = choose_windows(TEXT[:length])
        assert (None if windows is None else windows.shape) == shape


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.05])
def test_the_gradient_of_a_linear_network_is_a_power_of_its_factor(factor: float) -> None:
    (layer,) = probe(one_layer(factor * np.eye(2), ids=5), WINDOWS)
    expected = factor ** np.arange(48)
    check_close(
        [layer.gradient.low, layer.gradient.median, layer.gradient.high], 3 * [expected], rtol=1e-4
    )
    assert layer.saturated_share == 0


def test_large_weights_saturate_and_small_ones_do_not() -> None:
    for activation, (scale, low, high) in product(
        ("tanh", "sigmoid"), ((1e-3, 0, 0), (100, 0.9, 1))
    ):
        layers = probe(
            random_parameters(layers=2, units=8, activation=activation, scale=scale), WINDOWS
        )
        assert all(low <= layer.saturated_share <= high for layer in layers)
    for h, share in ((0.895, 0), (0.905, 1)):  # a unit of tanh beyond 0.9
        unit = one_layer_of(np.full((5, 1), np.arctanh(h)), np.zeros((1, 1)), np.ones((1, 5)))
        assert probe(unit, WINDOWS)[0].saturated_share == share


def test_the_gradient_reaches_to_the_first_lag_at_which_it_is_below_a_tenth() -> None:
    cases = (
        ([1, 0.5, 0.09, 0.2], 2),
        ([1, 0.5, 0.2], 3),
        ([1, np.nan, 0.5], 1),
        ([np.nan], 0),
        ([1, np.inf, 0.0], 2),
    )
    for median, lag in cases:
        values = np.array(median)
        assert reach(LagCurve(0, np.arange(len(values)), values, values, values)) == lag
