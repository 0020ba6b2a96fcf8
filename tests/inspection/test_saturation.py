"""Saturation, dead units and dimensions, on networks and states made for the purpose."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from charlm.inspection.saturation import measure_saturation, participation_ratio
from charlm.network.rnn import Layer, Parameters

RandomParameters = Callable[..., Parameters]
IDS = np.random.default_rng(0).integers(0, 5, 300)


def one_layer(parameters: Parameters, kernel: Sequence[Sequence[float]]) -> Parameters:
    """Return a network of one layer without memory: h_t = f(the row of the character)."""
    units = len(kernel[0])
    layer = Layer(np.array(kernel, np.float32), np.zeros((units, units), np.float32), None)
    return replace(parameters, layers=(layer,), logits_kernel=np.zeros((units, 5), np.float32))


def test_saturated_outputs_and_units_are_counted(random_parameters: RandomParameters) -> None:
    kernel: list[list[float]] = [[9.0, 0.1], [-9, 0.1], [9, 9], [9, 0.1], [9, 0.1]]
    found = measure_saturation(one_layer(random_parameters(), kernel), IDS)
    (layer,) = found.layers
    assert found.positions == 300
    assert layer.saturated_share == pytest.approx((300 + np.sum(IDS == 2)) / 600)
    assert layer.always_saturated_units == 1
    assert layer.dead_units is None
    assert layer.counts.sum() == 600
    assert layer.counts[0] == np.sum(IDS == 1)
    assert layer.edges[[0, -1]].tolist() == [-1, 1]


def test_a_dead_unit_is_one_that_is_0_at_every_position(random_parameters: RandomParameters) -> None:
    kernel: list[list[float]] = [[-1.0, -1, 2], [-2, -1, 2], [-3, 1, 2], [0, -1, 2], [-5, -1, 2]]
    (layer,) = measure_saturation(one_layer(random_parameters(activation="relu"), kernel), IDS).layers
    assert layer.dead_units == 1
    assert layer.saturated_share is layer.always_saturated_units is None
    assert layer.edges[[0, -1]].tolist() == [0, 2]


def test_every_layer_is_measured_on_the_beginning_of_the_text(random_parameters: RandomParameters) -> None:
    found = measure_saturation(random_parameters(layers=3, units=4), IDS, max_positions=100)
    assert [(layer.layer, layer.units, layer.counts.sum()) for layer in found.layers] == [
        (index, 4, 400) for index in range(3)
    ]


@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1, 0, 0, 0], [3, 2, 1, 0], [5, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("count", [3, 2000], ids=["few states", "many states"])
def test_participation_ratio_is_that_of_the_eigenvalues_of_the_covariance(scales: list[float], count: int) -> None:
    states = np.random.default_rng(0).standard_normal((count, 4)) * scales + 7
    eigenvalues = np.linalg.eigvalsh(np.cov(states.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(states) == pytest.approx(expected)


def test_states_that_do_not_vary_fill_no_dimension(random_parameters: RandomParameters) -> None:
    found = measure_saturation(one_layer(random_parameters(), [[0.5, 1.0]] * 5), IDS)
    assert found.layers[0].participation_ratio == pytest.approx(0, abs=1e-6)
    assert measure_saturation(random_parameters(), IDS[:1]).layers[0].participation_ratio == 0
