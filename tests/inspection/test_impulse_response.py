"""The response to a replaced character, on networks whose memory is known."""

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, shift_register, traced
from models import random_parameters

from charlm.errors import CharlmError
from charlm.inspection.impulse_response import divergence, impulse_response


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_a_register_responds_until_it_has_forgotten_the_character(activation: str) -> None:
    trace = traced(shift_register(5, reads=2, activation=activation), random_ids(80))
    response = impulse_response(trace, positions=10, max_lag=12)
    np.testing.assert_array_equal(response.state, [1] * 5 + [0] * 8)
    np.testing.assert_array_equal(response.linear[5:], 0)
    assert response.positions.count == 10


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_predictions_change_only_when_the_character_is_read(activation: str) -> None:
    trace = traced(shift_register(5, reads=2, activation=activation), random_ids(80))
    response = impulse_response(trace, positions=10, max_lag=12)
    np.testing.assert_array_equal(response.kl[[1, 3, 4, 9]], 0)
    assert response.kl[2] > 1


def test_the_linear_prediction_of_a_linear_network_is_exact() -> None:
    trace = traced(shift_register(5), random_ids(80))
    response = impulse_response(trace, positions=10, max_lag=12)
    np.testing.assert_array_equal(response.linear, response.state)


def test_a_leaky_unit_never_forgets() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    response = impulse_response(trace, positions=9, max_lag=20)
    expected = 0.5 ** np.arange(21)
    for values in (response.state, response.state_low, response.state_high, response.linear):
        np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_the_response_is_the_difference_of_two_readings() -> None:
    parameters = random_parameters(layers=2, vocabulary_size=2, scale=0.6)
    ids = random_ids(20, ids=2)
    response = impulse_response(traced(parameters, ids), positions=1, max_lag=6)
    text = ids.tolist()
    changed_text = [1 - text[0], *text[1:]]  # of two characters, only the other can replace one
    sizes = []
    divergences = []
    for end in range(1, 8):
        logits, state = reference.read(parameters, text[:end])
        changed_logits, changed_state = reference.read(parameters, changed_text[:end])
        sizes.append(np.linalg.norm(np.concatenate(changed_state) - np.concatenate(state)))
        divergences.append(float(divergence(logits[-1], changed_logits[-1])))
    np.testing.assert_allclose(response.state, np.array(sizes) / sizes[0], rtol=1e-6)
    np.testing.assert_allclose(response.kl, divergences, rtol=1e-5)


def test_the_linear_prediction_of_a_small_change_is_nearly_exact() -> None:
    parameters = random_parameters(layers=2, scale=0.5)
    parameters.layers[0].kernel[...] *= 1e-4
    response = impulse_response(traced(parameters, random_ids(60, ids=5)), positions=8, max_lag=10)
    np.testing.assert_allclose(response.state, response.linear, rtol=1e-3)


def test_a_text_of_a_single_character_is_refused() -> None:
    with pytest.raises(CharlmError, match="no character of the text can be replaced"):
        impulse_response(traced(one_layer(np.eye(2)), np.zeros(30, np.int64)))


def test_the_divergence_equals_its_definition() -> None:
    p = np.array([0.5, 0.3, 0.2])
    q = np.array([0.2, 0.2, 0.6])
    expected = (p * np.log(p / q)).sum()
    assert divergence(np.log(p) + 3, np.log(q)) == pytest.approx(expected)


def test_replacements_without_an_effect_are_counted_separately() -> None:
    parameters = random_parameters(vocabulary_size=3, scale=0.5)
    kernel = parameters.layers[0].kernel
    kernel[1] = kernel[0]  # the network cannot tell characters 0 and 1 apart
    ids = random_ids(100, ids=3)
    response = impulse_response(traced(parameters, ids), positions=40, max_lag=5)
    assert response.positions.count == 40
    assert 5 < response.unchanged < 40
    assert response.state[0] == 1
