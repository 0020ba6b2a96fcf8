"""Gradients, replaced characters and exponents, on networks whose memory is known."""

from typing import Any

import numpy as np
import pytest
import reference
from arrays import check_close
from inspection.networks import one_layer, random_ids, traced
from models import one_layer_of, random_parameters

from charlm.core.rnn import Parameters
from charlm.inspection import memory
from charlm.inspection.memory import (
    divergence,
    gradient_by_lag,
    impulse_response,
    lyapunov,
)
from charlm.inspection.reading import SampledCharacters
from charlm.measures.gradients import Trace

# The gradient of a single unit


def unit(weight: float, length: int = 60) -> Trace:
    """Read a text with a linear unit."""
    return traced(one_layer(np.array([[weight]])), random_ids(length))


def test_a_gradient_reaches_as_far_as_a_tenth_is_left() -> None:
    (curve,) = gradient_by_lag(unit(0.5), positions=9)
    assert curve.reach == 3  # 1/8 is more than a tenth, 1/16 is less


def test_a_difference_of_a_linear_unit_lasts_as_long_as_its_gradient() -> None:
    response = impulse_response(unit(0.5), positions=9)
    assert response.reach == 3
    assert response.linear == pytest.approx(response.state)


def test_predictions_are_followed_back_by_128_characters() -> None:
    (curve,) = gradient_by_lag(unit(1, length=400), positions=200)
    assert curve.lag.tolist() == [*range(129)]
    assert curve.positions == SampledCharacters(130, 400, 200)


# A stack


def test_the_gradient_of_a_layer_has_the_slowest_decay_of_the_layers_from_it_on() -> None:
    parameters = random_parameters(
        layers=2,
        units=1,
        scale=0.5,
        activation="linear",
    )
    parameters.layers[0].recurrent_kernel[...] = 0.5
    parameters.layers[1].recurrent_kernel[...] = 0.8
    trace = traced(parameters, random_ids(200, ids=5))
    medians = [curve.median for curve in gradient_by_lag(trace, positions=9)]
    factors = [(median[-1] / median[-21]) ** (1 / 20) for median in medians]
    assert factors == pytest.approx([0.8, 0.8], abs=1e-3)


# Replaced characters


def follow(
    parameters: Parameters,
    text: list[int],
    place: int,
) -> tuple[list[float], list[float]]:
    """Return the size of the change of the state, and the divergence, up to lag 9.

    One of two characters is replaced by the other.
    """
    changed_text = [*text[:place], 1 - text[place], *text[place + 1 :]]
    sizes = []
    divergences = []
    for end in range(place + 1, place + 11):
        logits, state = reference.read(parameters, text[:end])
        changed_logits, changed_state = reference.read(parameters, changed_text[:end])
        sizes.append(float(np.linalg.norm(np.subtract(changed_state, state))))
        divergences.append(float(divergence(logits[-1], changed_logits[-1])))
    return sizes, divergences


def test_the_response_is_the_difference_of_two_readings() -> None:
    parameters = random_parameters(layers=2, vocabulary_size=2, scale=0.6)
    ids = random_ids(20, ids=2)
    response = impulse_response(traced(parameters, ids), positions=4)
    pairs = [follow(parameters, ids.tolist(), place) for place in (0, 3, 6, 10)]
    sizes, divergences = np.swapaxes(pairs, 0, 1)  # [4, 10] each
    low, median, high = np.quantile(sizes / sizes[:, :1], [0.1, 0.5, 0.9], axis=0)
    found = [response.state_low, response.state, response.state_high]
    check_close(found, [low, median, high], rtol=1e-5)
    check_close([response.kl], [divergences.mean(0)], rtol=1e-4)
    assert response.positions == SampledCharacters(1, 11, 4)


def test_the_divergence_equals_its_definition() -> None:
    p = np.array([0.5, 0.3, 0.2])
    q = np.array([0.2, 0.2, 0.6])
    expected = (p * np.log(p / q)).sum()
    assert divergence(np.log(p) + 3, np.log(q)) == pytest.approx(expected)


def test_replacements_without_an_effect_are_left_out() -> None:
    """After every other character, the unit is so high that the next character has no effect."""
    alternating = one_layer_of([[0], [1]], [[-9]], [[1, -1]], activation="relu")
    response = impulse_response(traced(alternating, np.repeat([1, 0], [70, 30])), positions=7)
    assert response.positions.count == 4  # of 7: not characters 26, 34 and 42
    assert response.state[0] == 1


