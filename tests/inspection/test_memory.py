"""How far back networks learn, predict and remember whose memory is known."""

from unittest.mock import Mock

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, shift_register, traced

from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams, score_ngrams
from charlm.inspection.memory import divergence, gradient_by_lag, half_life, impulse_response, usable_context


def test_the_nats_are_those_of_the_definition(random_parameters: RandomParameters) -> None:
    parameters, ids = random_parameters(layers=2), random_ids(12, ids=5)
    found = usable_context(parameters, ids, characters=(1, 2, 4), positions=100)
    for k, mean in zip((1, 2, 4), found.nats, strict=True):
        nats = [reference.nats(parameters, ids[target - k : target + 1].tolist())[-1] for target in range(4, 12)]
        assert mean == pytest.approx(np.mean(nats), rel=1e-5)
    assert found.positions == 8


def test_the_ngrams_of_order_k_plus_1_score_the_same_characters(random_parameters: RandomParameters) -> None:
    ids, training = random_ids(40, ids=5), random_ids(500, ids=5, seed=3)
    scores = {}
    for order in (2, 3, 9):
        model = count_ngrams(training, vocabulary_size=5, order=order)
        scores[order] = np.concatenate([*score_ngrams(model, ids)])
    found = usable_context(random_parameters(), ids, characters=(1, 2, 8, 16), ngram_nats=scores.__getitem__)
    assert found.ngram_order.tolist() == [2, 3, 9]
    assert found.ngram_nats == pytest.approx([scores[order][15:].mean() for order in (2, 3, 9)])


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    curve = gradient_by_lag(trace, positions=7, max_lag=10)[0]
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))


def test_the_predictions_whose_gradients_are_followed_are_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    followed = Mock()
    monkeypatch.setattr("charlm.inspection.memory.lag_curves", followed)
    trace = traced(one_layer(np.eye(2)), random_ids(102))
    for positions, expected in ((3, [20, 60, 100]), (1000, [*range(20, 101)])):
        gradient_by_lag(trace, positions=positions, max_lag=20)
        assert followed.call_args.args[1].tolist() == expected
        assert followed.call_args.kwargs == {"lags": 21}


def test_a_text_that_is_shorter_than_the_lags_gives_fewer() -> None:
    curve = gradient_by_lag(traced(one_layer(np.eye(2)), random_ids(10)), max_lag=100)[0]
    assert curve.lag.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_the_response_of_a_register_is_zero_after_its_depth(activation: str) -> None:
    trace = traced(shift_register(5, reads=2, activation=activation), random_ids(80))
    found = impulse_response(trace, positions=10, max_lag=12)
    np.testing.assert_array_equal(found.state, [1] * 5 + [0] * 8)
    np.testing.assert_array_equal(found.linear[5:], 0)
    if activation == "linear":  # the slope of relu is 0 at the place that was not in use
        np.testing.assert_array_equal(found.linear, found.state)
    np.testing.assert_array_equal(found.kl[[1, 3, 4, 9]], 0)
    assert found.kl[2] > 1
    assert (found.verdict, found.length, found.positions) == ("finite", 5, 10)
    assert found.half_life == pytest.approx(4, abs=0.01)


def test_a_leaky_linear_unit_never_forgets() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    found = impulse_response(trace, positions=9, max_lag=20)
    for values in (found.state, found.state_low, found.state_high, found.linear):
        np.testing.assert_allclose(values, 0.5 ** np.arange(21), rtol=1e-6)
    assert (found.verdict, found.length) == ("infinite", None)
    assert found.half_life == pytest.approx(1)


def test_the_change_is_that_of_two_readings(random_parameters: RandomParameters) -> None:
    parameters, ids = random_parameters(layers=2, vocabulary_size=2, scale=0.6), random_ids(20, ids=2)
    found = impulse_response(traced(parameters, ids), positions=1, max_lag=6)
    changed = [1 - int(ids[0]), *ids[1:].tolist()]  # with two characters there is one replacement
    sizes, kls = [], []
    for end in range(1, 8):
        (logits, state), (others, other) = (reference.read(parameters, text[:end]) for text in (ids.tolist(), changed))
        sizes.append(np.linalg.norm(np.concatenate(other) - np.concatenate(state)))
        kls.append(float(divergence(logits[-1], others[-1])))
    np.testing.assert_allclose(found.state, np.array(sizes) / sizes[0], rtol=1e-6)
    np.testing.assert_allclose(found.kl, kls, rtol=1e-5)


def test_the_linear_prediction_is_that_of_a_small_change(random_parameters: RandomParameters) -> None:
    """With weights of the input so small that nothing bends, change and linear prediction agree."""
    parameters = random_parameters(layers=2, scale=0.5)
    parameters.layers[0].kernel[...] *= 1e-4
    found = impulse_response(traced(parameters, random_ids(60, ids=5)), positions=8, max_lag=10)
    np.testing.assert_allclose(found.state, found.linear, rtol=1e-3)


def test_a_text_of_one_character_has_no_response() -> None:
    with pytest.raises(CharlmError, match="no character of the text can be replaced"):
        impulse_response(traced(one_layer(np.eye(2)), np.zeros(30, np.int64)))


def test_the_half_life_is_interpolated_and_none_if_it_is_not_reached() -> None:
    assert half_life(np.array([1, 0.8, 0.4, 0.3])) == pytest.approx(1 + np.log(0.8 / 0.5) / np.log(0.8 / 0.4))
    assert half_life(np.array([1, 2, 0.7])) is None


def test_the_divergence_is_that_of_the_definition() -> None:
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    assert divergence(np.log(p) + 3, np.log(q)) == pytest.approx((p * np.log(p / q)).sum())
