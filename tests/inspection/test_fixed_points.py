"""What becomes of states when a character is repeated, and the fixed points of networks as a whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from charlm.errors import CharlmError
from charlm.inspection.fixed_points import FixedPoints, find_fixed_points, hold_character
from charlm.inspection.states import read_states
from charlm.network.rnn import Layer, Parameters, step, unroll, zero_state

RandomParameters = Callable[..., Parameters]
IDS = np.random.default_rng(0).choice(5, 300, p=[0.1, 0.4, 0.3, 0.15, 0.05])


def found_in(parameters: Parameters, ids: np.ndarray, **settings: Any) -> FixedPoints:
    return find_fixed_points(parameters, ids, read_states(parameters, ids), **settings)


def switch(v: float) -> Parameters:
    """Return one unit that character 1 switches on, character 2 off, and character 0 leaves alone: f(v h)."""
    layer = Layer(np.array([[0.0], [5], [-5]], np.float32), np.array([[v]], np.float32), None)
    return Parameters(None, (layer,), np.array([[1.0, 2, -3]], np.float32), np.zeros(3, np.float32))


def test_both_ends_of_a_switch_are_stable_and_found_from_the_states_of_the_text() -> None:
    found = found_in(switch(2), np.array([1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0, 0]), characters=[0], starts=5)
    (held,) = found.characters
    assert (held.id, held.outcome, held.period) == (0, "settles", 1)
    h = 0.95750402  # h = tanh(2 h), by bisection
    assert [point.norm for point in held.points] == pytest.approx([h, h])
    for point in held.points:
        assert point.is_fixed
        assert point.is_stable
        assert point.spectral_radius == pytest.approx(2 * (1 - h**2), rel=1e-5)
        assert point.time_constant == pytest.approx(-1 / np.log(2 * (1 - h**2)), rel=1e-5)
        assert point.unstable_directions == 0
    assert sum(point.starts for point in held.points) == 10
    assert {point.likeliest[0][0] for point in held.points} == {1, 2}


def test_a_unit_with_a_strong_negative_weight_cycles_round_an_unstable_point() -> None:
    (held,) = found_in(switch(-3), np.array([1, 0, 0, 0]), characters=[0]).characters
    assert (held.outcome, held.period) == ("cycles", 2)
    (point,) = held.points
    assert point.norm == pytest.approx(0, abs=1e-9)
    assert point.spectral_radius == pytest.approx(3)
    assert point.unstable_directions == 1
    assert not point.is_stable
    assert point.time_constant is None


@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_spectral_radius_is_that_of_the_whole_stack(
    random_parameters: RandomParameters, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=2, units=3, skip_connections=skip_connections, scale=0.5)
    (held,) = found_in(parameters, IDS, characters=[2]).characters
    state, ids = zero_state(parameters, 7), np.full((500, 7), 2)
    _, state = unroll(parameters, ids, state)  # settles there
    moved = [layer.astype(np.float64).copy() for layer in state]
    size = 1e-2
    for unit in range(6):
        moved[unit // 3][1 + unit, unit % 3] += size
    _, after = step(parameters, ids[0], tuple(layer.astype(np.float32) for layer in moved))
    joined = np.concatenate(after, 1).astype(np.float64)
    jacobian = (joined[1:] - joined[0]) / size
    assert held.points[0].spectral_radius == pytest.approx(np.abs(np.linalg.eigvals(jacobian)).max(), rel=0.03)
    logits, _ = step(parameters, ids[0], state)
    assert held.points[0].likeliest[0][0] == logits[0].argmax()


def test_the_commonest_characters_are_held(random_parameters: RandomParameters) -> None:
    found = found_in(random_parameters(), IDS)
    assert [held.id for held in found.characters] == [1, 2, 3, 0]
    assert found.starts == 4
    assert [held.id for held in found_in(random_parameters(), np.array([3])).characters] == [3]


def test_a_network_that_grows_without_end_has_its_unstable_point(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1.0)
    held = found_in(parameters, IDS[:20]).characters[0]
    assert held.outcome == "grows"
    assert held.settling_characters is None
    assert held.points[0].unstable_directions >= 1


def test_a_layer_that_is_too_wide_is_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="a layer of 1,025 units"):
        find_fixed_points(random_parameters(units=1025), IDS, ())


def network(kernel: list[list[float]], activation: str = "linear") -> Parameters:
    """Return a network of one layer with a recurrent kernel and no input."""
    units = len(kernel)
    layer = Layer(np.zeros((1, units), np.float32), np.array(kernel, np.float32), None)
    logits = np.zeros((units, 1), np.float32)
    return Parameters(None, (layer,), logits, np.zeros(1, np.float32), activation=activation).cast(np.float64)


def test_a_contracting_state_settles_when_it_is_near_its_end() -> None:
    (held,) = hold_character(network([[0.5]]), 0, (np.array([[1.0]]),))
    assert (held.outcome, held.period) == ("settles", 1)
    assert held.settling_characters == 10  # 0.5 ** 10 < 1e-3 < 0.5 ** 9
    assert held.point is not None
    assert held.point.state[0] == pytest.approx([0], abs=1e-12)


@pytest.mark.parametrize(("factor", "characters"), [(0.982, 381), (0.9999, None)])
def test_a_state_that_comes_nearer_to_a_point_ever_more_slowly_settles(factor: float, characters: int | None) -> None:
    (held,) = hold_character(network([[factor]]), 0, (np.array([[1.0]]),))
    assert (held.outcome, held.settling_characters) == ("settles", characters)  # 0.982 ** 381 < 1e-3


def test_a_radius_near_1_of_a_large_layer_is_exact(random_parameters: RandomParameters) -> None:
    kernel = np.random.default_rng(0).standard_normal((300, 300))
    kernel *= 0.998 / np.abs(np.linalg.eigvals(kernel)).max()
    (held,) = find_fixed_points(network(kernel.tolist()), np.zeros(2, int), (np.ones((2, 300)),)).characters
    assert held.points[0].spectral_radius == pytest.approx(0.998, abs=1e-5)  # the kernel is rounded to float32
    assert held.points[0].is_stable


def test_a_rotation_by_a_quarter_has_a_cycle_of_four() -> None:
    (held,) = hold_character(network([[0, 1], [-1, 0]]), 0, (np.array([[1.0, 0.0]]),))
    assert (held.outcome, held.period, held.settling_characters) == ("cycles", 4, None)


def test_a_rotation_by_an_odd_angle_wanders() -> None:
    angle = np.sqrt(2)
    kernel = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    assert hold_character(network(kernel), 0, (np.array([[1.0, 0.0]]),))[0].outcome == "wanders"


@pytest.mark.parametrize(("kernel", "activation"), [([[1.5]], "relu"), ([[-9.0]], "linear")], ids=str)
def test_a_state_that_grows_without_end_does_not_disturb_the_others(kernel: list[list[float]], activation: str) -> None:
    grows, other = hold_character(network(kernel, activation), 0, (np.array([[1.0], [-1e4]]),), repetitions=100)
    assert grows.outcome == "grows"
    assert other.outcome in {"settles", "grows"}
    if activation == "relu":
        assert (other.outcome, other.settling_characters) == ("settles", 1)
