"""The gradient of a loss by lag, on networks whose gradients are known."""

import math

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import random_parameters
from numpy.typing import NDArray

from charlm.inspection.gradient_by_lag import (
    LayerGradient,
    far_slope,
    gradient_by_lag,
    gradient_summary,
    gradient_table,
    half_life,
)
from charlm.inspection.lyapunov import lyapunov
from charlm.inspection.section import Sample
from charlm.network.gradients import Trace, lag_curves
from charlm.network.rnn import Parameters

# A single unit


def unit(weight: float) -> Trace:
    """Read a text with a linear unit."""
    return traced(one_layer(np.array([[weight]])), random_ids(60))


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    (curve,) = gradient_by_lag(unit(0.5), positions=9, max_lag=10)
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))
    assert curve.positions == Sample(12, 60, 9)


def test_a_linear_unit_has_an_exact_half_life() -> None:
    (curve,) = gradient_by_lag(unit(0.5), positions=9, max_lag=10)
    assert curve.half_life == 1
    assert curve.half_life_error == pytest.approx(0, abs=1e-12)


def test_a_linear_unit_has_an_exact_slope() -> None:
    (curve,) = gradient_by_lag(unit(0.5), positions=9, max_lag=10)
    assert curve.slope == pytest.approx(math.log(0.5))
    assert curve.slope_error == pytest.approx(0, abs=1e-12)


def test_a_gradient_is_visible_down_to_a_thousandth() -> None:
    (curve,) = gradient_by_lag(unit(0.5), positions=9, max_lag=10)
    assert curve.visible_to == 9  # 1/512 is visible, 1/1024 is not


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param([0.5], "halves in 1 character and is visible 9 characters back", id="fades"),
        pytest.param(
            [1],
            "does not halve within 10 characters and is visible 10 characters back or more",
            id="lasts",
        ),
        pytest.param(
            [0.5, 1],
            "halves in 1 to more than 10 characters, depending on the layer, "
            "and is visible 10 characters back or more",
            id="one fades and one lasts",
        ),
        pytest.param([0], "halves in 1 character and is not visible one character back", id="ends"),
    ],
)
def test_the_summary_says_how_fast_the_gradient_shrinks(
    weights: list[float], expected: str
) -> None:
    layers: list[LayerGradient] = []
    for weight in weights:
        layers += gradient_by_lag(unit(weight), max_lag=10)
    assert gradient_summary(layers) == f"has a gradient that {expected}"


def test_a_text_of_two_characters_has_no_summary_of_its_gradient() -> None:
    assert gradient_summary(gradient_by_lag(traced(one_layer(np.eye(1)), [0, 1]))) == ""


def test_a_gradient_of_zero_has_no_summary() -> None:
    trace = unit(1)
    trace.parameters.logits_kernel[...] = 0
    assert gradient_summary(gradient_by_lag(trace)) == ""


def test_200_predictions_are_followed_back_by_128_characters() -> None:
    (curve,) = gradient_by_lag(traced(one_layer(np.eye(1)), random_ids(400)))
    assert curve.lag.tolist() == [*range(129)]
    assert curve.positions == Sample(130, 400, 200)


def test_a_short_text_has_fewer_lags() -> None:
    trace = traced(one_layer(np.eye(2)), random_ids(10))
    (short,) = gradient_by_lag(trace, max_lag=100)
    assert short.lag.tolist() == [0, 1, 2, 3, 4]


# A stack


def linear_stack(lower: float, upper: float) -> Parameters:
    """Return two linear layers of a unit with these recurrent weights."""
    parameters = random_parameters(layers=2, units=1, scale=0.5, activation="linear")
    parameters.layers[0].recurrent_kernel[...] = lower
    parameters.layers[1].recurrent_kernel[...] = upper
    return parameters


@pytest.mark.parametrize(
    ("lower", "upper", "expected", "tolerance"),
    [
        pytest.param(0.5, 0.8, [0.8, 0.8], 1e-3, id="the upper layer remembers longer"),
        pytest.param(0.9, 0.8, [0.9, 0.8], 1e-2, id="the lower layer remembers longer"),
    ],
)
def test_the_gradient_of_a_layer_has_the_slowest_decay_of_the_layers_from_it_on(
    lower: float, upper: float, expected: list[float], tolerance: float
) -> None:
    trace = traced(linear_stack(lower, upper), random_ids(200, ids=5))
    slopes = [curve.slope for curve in gradient_by_lag(trace, max_lag=60)]
    assert slopes == pytest.approx(np.log(expected), abs=tolerance)