# Exponents


@pytest.mark.parametrize(
    "network",
    [{"units": 6}, {"layers": 2, "units": 4, "skip_connections": True, "activation": "sigmoid"}],
    ids=str,
)
def test_the_sum_of_all_exponents_is_the_mean_logarithm_of_the_determinant(
    network: dict[str, Any],
) -> None:
    """The Jacobian is block triangular, so its determinant is the product of |V| and the slopes."""
    trace = traced(random_parameters(scale=0.7, **network), random_ids(300, ids=5))
    result = lyapunov(trace)
    expected = 0.0
    for layer, slopes in zip(trace.parameters.layers, trace.slopes, strict=True):
        _, log_determinant = np.linalg.slogdet(layer.recurrent_kernel)
        expected += log_determinant + np.log(slopes[60:, 0]).sum(1).mean()
    assert result.exponents.sum() == pytest.approx(expected)


def test_at_most_eight_exponents_are_computed() -> None:
    result = lyapunov(traced(random_parameters(units=5, layers=2), random_ids(20)))
    assert len(result.exponents) == len(result.standard_errors) == 8


@pytest.mark.parametrize(
    ("length", "positions"),
    [(2, SampledCharacters(2, 2, 1)), (15, SampledCharacters(4, 15, 12))],
    ids=str,
)
def test_the_first_fifth_of_a_text_is_the_warm_up(
    length: int, positions: SampledCharacters
) -> None:
    assert lyapunov(unit(0.5, length)).positions == positions


def test_a_nilpotent_kernel_forgets_every_direction() -> None:
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)
    exponents = lyapunov(traced(one_layer(kernel), random_ids(900))).exponents
    assert exponents.tolist() == [-np.inf] * 6


def test_the_largest_exponent_has_the_standard_error_of_blocks_of_100_characters() -> None:
    trace = traced(one_layer(np.array([[0.9]]), activation="tanh"), random_ids(1000))
    result = lyapunov(trace)
    logarithms = np.log(0.9 * trace.slopes[0][200:, 0, 0])
    blocks = logarithms.reshape(-1, 100).mean(1).tolist()
    assert result.exponents[0] == pytest.approx(logarithms.mean())
    assert result.standard_errors[0] == pytest.approx(reference.standard_error(blocks))


def test_exponents_are_sorted_with_their_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    logarithms = np.random.default_rng(0).normal([1, 2], [3, 1], (800, 2))
    monkeypatch.setattr(memory, "log_growth", lambda *_, **__: logarithms)
    result = lyapunov(unit(0.5, 1000))
    assert result.exponents[0] > result.exponents[1]
    assert result.standard_errors[0] < result.standard_errors[1]


def growth_of_layer(trace: Trace, layer: int) -> float:
    """Return the mean growth per step of the product of a layer's Jacobians."""
    kernel = trace.parameters.layers[layer].recurrent_kernel
    product = np.eye(len(kernel))
    growth = []
    for slopes in trace.slopes[layer][1:, 0]:
        product = product @ kernel @ np.diag(slopes)
        size = np.linalg.norm(product, 2)
        product /= size
        growth.append(np.log(size))
    return float(np.mean(growth[len(trace.ids) // 5 - 1 :]))


def test_a_layer_has_the_exponent_of_the_product_of_its_jacobians() -> None:
    parameters = random_parameters(
        layers=2,
        units=4,
        skip_connections=True,
        scale=0.6,
    )
    trace = traced(parameters, random_ids(900, ids=5))
    layers = lyapunov(trace).layers
    assert [layer.layer for layer in layers] == [0, 1]
    for layer in layers:
        assert layer.exponent.value == pytest.approx(growth_of_layer(trace, layer.layer), abs=0.01)


@pytest.mark.parametrize(
    ("weight", "exponent"), [(1 + 9e-7, 0.0), (1 - 9e-7, 0.0), (1 + 1.1e-6, 1.1e-6)]
)
def test_an_exponent_within_the_rounding_of_weights_is_0(weight: float, exponent: float) -> None:
    found = lyapunov(unit(weight, 900))
    assert found.exponents[0] == pytest.approx(exponent, abs=2e-7)
    assert (found.exponents[0] == 0) == (exponent == 0)
