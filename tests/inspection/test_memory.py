"""How far back networks learn, predict and remember whose memory is known."""

import math

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, shift_register, traced
from models import random_parameters

from charlm.errors import CharlmError
from charlm.evaluation.scoring import score_stream
from charlm.inspection.context import context_sentence, usable_context
from charlm.inspection.memory import divergence, gradient_by_lag, gradient_sentence, half_life, impulse_response
from charlm.inspection.stability import lyapunov
from charlm.network.gradients import Trace, lag_curves
from charlm.network.rnn import advance, nats


def test_the_nats_are_those_of_the_definition() -> None:
    parameters, ids = random_parameters(layers=2, scale=2.0), random_ids(12, ids=5).tolist()
    whole = np.array(reference.nats(parameters, ids))
    found = usable_context(parameters, np.array(ids), whole, most=4)
    for k, mean in zip(found.characters.tolist(), found.nats, strict=True):
        nats = [reference.nats(parameters, ids[max(0, target - k) : target + 1])[-1] for target in range(1, 12) if k]
        nothing = np.log(np.exp(parameters.logits_bias).sum()) - parameters.logits_bias[ids[1:]]  # h = 0
        assert mean == pytest.approx(np.mean(nats or nothing), rel=1e-5)
    assert len(found.characters) > 2
    np.testing.assert_allclose(found.gains, found.nats - whole.mean(), atol=1e-6)
    assert found.whole_nats == pytest.approx(whole.mean())
    assert found.positions == range(1, 12)


def test_no_more_characters_are_given_than_the_network_uses() -> None:
    """Each character is that three before it, which the register holds: with three characters nothing is missing."""
    parameters, ids = shift_register(6, reads=2), np.tile([0, 1, 2], 900)
    nats = np.concatenate([*score_stream(parameters, ids)])
    found = usable_context(parameters, ids, nats)
    assert (found.characters.tolist(), found.used) == ([0, 1, 2, 3], 3)
    assert found.nats[2] > 1 > found.nats[3]
    assert "uses 3 characters of context" in context_sentence(found)
    for length in (11, 2101):  # too short to tell, and too short for an error
        assert usable_context(parameters, ids[:length], nats[: length - 1]).used is None


def test_context_that_makes_worse_or_helps_less_than_two_standard_errors_is_not_used() -> None:
    parameters, ids = random_parameters(scale=0.5), random_ids(2401, ids=5)
    found = usable_context(parameters, ids, np.concatenate([*score_stream(parameters, ids)]))
    assert found.gains[0] < 0
    assert found.used == 0
    alone = nats(np.tile(parameters.logits_bias, (2400, 1)), ids[1:])
    gain = np.repeat([0.4, -0.1] * 4, 300)  # 0.15, with an error of 0.27 / 8 ** 0.5 times 1.21
    assert usable_context(parameters, ids, alone - gain, most=1).used == 0
    assert usable_context(parameters, ids, alone - gain - 0.2, most=1).used != 0


def test_means_of_the_context_have_the_errors_of_blocks() -> None:
    parameters, ids, rng = random_parameters(scale=0.5), random_ids(2401, ids=5), np.random.default_rng(0)
    whole, by_ngrams = rng.random((2, 2400))
    found = usable_context(parameters, ids, whole, most=1, ngram_nats={2: by_ngrams})
    alone = nats(parameters.logits(advance(parameters, ids[:-1], parameters.zero_state(2400))), ids[1:])
    for mean, error, values in (
        (found.ngram_nats[0], found.ngram_standard_errors[0], by_ngrams),
        (found.nats[1], found.standard_errors[1], alone),
        (found.gains[1], found.gain_errors[1], alone - whole),
    ):
        assert mean == pytest.approx(values.mean(), rel=1e-4)
        assert error == pytest.approx(reference.standard_error(values.reshape(8, 300).mean(1).tolist()), rel=0.01)
    assert found.ngram_order.tolist() == [2]


