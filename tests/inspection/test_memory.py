"""Networks whose memory, stability and fixed points are known: how far they learn, predict and remember."""

import math
from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, shift_register, states_of, traced
from models import one_layer_of, random_parameters

from charlm.errors import CharlmError
from charlm.evaluation.scoring import score_stream
from charlm.inspection.context import context_sentence, usable_context
from charlm.inspection.fixed_points import HeldCharacter, find_fixed_points, repeat_character
from charlm.inspection.memory import divergence, gradient_by_lag, gradient_sentence, half_life, impulse_response
from charlm.inspection.stability import lyapunov, recurrent_spectra
from charlm.network.gradients import Trace, lag_curves
from charlm.network.rnn import Parameters, advance, nats


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
    assert gradient_sentence([curve]).endswith("halves in 1 character and can be seen 9 characters back")


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
    assert lyapunov(trace).positions == range(50, 200)  # after a quarter of the text
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
    traces = [traced(one_layer(np.array([[v]])), random_ids(60)) for v in (0.5, 1)]
    fading, lasting = (gradient_by_lag(trace, max_lag=10) for trace in traces)
    expected = "halves in 1 to more than 10 characters by layer and can be seen 10 characters back or more"
    assert gradient_sentence([*fading, *lasting]).endswith(expected)
    expected = "does not halve in 10 characters and can be seen 10 characters back or more"
    assert gradient_sentence(lasting).endswith(expected)
    ended = gradient_by_lag(traced(one_layer(np.zeros((1, 1))), random_ids(60)), max_lag=10)
    assert gradient_sentence(ended).endswith("halves in 1 character and cannot be seen one character back")
    short = gradient_by_lag(traced(one_layer(np.eye(2)), random_ids(10)), max_lag=100)[0]
    assert short.lag.tolist() == [0, 1, 2, 3, 4]


def test_the_response_of_a_register_is_zero_after_its_depth_and_a_leaky_unit_never_forgets() -> None:
    for activation in ("linear", "relu"):
        trace = traced(shift_register(5, reads=2, activation=activation), random_ids(80))
        found = impulse_response(trace, positions=10, max_lag=12)
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


# Spectra and Lyapunov exponents


def test_the_eigenvalues_of_a_triangle_are_its_diagonal() -> None:
    (found,) = recurrent_spectra(traced(one_layer(np.array([[2.0, 4.0], [0.0, 3.0]])), random_ids(60)))
    assert found.eigenvalues.tolist() == pytest.approx([3, 2])
    assert found.spectral_radius == pytest.approx(3)


def test_the_effective_radius_counts_the_slopes() -> None:
    """V = 2 I: the radius of V D is twice the largest slope at each step."""
    parameters = one_layer(2 * np.eye(3), activation="tanh")
    trace = traced(parameters, random_ids(60))
    (found,) = recurrent_spectra(trace, positions=200)
    radii = 2 * trace.slopes[0][30:, 0].max(1)
    assert found.effective_radius == pytest.approx(np.median(radii))
    assert (found.effective_low, found.effective_high) == pytest.approx((radii.min(), radii.max()))


@pytest.mark.parametrize("kind", [{}, {"layers": 2, "skip_connections": True, "activation": "sigmoid"}])
def test_their_sum_is_the_mean_logarithm_of_the_determinant(kind: dict[str, Any]) -> None:
    """The Jacobian of all layers is block triangular: its determinant is the product of |V| and of the slopes."""
    trace = traced(random_parameters(scale=0.7, **kind), random_ids(300, ids=5))
    found = lyapunov(trace, warm_up=1)
    steps = range(1, 300)
    volumes = [np.linalg.slogdet(layer.recurrent_kernel)[1] for layer in trace.parameters.layers]
    shrinking = sum(np.log(gain[steps, 0]).sum(1).mean() for gain in trace.slopes)
    assert found.exponents.sum() == pytest.approx(sum(volumes) + shrinking)
    assert found.positions == range(1, 300)


