"""The gradient of a loss by lag, on networks whose gradients are known."""

import math

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import random_parameters

from charlm.inspection.gradient_by_lag import (
    LayerGradient,
    gradient_by_lag,
    gradient_summary,
    gradient_table,
    half_life,
)
from charlm.inspection.lyapunov import lyapunov
from charlm.inspection.section import Sample
from charlm.network.gradients import Trace, lag_curves


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    curve = gradient_by_lag(trace, positions=9, max_lag=10)[0]
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))
    assert (curve.half_life, curve.visible_to) == (1, 9)  # 1/512 is visible, 1/1024 is not
    assert curve.positions == Sample(12, 60, 9)
    assert curve.slope == pytest.approx(math.log(0.5))
    assert [curve.half_life_error, curve.slope_error] == pytest.approx([0, 0], abs=1e-12)
    assert (
        gradient_summary([curve])
        == "has a gradient that halves in 1 character and is visible 9 characters back"
    )


def far_slopes(trace: Trace) -> list[float | None]:
    """Return the slope of each gradient by lag, far back."""
    return [curve.slope for curve in gradient_by_lag(trace, max_lag=60)]


def test_the_slopes_of_a_stack_are_exponents_of_the_whole_state() -> None:
    """Layer 1 is reached by its own exponents alone, layer 0 by those of both."""
    parameters = random_parameters(layers=2, units=1, scale=0.5, activation="linear")
    for layer, weight in zip(parameters.layers, (0.5, 0.8), strict=True):
        layer.recurrent_kernel[...] = weight
    trace = traced(parameters, random_ids(200, ids=5))
    assert far_slopes(trace) == pytest.approx([math.log(0.8)] * 2, abs=1e-3)
    assert lyapunov(trace).exponents == pytest.approx(np.log([0.8, 0.5]), abs=1e-2)
    assert lyapunov(trace).positions == Sample(51, 200, 150)  # after a quarter of the text
    parameters.layers[0].recurrent_kernel[...] = 0.9
    assert far_slopes(traced(parameters, trace.ids[:, 0])) == pytest.approx(
        np.log([0.9, 0.8]), abs=1e-2
    )


def test_half_lives_have_the_errors_of_blocks_of_predictions() -> None:
    trace = traced(random_parameters(scale=0.6), random_ids(400, ids=5))
    (found,) = gradient_by_lag(trace, positions=80, max_lag=20)
    steps = np.linspace(20, 398, 80).astype(np.int64)
    assert found.positions == Sample(22, 400, 80)
    assert found.blocks == 8
    blocks = [lag_curves(trace, part, lags=21)[0].median for part in np.split(steps, 8)]
    lives = [half_life(block) or math.nan for block in blocks]
    assert found.half_life_error == pytest.approx(reference.standard_error(lives), rel=0.01)
    slopes = [np.polyfit(range(10, 21), np.log(block[10:]), 1)[0] for block in blocks]
    assert found.slope_error == pytest.approx(reference.standard_error(slopes), rel=0.01)


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
            "halves in 1 to more than 10 characters, depending on the layer, and is visible 10 characters back or more",
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
        trace = traced(one_layer(np.array([[float(weight)]])), random_ids(60))
        layers += gradient_by_lag(trace, max_lag=10)
    assert gradient_summary(layers) == f"has a gradient that {expected}"


@pytest.mark.parametrize(
    ("predictions", "blocks"),
    [pytest.param(80, 8, id="many"), pytest.param(3, 3, id="fewer than blocks")],
)
def test_the_table_says_how_many_blocks_its_errors_are_from(predictions: int, blocks: int) -> None:
    layers = gradient_by_lag(
        traced(random_parameters(), random_ids(400, ids=5)), positions=predictions, max_lag=20
    )
    assert layers[0].positions.count == predictions
    assert f"from {blocks} blocks of neighbouring predictions" in gradient_table(layers).caption


def test_a_short_text_has_fewer_lags() -> None:
    (short,) = gradient_by_lag(traced(one_layer(np.eye(2)), random_ids(10)), max_lag=100)
    assert short.lag.tolist() == [0, 1, 2, 3, 4]


def test_the_half_life_is_that_of_the_definition() -> None:
    assert half_life(np.array([1, 0.8, 0.4, 0.3])) == pytest.approx(
        1 + np.log(0.8 / 0.5) / np.log(0.8 / 0.4)
    )
    assert half_life(np.array([1, 2, 0.7])) is None
    assert half_life(np.array([1, 0.1])) == 1  # there is nothing below a character
