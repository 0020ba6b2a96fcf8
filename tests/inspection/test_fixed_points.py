"""Fixed points, by equations and the reference; what becomes of states that are held."""

import numpy as np
import pytest
from inspection.networks import states_of
from models import random_parameters

from charlm.errors import CharlmError
from charlm.inspection.fixed_points import HeldCharacter, find_fixed_points, repeat_character
from charlm.network.rnn import Layer, Parameters

IDS = np.random.default_rng(0).choice(5, 300, p=[0.1, 0.4, 0.3, 0.15, 0.05])


def found_in(parameters: Parameters, ids: np.ndarray, character: int) -> HeldCharacter:
    """Return what is found for a character among the commonest ones of a text."""
    found = find_fixed_points(parameters, ids, states_of(parameters, ids))
    return next(held for held in found.held if held.id == character)


def switch(v: float) -> Parameters:
    """Return one unit that character 1 switches on, character 2 off, and character 0 leaves alone: f(v h)."""
    layer = Layer(np.array([[0.0], [5], [-5]], np.float32), np.array([[v]], np.float32), None)
    return Parameters(None, (layer,), np.array([[1.0, 2, -3]], np.float32), np.zeros(3, np.float32))


def network(kernel: list[list[float]], activation: str = "linear", *, constant: float = 0) -> Parameters:
    """Return a network of one layer and one character, h <- f(constant + h V)."""
    units = len(kernel)
    layer = Layer(np.full((1, units), constant, np.float32), np.array(kernel, np.float32), None)
    logits = np.zeros((units, 1), np.float32)
    return Parameters(None, (layer,), logits, np.zeros(1, np.float32), activation=activation).cast(np.float64)


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
    assert sum(point.starts for point in held.points) == 3
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


@pytest.mark.parametrize(("ids", "expected"), [(IDS, [1, 2, 3]), (np.array([3]), [3])], ids=["text", "one character"])
def test_the_commonest_characters_are_held(ids: np.ndarray, expected: list[int]) -> None:
    parameters = random_parameters()
    found = find_fixed_points(parameters, ids, states_of(parameters, ids))
    assert [held.id for held in found.held] == expected


def test_a_layer_that_is_too_wide_is_refused() -> None:
    with pytest.raises(CharlmError, match="a layer of 1,025 units"):
        find_fixed_points(random_parameters(units=1025), IDS, ())


def rotation(angle: float, *, factor: float = 1) -> Parameters:
    """Return a linear network of two units that turns the state, and multiplies it by a factor."""
    kernel = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return network(kernel.tolist())


STILL, ON = ("settles", 1), ("not settled", None)


@pytest.mark.parametrize(
    ("parameters", "starts", "expected"),
    [
        *((network([[factor]]), [[1.0]], [STILL]) for factor in (0.5, -0.5, 0.995)),
        (network([[0.9999]]), [[1.0]], [ON]),
        (rotation(np.pi / 2), [[1.0, 0.0]], [("cycles", 4)]),
        *((rotation(angle), [[1.0, 0.0]], [ON]) for angle in (np.sqrt(2), 2 * np.pi / 5 + 1e-6)),
        (rotation(2 * np.pi / 5, factor=0.9948), [[1.0, 0.0]], [STILL]),
        (rotation(2 * np.pi / 5, factor=0.99999), [[1.0, 0.0]], [ON]),  # a spiral is no cycle, however slow
        (network(np.roll(np.eye(40), 1, 0).tolist()), [[1.0] + [0.0] * 39], [("cycles", 40)]),
        (network([[1.5]], "relu"), [[1.0], [-1e4]], [("grows", None), STILL]),
    ],
)
def test_a_repeated_state_settles_cycles_only_if_it_returns_or_grows(
    parameters: Parameters, starts: list[list[float]], expected: list[tuple[str, int | None]]
) -> None:
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
