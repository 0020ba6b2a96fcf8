"""Fixed points of networks whose dynamics are known."""

from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of
from models import one_layer_of, random_parameters

from charlm.errors import CharlmError
from charlm.inspection.fixed_points import (
    RepeatedCharacter,
    find_fixed_points,
    repeat_character,
    repetitions_for,
)
from charlm.inspection.section import Sample
from charlm.network.rnn import Parameters

IDS = np.random.default_rng(0).choice(5, 300, p=[0.1, 0.4, 0.3, 0.15, 0.05])


def found_in(parameters: Parameters, ids: np.ndarray, character: int) -> RepeatedCharacter:
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
    assert (held.starts, held.at_rest) == (3, 3)
    h = 0.95750402  # h = tanh(2 h), by bisection
    for point in held.points:
        assert point.spectral_radius == pytest.approx(2 * (1 - h**2), rel=1e-5)
    assert [point.starts for point in held.points] == [
        2,
        1,
    ]  # the one that most starts come to is first
    assert {point.likeliest[0][0] for point in held.points} == {1, 2}
    places = sorted(abs(point.place[0]) for point in held.points)
    assert places == pytest.approx(
        sorted(abs(end - outputs[0].mean(dtype=np.float64)) for end in (h, -h)), abs=1e-6
    )
    assert found.shares == (1, 0)
    assert not found.path[:, 1].any()


def test_a_unit_with_a_strong_negative_weight_comes_to_no_point() -> None:
    """Its state jumps from one side to the other at each step."""
    held = found_in(switch(-3), np.array([1, 0, 0, 0]), 0)
    assert (held.starts, held.at_rest, held.points) == (3, 0, ())


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
    assert held.points[0].spectral_radius == pytest.approx(
        np.abs(np.linalg.eigvals(jacobian)).max(), rel=1e-3
    )
    assert held.points[0].likeliest[0][0] == logits[0].argmax()


def test_the_commonest_characters_are_held_and_a_layer_that_is_too_wide_is_refused() -> None:
    parameters = random_parameters()
    for ids, expected in ((IDS, [1, 2, 3]), (np.array([3]), [3])):
        found = find_fixed_points(parameters, ids, states_of(parameters, ids))
        assert [held.id for held in found.held] == expected
    with pytest.raises(CharlmError, match="a layer has 1,025 units"):
        find_fixed_points(random_parameters(units=1025), IDS, ())


def network(kernel: Any, activation: str = "linear") -> Parameters:
    """Return a network of one layer and one character that has no weight, h <- f(h V)."""
    units = len(kernel)
    return one_layer_of(
        np.zeros((1, units)), kernel, np.zeros((units, 1)), activation=activation
    ).cast(np.float64)


def rotation(angle: float, *, factor: float = 1) -> Parameters:
    """Return a linear network of two units that turns the state, and multiplies it by a factor."""
    kernel = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return network(kernel)


@pytest.mark.parametrize(
    ("parameters", "start", "is_at_rest"),
    [
        pytest.param(network([[0.5]]), [1.0], True, id="halves"),
        pytest.param(network([[-0.5]]), [1.0], True, id="halves and turns"),
        pytest.param(network([[0.995]]), [1.0], True, id="shrinks slowly"),
        pytest.param(network([[0.9999]]), [1.0], False, id="shrinks too slowly"),
        pytest.param(rotation(np.pi / 2), [1.0, 0.0], False, id="turns in four steps"),
        pytest.param(rotation(np.sqrt(2)), [1.0, 0.0], False, id="turns and never returns"),
        pytest.param(rotation(2 * np.pi / 5, factor=0.9948), [1.0, 0.0], True, id="spirals in"),
        pytest.param(
            rotation(2 * np.pi / 5, factor=0.99999), [1.0, 0.0], False, id="spirals in too slowly"
        ),
        pytest.param(network([[1.5]], "relu"), [1.0], False, id="grows"),
        pytest.param(network([[1.5]], "relu"), [-1e4], True, id="stays at zero"),
    ],
)
def test_a_repeated_state_is_at_rest_if_no_unit_changes(
    parameters: Parameters, start: list[float], is_at_rest: bool
) -> None:
    with np.errstate(all="ignore"):
        assert repeat_character(parameters, 0, np.array([start]))[1].tolist() == [is_at_rest]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param(700_000, 12_800, id="the largest with all repetitions"),
        pytest.param(1_400_000, 6_400, id="twice as large"),
        pytest.param(141_000_000, 63, id="141 million"),
        pytest.param(9_000_000_000, 1, id="9 billion"),
    ],
)
def test_a_large_network_reads_a_character_less_often(weights: int, expected: int) -> None:
    assert repetitions_for(weights) == expected


@pytest.mark.parametrize(
    ("most", "is_at_rest"),
    [pytest.param(1, False, id="once"), pytest.param(3000, True, id="often")],
)
def test_a_character_is_repeated_at_most_so_often(most: int, is_at_rest: bool) -> None:
    assert repeat_character(network([[0.99]]), 0, np.ones((1, 1)), most=most)[1].tolist() == [
        is_at_rest
    ]


def test_the_path_is_that_of_the_principal_components_of_all_layers() -> None:
    parameters = random_parameters(layers=2, units=3, scale=0.5)
    found = find_fixed_points(parameters, IDS, states_of(parameters, IDS))
    states = np.concatenate(states_of(parameters, IDS), 1).astype(np.float64)
    sizes, vectors = np.linalg.eigh(np.cov(states.T))
    assert found.shares == pytest.approx((sizes[-1] / sizes.sum(), sizes[-2] / sizes.sum()))
    expected = (states - states.mean(0)) @ vectors[:, [-1, -2]]
    np.testing.assert_allclose(np.abs(found.path), np.abs(expected), atol=1e-9)
    assert (found.positions, found.counted) == (Sample(1, 300, 300), Sample(1, 300, 300))
    assert found.starts == (150, 225, 300)