def test_the_first_exponents_of_a_large_state_are_those_of_all() -> None:
    trace = traced(random_parameters(units=12, scale=0.4), random_ids(900, ids=5))
    first, everything = lyapunov(trace, most=3, full_up_to=5), lyapunov(trace)
    np.testing.assert_allclose(first.exponents, everything.exponents[:3], atol=0.02)
    assert (first.dimensions, len(everything.exponents)) == (12, 12)


def test_a_nilpotent_kernel_forgets_every_direction() -> None:
    """V^6 = 0: the product of six Jacobians is 0."""
    kernel = np.triu(np.random.default_rng(0).standard_normal((6, 6)), 1)
    found = lyapunov(traced(one_layer(kernel), random_ids(900)))
    assert found.exponents.tolist() == [-np.inf] * 6


def test_with_relu_the_directions_beyond_the_rank_have_an_exponent_of_minus_infinity() -> None:
    """The last two units are always off, the others always on: there the network is linear."""
    kernel = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32) * 0.05
    parameters = one_layer(kernel, activation="relu")
    parameters.layers[0].bias[:] = [9, 9, 9, 9, -99, -99]
    found = lyapunov(traced(parameters, random_ids(2000)), most_steps=1800)
    sizes = np.abs(np.linalg.eigvals(kernel[:4, :4].astype(np.float64)))
    np.testing.assert_allclose(found.exponents[:4], np.sort(np.log(sizes))[::-1], atol=2e-2)
    assert found.exponents[4:].tolist() == [-np.inf] * 2


def test_the_largest_exponent_has_the_standard_error_of_blocks_of_100_characters() -> None:
    trace = traced(one_layer(np.array([[0.9]]), activation="tanh"), random_ids(900))
    found = lyapunov(trace, warm_up=100)
    logs = np.log(0.9 * trace.slopes[0][100:, 0, 0])
    assert found.exponents[0] == pytest.approx(logs.mean())
    blocks = logs.reshape(8, 100).mean(1).tolist()
    assert found.standard_errors[0] == pytest.approx(reference.standard_error(blocks), rel=0.01)
    assert found.positions == range(100, 900)


# Fixed points


IDS = np.random.default_rng(0).choice(5, 300, p=[0.1, 0.4, 0.3, 0.15, 0.05])


def found_in(parameters: Parameters, ids: np.ndarray, character: int) -> HeldCharacter:
    """Return what is found for a character among the commonest ones of a text."""
    found = find_fixed_points(parameters, ids, states_of(parameters, ids))
    return next(held for held in found.held if held.id == character)


def switch(v: float) -> Parameters:
    """Return one unit that character 1 switches on, character 2 off, and character 0 leaves alone: f(v h)."""
    return one_layer_of([[0], [5], [-5]], [[v]], [[1, 2, -3]])


def test_both_ends_of_a_switch_are_stable_and_found_from_the_states_of_the_text() -> None:
    """A state of one unit: the plane of the path is a line, on which the mean of the text is 0."""
    ids = np.array([1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0, 0])
    outputs = states_of(switch(2), ids)
    found = find_fixed_points(switch(2), ids, outputs)
    held = next(each for each in found.held if each.id == 0)
    assert (held.outcome, held.period) == ("settles", 1)
    h = 0.95750402  # h = tanh(2 h), by bisection
    for point in held.points:
        assert point.spectral_radius == pytest.approx(2 * (1 - h**2), rel=1e-5)
    assert [point.starts for point in held.points] == [2, 1]  # the one that most starts come to is first
    assert {point.likeliest[0][0] for point in held.points} == {1, 2}
    places = sorted(abs(point.place[0]) for point in held.points)
    assert places == pytest.approx(sorted(abs(end - outputs[0].mean(dtype=np.float64)) for end in (h, -h)), abs=1e-6)
    assert found.shares == (1, 0)
    assert not found.path[:, 1].any()


def test_a_unit_with_a_strong_negative_weight_cycles_and_comes_to_no_point() -> None:
    held = found_in(switch(-3), np.array([1, 0, 0, 0]), 0)
    assert (held.outcome, held.period, held.points) == ("cycles", 2, ())


