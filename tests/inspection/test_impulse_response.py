"""What is left of a replaced character, on networks whose memory is known."""

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, shift_register, traced
from models import random_parameters

from charlm.errors import CharlmError
from charlm.inspection.impulse_response import divergence, impulse_response


def test_the_response_of_a_register_is_zero_after_its_depth_and_a_leaky_unit_never_forgets() -> (
    None
):
    for activation in ("linear", "relu"):
        trace = traced(shift_register(5, reads=2, activation=activation), random_ids(80))
        found = impulse_response(trace, positions=10, max_lag=12)
        np.testing.assert_array_equal(found.state, [1] * 5 + [0] * 8)
        np.testing.assert_array_equal(found.linear[5:], 0)
        if activation == "linear":  # the slope of relu is 0 at the place that was not in use
            np.testing.assert_array_equal(found.linear, found.state)
        np.testing.assert_array_equal(found.kl[[1, 3, 4, 9]], 0)
        assert found.kl[2] > 1
        assert found.positions.count == 10
    leaky = impulse_response(
        traced(one_layer(np.array([[0.5]])), random_ids(60)), positions=9, max_lag=20
    )
    for values in (leaky.state, leaky.state_low, leaky.state_high, leaky.linear):
        np.testing.assert_allclose(values, 0.5 ** np.arange(21), rtol=1e-6)


def test_the_change_is_that_of_two_readings() -> None:
    parameters, ids = (
        random_parameters(layers=2, vocabulary_size=2, scale=0.6),
        random_ids(20, ids=2),
    )
    found = impulse_response(traced(parameters, ids), positions=1, max_lag=6)
    changed = [1 - int(ids[0]), *ids[1:].tolist()]  # with two characters there is one replacement
    sizes, kls = [], []
    for end in range(1, 8):
        (logits, state), (others, other) = (
            reference.read(parameters, text[:end]) for text in (ids.tolist(), changed)
        )
        sizes.append(np.linalg.norm(np.concatenate(other) - np.concatenate(state)))
        kls.append(float(divergence(logits[-1], others[-1])))
    np.testing.assert_allclose(found.state, np.array(sizes) / sizes[0], rtol=1e-6)
    np.testing.assert_allclose(found.kl, kls, rtol=1e-5)


def test_the_linear_prediction_is_that_of_a_small_change() -> None:
    """With weights of the input so small that nothing bends, change and linear prediction agree."""
    parameters = random_parameters(layers=2, scale=0.5)
    parameters.layers[0].kernel[...] *= 1e-4
    found = impulse_response(traced(parameters, random_ids(60, ids=5)), positions=8, max_lag=10)
    np.testing.assert_allclose(found.state, found.linear, rtol=1e-3)


def test_a_text_of_one_character_has_no_response() -> None:
    with pytest.raises(CharlmError, match="no character of the text can be replaced"):
        impulse_response(traced(one_layer(np.eye(2)), np.zeros(30, np.int64)))


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    assert divergence(np.log(p) + 3, np.log(q)) == pytest.approx((p * np.log(p / q)).sum())


def test_replacements_that_change_nothing_are_left_out_and_counted() -> None:
    """Characters 0 and 1 have the same input weights, so that one can stand for the other."""
    parameters = random_parameters(vocabulary_size=3, scale=0.5)
    parameters.layers[0].kernel[1] = parameters.layers[0].kernel[0]
    ids = random_ids(100, ids=3)
    response = impulse_response(traced(parameters, ids), positions=40, max_lag=5)
    assert response.positions.count == 40
    assert 5 < response.unchanged < 40
    assert response.state[0] == 1