def test_the_gradient_of_a_linear_unit_is_a_power_of_its_weight() -> None:
    trace = traced(one_layer(np.array([[0.5]])), random_ids(60))
    curve = gradient_by_lag(trace, positions=9, max_lag=10)[0]
    for values in (curve.low, curve.median, curve.high):
        np.testing.assert_allclose(values, 0.5 ** np.arange(11))
    assert (curve.half_life, curve.visible_to) == (1, 9)  # 1/512 is visible, 1/1024 is not
    assert curve.positions.tolist() == [11, 17, 23, 29, 35, 41, 47, 53, 59]
    assert curve.slope == pytest.approx(math.log(0.5))
    assert [curve.half_life_error, curve.slope_error] == pytest.approx([0, 0], abs=1e-12)
    assert gradient_sentence([curve]).endswith("halves in 1 or less characters and can be seen 9 characters back")


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
    parameters.layers[0].recurrent_kernel[...] = 0.9
    assert far_slopes(traced(parameters, trace.ids[:, 0])) == pytest.approx(np.log([0.9, 0.8]), abs=1e-2)


def test_half_lives_have_the_errors_of_blocks_of_predictions() -> None:
    trace = traced(random_parameters(scale=0.6), random_ids(400, ids=5))
    (found,) = gradient_by_lag(trace, positions=80, max_lag=20)
    blocks = [lag_curves(trace, part - 1, lags=21)[0].median for part in np.split(found.positions, 8)]
    lives = [half_life(block) or math.nan for block in blocks]
    assert found.half_life_error == pytest.approx(reference.standard_error(lives), rel=0.01)
    slopes = [np.polyfit(range(10, 21), np.log(block[10:]), 1)[0] for block in blocks]
    assert found.slope_error == pytest.approx(reference.standard_error(slopes), rel=0.01)


def test_a_gradient_that_does_not_fade_is_said_to_reach_further_than_it_was_followed() -> None:
    fading, lasting = (
        gradient_by_lag(traced(one_layer(np.array([[v]])), random_ids(60)), max_lag=10) for v in (0.5, 1)
    )
    expected = "halves in 1 or less to more than 10 characters and can be seen 10 characters back or more"
    assert gradient_sentence([*fading, *lasting]).endswith(expected)
    short = gradient_by_lag(traced(one_layer(np.eye(2)), random_ids(10)), max_lag=100)[0]
    assert short.lag.tolist() == [0, 1, 2, 3, 4]


def test_the_response_of_a_register_is_zero_after_its_depth_and_a_leaky_unit_never_forgets() -> None:
    for activation in ("linear", "relu"):
        found = impulse_response(
            traced(shift_register(5, reads=2, activation=activation), random_ids(80)), positions=10, max_lag=12
        )
        np.testing.assert_array_equal(found.state, [1] * 5 + [0] * 8)
        np.testing.assert_array_equal(found.linear[5:], 0)
        if activation == "linear":  # the slope of relu is 0 at the place that was not in use
            np.testing.assert_array_equal(found.linear, found.state)
        np.testing.assert_array_equal(found.kl[[1, 3, 4, 9]], 0)
        assert found.kl[2] > 1
        assert len(found.positions) == 10
    leaky = impulse_response(traced(one_layer(np.array([[0.5]])), random_ids(60)), positions=9, max_lag=20)
    for values in (leaky.state, leaky.state_low, leaky.state_high, leaky.linear):
        np.testing.assert_allclose(values, 0.5 ** np.arange(21), rtol=1e-6)


def test_the_change_is_that_of_two_readings() -> None:
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


def test_the_linear_prediction_is_that_of_a_small_change() -> None:
    """With weights of the input so small that nothing bends, change and linear prediction agree."""
    parameters = random_parameters(layers=2, scale=0.5)
    parameters.layers[0].kernel[...] *= 1e-4
    found = impulse_response(traced(parameters, random_ids(60, ids=5)), positions=8, max_lag=10)
    np.testing.assert_allclose(found.state, found.linear, rtol=1e-3)


def test_a_text_of_one_character_has_no_response() -> None:
    with pytest.raises(CharlmError, match="no character of the text can be replaced"):
        impulse_response(traced(one_layer(np.eye(2)), np.zeros(30, np.int64)))


def test_the_half_life_and_the_divergence_are_those_of_the_definition() -> None:
    assert half_life(np.array([1, 0.8, 0.4, 0.3])) == pytest.approx(1 + np.log(0.8 / 0.5) / np.log(0.8 / 0.4))
    assert half_life(np.array([1, 2, 0.7])) is None
    assert half_life(np.array([1, 0.1])) == 1  # there is nothing below a character
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.2, 0.6])
    assert divergence(np.log(p) + 3, np.log(q)) == pytest.approx((p * np.log(p / q)).sum())