@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_spectral_radius_is_that_of_the_whole_stack(skip_connections: bool) -> None:
    parameters = random_parameters(layers=2, units=3, skip_connections=skip_connections, scale=0.5)
    held = found_in(parameters, IDS, 2)
    state, ids = parameters.zero_state(7), np.full((500, 7), 2)
    _, state = parameters.unroll(ids, state)  # settles there
    moved = [layer.astype(np.float64) for layer in state]
    size = 1e-5
    for unit in range(6):
        moved[unit // 3][1 + unit, unit % 3] += size
    logits, after = parameters.cast(np.float64).step(ids[0], tuple(moved))
    joined = np.concatenate(after, 1)
    jacobian = (joined[1:] - joined[0]) / size
    assert held.points[0].spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(jacobian)).max(), rel=1e-3)
    assert held.points[0].likeliest[0][0] == logits[0].argmax()


def test_the_commonest_characters_are_held_and_a_layer_that_is_too_wide_is_refused() -> None:
    parameters = random_parameters()
    for ids, expected in ((IDS, [1, 2, 3]), (np.array([3]), [3])):
        found = find_fixed_points(parameters, ids, states_of(parameters, ids))
        assert [held.id for held in found.held] == expected
    with pytest.raises(CharlmError, match="a layer of 1,025 units"):
        find_fixed_points(random_parameters(units=1025), IDS, ())


def network(kernel: Any, activation: str = "linear") -> Parameters:
    """Return a network of one layer and one character that has no weight, h <- f(h V)."""
    units = len(kernel)
    return one_layer_of(np.zeros((1, units)), kernel, np.zeros((units, 1)), activation=activation).cast(np.float64)


def rotation(angle: float, *, factor: float = 1) -> Parameters:
    """Return a linear network of two units that turns the state, and multiplies it by a factor."""
    kernel = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return network(kernel)


STILL, ON = ("settles", 1), ("not settled", None)


def test_a_repeated_state_settles_cycles_only_if_it_returns_or_grows() -> None:
    for parameters, starts, expected in (
        *((network([[factor]]), [[1.0]], [STILL]) for factor in (0.5, -0.5, 0.995)),
        (network([[0.9999]]), [[1.0]], [ON]),
        (rotation(np.pi / 2), [[1.0, 0.0]], [("cycles", 4)]),
        *((rotation(angle), [[1.0, 0.0]], [ON]) for angle in (np.sqrt(2), 2 * np.pi / 5 + 1e-6)),
        (rotation(2 * np.pi / 5, factor=0.9948), [[1.0, 0.0]], [STILL]),
        (rotation(2 * np.pi / 5, factor=0.99999), [[1.0, 0.0]], [ON]),  # a spiral is no cycle, however slow
        (network(np.roll(np.eye(40), 1, 0)), [[1.0] + [0.0] * 39], [("cycles", 40)]),
        (network([[1.5]], "relu"), [[1.0], [-1e4]], [("grows", None), STILL]),
    ):
        assert [*repeat_character(parameters, 0, np.array(starts))[1]] == expected


def test_a_large_network_is_repeated_less_often() -> None:
    for units, expected in ((4, 12_800), (900, 10_928)):
        parameters = random_parameters(units=units, scale=0.01)
        assert find_fixed_points(parameters, IDS[:2], states_of(parameters, IDS[:2])).repetitions == expected
    assert repeat_character(network([[0.99]]), 0, np.ones((1, 1)), most=640)[1] == [("not settled", None)]


def test_the_path_is_that_of_the_principal_components_of_all_layers() -> None:
    parameters = random_parameters(layers=2, units=3, scale=0.5)
    found = find_fixed_points(parameters, IDS, states_of(parameters, IDS))
    states = np.concatenate(states_of(parameters, IDS), 1).astype(np.float64)
    sizes, vectors = np.linalg.eigh(np.cov(states.T))
    assert found.shares == pytest.approx((sizes[-1] / sizes.sum(), sizes[-2] / sizes.sum()))
    expected = (states - states.mean(0)) @ vectors[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(found.path), np.abs(expected), atol=1e-9)
    assert found.positions == range(300)
