"""Fixed points of networks whose dynamics are known."""

import math
from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of
from models import as_model, one_layer_of, random_parameters
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.inspection.fixed_points import (
    FixedPoints,
    RepeatedCharacter,
    find_fixed_points,
    make_fixed_points,
    repeat_character,
    repetitions_for,
)
from charlm.inspection.reading import Limits, Reading
from charlm.inspection.section import Content, Sample
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary

IDS = np.random.default_rng(0).choice(5, 450, p=[0.1, 0.4, 0.3, 0.15, 0.05])


def repeated(
    parameters: Parameters,
    ids: NDArray[Any],
    character: int,
) -> RepeatedCharacter:
    """Return the results for one of the most common characters of a text."""
    results = find_fixed_points(parameters, ids, states_of(parameters, ids))
    return next(held for held in results.held if held.id == character)


# A network of a single unit


def switch(v: float) -> Parameters:
    """Return a unit that character 1 turns on, 2 turns off, and 0 updates by h = tanh(v h)."""
    return one_layer_of([[0], [5], [-5]], [[v]], [[1, 2, -3]])


SWITCHED = np.array([1, 0, 0, 2, 0, 0, 1, 0, 0, 2, 0, 0])


def test_both_states_of_a_switch_are_stable() -> None:
    held = repeated(switch(2), SWITCHED, 0)
    h = 0.95750402  # h = tanh(2 h), by bisection
    radii = [point.spectral_radius for point in held.points]
    assert radii == pytest.approx([2 * (1 - h**2)] * 2, rel=1e-5)
    assert {point.likeliest[0][0] for point in held.points} == {1, 2}


def test_the_point_that_most_starts_reach_comes_first() -> None:
    held = repeated(switch(2), SWITCHED, 0)
    assert (held.starts, held.at_rest) == (3, 3)
    assert [point.starts for point in held.points] == [2, 1]


def test_the_points_of_a_switch_have_places_on_its_path() -> None:
    (outputs,) = states_of(switch(2), SWITCHED)
    mean = outputs.mean(dtype=np.float64)
    held = repeated(switch(2), SWITCHED, 0)
    places = sorted(abs(point.place[0]) for point in held.points)
    expected = sorted([abs(0.95750402 - mean), abs(-0.95750402 - mean)])
    assert places == pytest.approx(expected, abs=1e-6)


def test_the_path_of_a_single_unit_is_a_line() -> None:
    results = find_fixed_points(switch(2), SWITCHED, states_of(switch(2), SWITCHED))
    assert results.shares == (1, 0)
    assert not results.path[:, 1].any()


# A stack


@pytest.mark.parametrize("skip_connections", [False, True], ids=["plain", "skips"])
def test_the_spectral_radius_is_the_radius_of_the_whole_jacobian(skip_connections: bool) -> None:
    parameters = random_parameters(layers=2, units=3, skip_connections=skip_connections, scale=0.5)
    held = repeated(parameters, IDS, 2)
    ids = np.full((500, 7), 2)
    _, fixed_point = parameters.unroll(ids, parameters.zero_state(7))
    nudged = [layer.astype(np.float64) for layer in fixed_point]
    for unit in range(6):
        layer, column = divmod(unit, 3)
        nudged[layer][1 + unit, column] += 1e-5
    logits, after = parameters.cast(np.float64).step(ids[0], tuple(nudged))
    states = np.concatenate(after, 1)
    jacobian = (states[1:] - states[0]) / 1e-5
    expected = np.abs(np.linalg.eigvals(jacobian)).max()
    assert held.points[0].spectral_radius == pytest.approx(expected, rel=1e-3)
    probabilities = np.exp(logits[0]) / np.exp(logits[0]).sum()
    likeliest = np.argsort(-probabilities)[:3]
    expected_next = [*zip(likeliest, probabilities[likeliest], strict=True)]
    np.testing.assert_allclose(held.points[0].likeliest, expected_next, rtol=1e-4)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        pytest.param(IDS, [1, 2, 3], id="a text"),
        pytest.param(np.array([3]), [3], id="a single character"),
    ],
)
def test_the_most_common_characters_are_repeated(ids: NDArray[Any], expected: list[int]) -> None:
    parameters = random_parameters()
    results = find_fixed_points(parameters, ids, states_of(parameters, ids))
    assert [held.id for held in results.held] == expected


def test_a_layer_that_is_too_wide_is_refused() -> None:
    with pytest.raises(CharlmError, match="a layer has 1,025 units"):
        find_fixed_points(random_parameters(units=1025), IDS, ())


# Repetitions