def test_the_decays_of_a_stack_are_its_lyapunov_exponents() -> None:
    result = lyapunov(traced(linear_stack(0.5, 0.8), random_ids(200, ids=5)))
    assert result.exponents == pytest.approx(np.log([0.8, 0.5]), abs=1e-2)
    assert result.positions == Sample(51, 200, 150)  # after a quarter of the text


# Errors


@pytest.fixture(scope="module")
def random_trace() -> Trace:
    """Return the reading of a text by a random network."""
    return traced(random_parameters(scale=0.6), random_ids(400, ids=5))


@pytest.fixture(scope="module")
def curves_of_blocks(random_trace: Trace) -> list[NDArray[np.float64]]:
    """Return the medians of eight blocks of ten neighbouring predictions."""
    steps = np.linspace(20, 398, 80).astype(np.int64)
    return [lag_curves(random_trace, block, lags=21)[0].median for block in np.split(steps, 8)]


def test_the_positions_are_evenly_spaced(random_trace: Trace) -> None:
    (curve,) = gradient_by_lag(random_trace, positions=80, max_lag=20)
    assert curve.positions == Sample(22, 400, 80)
    assert curve.blocks == 8


def test_the_error_of_a_half_life_is_based_on_blocks(
    random_trace: Trace, curves_of_blocks: list[NDArray[np.float64]]
) -> None:
    (curve,) = gradient_by_lag(random_trace, positions=80, max_lag=20)
    half_lives = [half_life(median) or math.nan for median in curves_of_blocks]
    expected = reference.standard_error(half_lives)
    assert curve.half_life_error == pytest.approx(expected, rel=0.01)


def test_the_error_of_a_slope_is_based_on_blocks(
    random_trace: Trace, curves_of_blocks: list[NDArray[np.float64]]
) -> None:
    (curve,) = gradient_by_lag(random_trace, positions=80, max_lag=20)
    slopes = [np.polyfit(range(10, 21), np.log(median[10:]), 1)[0] for median in curves_of_blocks]
    assert curve.slope_error == pytest.approx(reference.standard_error(slopes), rel=0.01)


@pytest.mark.parametrize(
    ("predictions", "blocks"),
    [pytest.param(80, 8, id="many"), pytest.param(3, 3, id="fewer than blocks")],
)
def test_the_table_has_the_number_of_blocks(predictions: int, blocks: int) -> None:
    trace = traced(random_parameters(), random_ids(400, ids=5))
    layers = gradient_by_lag(trace, positions=predictions, max_lag=20)
    assert layers[0].positions.count == predictions
    assert f"from {blocks} blocks of neighbouring predictions" in gradient_table(layers).caption


# Half-lives


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        pytest.param(
            [1, 0.8, 0.4, 0.3], 1 + math.log(0.8 / 0.5) / math.log(0.8 / 0.4), id="between two"
        ),
        pytest.param([1, 0.8, 0.5], 2, id="at the last lag"),
        pytest.param([1, 0.9, 0], 1, id="falls to zero"),
        pytest.param([1, 2, 0.7], None, id="never"),
        pytest.param([1, 0.1], 1, id="at least a character"),
    ],
)
def test_the_half_life_equals_its_definition(
    gradients: list[float], expected: float | None
) -> None:
    assert half_life(np.array(gradients)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("gradients", "expected"),
    [
        pytest.param([1, 0.9, 0.1, 0.05], math.log(0.5), id="the second half of four lags"),
        pytest.param([1, 0.5, 0.4, 0.1, 0.025], math.log(0.25), id="the last three of five lags"),
        pytest.param([1, 0.5], None, id="a single lag"),
        pytest.param([1, 0.9, 0.1, 0], None, id="zero"),
    ],
)
def test_the_slope_is_that_of_the_second_half(
    gradients: list[float], expected: float | None
) -> None:
    assert far_slope(np.array(gradients)) == pytest.approx(expected)
