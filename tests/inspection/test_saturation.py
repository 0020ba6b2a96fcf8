"""States: how they are spread."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import one_layer, traced

from charlm.errors import CharlmError
from charlm.inspection.saturation import measure_saturation, participation_ratio, saturation_rows, saturation_sentence
from charlm.network.rnn import Parameters

IDS = np.random.default_rng(0).integers(0, 5, 300)


def two_units(kernel: Sequence[Sequence[float]], activation: str = "tanh") -> Parameters:
    """Return a network of one layer without memory: h_t = f(the row of the character)."""
    network = one_layer(np.zeros((2, 2)), activation=activation, ids=5)
    return replace(network, layers=(replace(network.layers[0], kernel=np.array(kernel, np.float32)),))


def test_saturated_outputs_and_units_are_counted() -> None:
    found = measure_saturation(traced(two_units([[9.0, 0.1], [-9, 0.1], [9, 9], [9, 0.1], [9, 0.1]]), IDS))
    (layer,) = found.layers
    assert found.positions == range(300)
    assert layer.saturated_share == pytest.approx((300 + np.sum(IDS == 2)) / 600)
    assert layer.always_saturated_units == 1
    assert saturation_rows(found, None) == [("rnn.0", 2, (layer.saturated_share, None), 1, layer.participation_ratio)]
    assert saturation_sentence(found) == f"is saturated at {layer.saturated_share:.0%} in rnn.0"


@pytest.mark.parametrize(("activation", "border"), [("tanh", 0.9), ("sigmoid", 0.95)])
def test_an_output_is_saturated_by_its_slope(activation: str, border: float) -> None:
    """The largest slope of sigmoid is 1/4, and h(1 - h) is 0.19 of it at 0.05 and 0.95."""
    inverse: Callable[[float], float] = math.atanh if activation == "tanh" else lambda h: math.log(h / (1 - h))
    rows = [[inverse(border + shift) for shift in (1e-3, -1e-3)]] * 5
    (layer,) = measure_saturation(traced(two_units(rows, activation), IDS)).layers
    assert (layer.saturated_share, layer.always_saturated_units) == (0.5, 1)


def test_outputs_that_are_not_finite_are_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="not finite"), np.errstate(all="ignore"):
        measure_saturation(traced(random_parameters(activation="linear", scale=1e60), IDS))


@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1, 0, 0, 0], [3, 2, 1, 0], [5, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("count", [3, 2000], ids=["few states", "many states"])
def test_participation_ratio_is_that_of_the_eigenvalues_of_the_covariance(scales: list[float], count: int) -> None:
    states = np.random.default_rng(0).standard_normal((count, 4)) * scales + 7
    eigenvalues = np.linalg.eigvalsh(np.cov(states.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(states) == pytest.approx(expected)