def network(kernel: Any, activation: str = "linear") -> Parameters:
    """Return a layer in float64, h = f(h V), whose only character has no weight."""
    units = len(kernel)
    parameters = one_layer_of(
        np.zeros((1, units)), kernel, np.zeros((units, 1)), activation=activation
    )
    return parameters.cast(np.float64)


def rotation(angle: float, *, factor: float = 1) -> Parameters:
    """Return two linear units whose state is rotated, then multiplied by a factor."""
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
    parameters: Parameters,
    start: list[float],
    is_at_rest: bool,
) -> None:
    with np.errstate(all="ignore"):
        _, at_rest = repeat_character(parameters, 0, np.array([start]))
    assert at_rest.tolist() == [is_at_rest]


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
    [(1, False), (1604, False), (1605, True), (3000, True)],
)
@pytest.mark.parametrize("end", [0, 999])
def test_a_state_is_at_rest_if_it_changes_by_a_billionth(
    end: float,
    most: int,
    is_at_rest: bool,
) -> None:
    """The change of step n is 0.01 * 0.99^(n - 1) of the first distance from the end."""
    parameters = one_layer_of([[end / 100]], [[0.99]], [[0]], activation="linear").cast(np.float64)
    start = np.array([[end + 1 + end]])
    _, at_rest = repeat_character(parameters, 0, start, most=most)
    assert at_rest.tolist() == [is_at_rest]


# The path of the text


@pytest.fixture(scope="module")
def stack() -> tuple[FixedPoints, NDArray[np.float64]]:
    """Return the results for a stack, with its states after each character."""
    parameters = random_parameters(layers=2, units=3, scale=0.5)
    outputs = states_of(parameters, IDS)
    states = np.concatenate(outputs, 1).astype(np.float64)
    return find_fixed_points(parameters, IDS, outputs), states


def test_the_path_has_the_principal_components_of_all_layers(
    stack: tuple[FixedPoints, NDArray[np.float64]],
) -> None:
    results, states = stack
    states = states[:400]
    variances, vectors = np.linalg.eigh(np.cov(states.T))
    shares = variances / variances.sum()
    expected = (states - states.mean(0)) @ vectors[:, [-1, -2]]
    assert results.shares == pytest.approx((shares[-1], shares[-2]))
    np.testing.assert_allclose(np.abs(results.path), np.abs(expected), atol=1e-9)


def test_the_results_have_their_positions(
    stack: tuple[FixedPoints, NDArray[np.float64]],
) -> None:
    results, _ = stack
    assert results.positions == Sample(1, 400, 400)
    assert results.counted == Sample(1, 450, 450)
    assert results.starts == (225, 337, 450)


# The page


def content_of(parameters: Parameters, ids: NDArray[Any]) -> Content:
    """Return the section of a report on a network whose characters are a, b and c."""
    trained = as_model(parameters, Vocabulary(("a", "b", "c")))
    return make_fixed_points(Reading("run", trained, "text", ids, Limits(400, 400, 20)))


def test_a_state_that_never_changes_has_no_variance() -> None:
    content = content_of(one_layer_of(np.zeros((3, 1)), [[0]], [[1, 2, 3]]), SWITCHED)
    assert content.figure is not None
    assert content.figure.caption.endswith("characters. The state is always the same.")


def test_the_table_has_a_row_for_each_point() -> None:
    table = content_of(switch(2), np.array([1, 0, 0, 0, 2, 0, 0, 0])).table
    assert table is not None
    columns = dict(table.columns)
    radii = [0.16637, 0.16637, 8 * math.exp(-14), 8 * math.exp(-14)]  # 1 - tanh(x)^2 is 4 e^(-2x)
    assert columns.pop("radius") == pytest.approx(radii, rel=1e-4)
    assert columns == {
        "character repeated": ["a", "a", "b", "c"],
        "starting states that lead here": ["2 of 3", "1 of 3", "3 of 3", "3 of 3"],
        "expects next": [
            "c (97%)  a (2%)  b (1%)",
            "b (72%)  a (28%)  c (1%)",
            "b (73%)  a (27%)  c (0%)",
            "c (98%)  a (2%)  b (1%)",
        ],
    }


@pytest.fixture(scope="module")
def alternating() -> Content:
    """Return the section on a unit whose sign changes at each step."""
    return content_of(switch(-3), np.array([1, 0, 0, 0]))


def test_a_unit_with_a_strong_negative_weight_has_no_stable_point(alternating: Content) -> None:
    held = alternating.data.held[0]
    assert (held.id, held.starts, held.at_rest, held.points) == (0, 3, 0, ())


def test_the_table_has_a_row_for_a_character_without_a_point(alternating: Content) -> None:
    assert alternating.table is not None
    assert alternating.table.rows[0] == ("a", "0 of 3", None, "does not come to rest")
