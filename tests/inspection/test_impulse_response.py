"""The response to a replaced character, on networks whose memory is known."""

import numpy as np
import pytest
import reference
from arrays import check_close
from inspection.networks import one_layer, random_ids, shift_register, traced
from models import as_model, one_layer_of, random_parameters

from charlm.errors import CharlmError
from charlm.inspection.impulse_response import divergence, impulse_response, make_impulse
from charlm.inspection.reading import Limits, Reading
from charlm.inspection.section import Sample
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary


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


def follow(parameters: Parameters, text: list[int], place: int) -> tuple[list[float], list[float]]:
    """Return the size of the change of the state, and the divergence, up to lag 6.

    One of two characters is replaced by the other.
    """
    changed_text = [*text[:place], 1 - text[place], *text[place + 1 :]]
    sizes = []
    divergences = []
    for end in range(place + 1, place + 8):
        logits, state = reference.read(parameters, text[:end])
        changed_logits, changed_state = reference.read(parameters, changed_text[:end])
        sizes.append(float(np.linalg.norm(np.subtract(changed_state, state))))
        divergences.append(float(divergence(logits[-1], changed_logits[-1])))
    return sizes, divergences


def test_the_response_is_the_difference_of_two_readings() -> None:
    parameters = random_parameters(layers=2, vocabulary_size=2, scale=0.6)
    ids = random_ids(20, ids=2)
    response = impulse_response(traced(parameters, ids), positions=4, max_lag=6)
    pairs = [follow(parameters, ids.tolist(), place) for place in (0, 4, 8, 13)]
    sizes, divergences = np.swapaxes(pairs, 0, 1)  # [4, 7] each
    low, median, high = np.quantile(sizes / sizes[:, :1], [0.1, 0.5, 0.9], axis=0)
    found = [response.state_low, response.state, response.state_high]
    check_close(found, [low, median, high], rtol=1e-5)
    check_close([response.kl], [divergences.mean(0)], rtol=1e-4)
    check_close([response.kl_errors], [divergences.std(0) / 3**0.5], rtol=1e-4)
    assert response.positions == Sample(1, 14, 4)


def test_128_characters_are_replaced_and_followed_for_128_characters() -> None:
    response = impulse_response(traced(one_layer(np.eye(1)), random_ids(600)))
    assert response.lag.tolist() == [*range(129)]
    assert response.positions == Sample(1, 472, 128)


def test_a_single_replacement_has_no_error() -> None:
    response = impulse_response(traced(random_parameters(), random_ids(20)), positions=1)
    assert response.positions.count == 1
    assert np.isnan(response.kl_errors).all()


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
    """After every other character, the unit is so high that the next character has no effect."""
    alternating = one_layer_of([[0], [1]], [[-9]], [[1, -1]], activation="relu")
    trained = as_model(alternating, Vocabulary(("a", "b")))
    ids = np.repeat([1, 0], [70, 30])
    reading = Reading("run", trained, "text", ids, Limits(100, 100, 20, replacements=7))
    content = make_impulse(reading)
    assert content.data.unchanged == 3  # characters 26, 34 and 42 of 1, 9, 17, 26, 34, 42 and 51
    assert content.data.state[0] == 1
    assert content.basis == (
        "Based on replacements of 7 evenly spaced characters (1 to 51), one at a time. "
        "3 replacements left out: the state did not change."
    )
