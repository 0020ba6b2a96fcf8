"""States: how they are spread; and characters with known places."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from conftest import RandomParameters

from charlm.errors import CharlmError
from charlm.inspection.states import (
    Saturation,
    fit_plane,
    map_characters,
    map_kind,
    measure_saturation,
    participation_ratio,
    read_states,
)
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

SHORT = np.array([0, 3, 1, 4, 2, 2, 0])


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("embedding", [None, 3])
def test_outputs_and_logits_are_those_of_single_steps(
    random_parameters: RandomParameters, embedding: int | None, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=3, embedding=embedding, skip_connections=skip_connections)
    outputs = read_states(parameters, SHORT)
    logits = parameters.logits(outputs)
    state = parameters.zero_state(1)
    for time, index in enumerate(SHORT):
        expected, state = parameters.step(np.array([index]), state)
        for output, single in zip(outputs, state, strict=True):
            np.testing.assert_allclose(output[time], single[0], atol=1e-5)
        np.testing.assert_allclose(logits[time], expected[0], atol=1e-4)


def test_outputs_that_are_not_finite_are_refused(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(activation="linear", scale=1e15)
    with pytest.raises(CharlmError, match="not finite"):
        read_states(parameters, SHORT)


IDS = np.random.default_rng(0).integers(0, 5, 300)


def saturation_of(parameters: Parameters, ids: np.ndarray) -> Saturation:
    return measure_saturation(read_states(parameters, ids), parameters.activation)


def one_layer(parameters: Parameters, kernel: Sequence[Sequence[float]]) -> Parameters:
    """Return a network of one layer without memory: h_t = f(the row of the character)."""
    units = len(kernel[0])
    layer = Layer(np.array(kernel, np.float32), np.zeros((units, units), np.float32), None)
    return replace(parameters, layers=(layer,), logits_kernel=np.zeros((units, 5), np.float32))


def test_saturated_outputs_and_units_are_counted(random_parameters: RandomParameters) -> None:
    kernel: list[list[float]] = [[9.0, 0.1], [-9, 0.1], [9, 9], [9, 0.1], [9, 0.1]]
    found = saturation_of(one_layer(random_parameters(), kernel), IDS)
    (layer,) = found.layers
    assert found.positions == 300
    assert layer.saturated_share == pytest.approx((300 + np.sum(IDS == 2)) / 600)
    assert layer.always_saturated_units == 1
    assert layer.dead_units is None
    assert layer.counts.sum() == 600
    assert layer.counts[0] == np.sum(IDS == 1)
    assert layer.edges[[0, -1]].tolist() == [-1, 1]


@pytest.mark.parametrize(("activation", "border"), [("tanh", 0.9), ("sigmoid", 0.95), ("softsign", 0.5641)])
def test_an_output_is_saturated_by_its_slope(activation: str, border: float) -> None:
    """The largest slope of sigmoid is 1/4, and h(1 - h) is 0.19 of it at 0.05 and 0.95."""
    outputs = np.array([[border + 1e-3, border - 1e-3]], np.float32)
    mirrored = 1 - outputs if activation == "sigmoid" else -outputs
    found = measure_saturation((np.concatenate([outputs, mirrored]),), activation)
    assert found.borders is not None
    assert found.borders[1] == pytest.approx(border, abs=1e-4)
    assert (found.layers[0].saturated_share, found.layers[0].always_saturated_units) == (0.5, 1)


def test_a_dead_unit_is_one_that_is_0_at_every_position(random_parameters: RandomParameters) -> None:
    kernel: list[list[float]] = [[-1.0, -1, 2], [-2, -1, 2], [-3, 1, 2], [0, -1, 2], [-5, -1, 2]]
    (layer,) = saturation_of(one_layer(random_parameters(activation="relu"), kernel), IDS).layers
    assert layer.dead_units == 1
    assert layer.saturated_share is layer.always_saturated_units is None
    assert layer.edges[[0, -1]].tolist() == [0, 2]


@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1, 0, 0, 0], [3, 2, 1, 0], [5, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("count", [3, 2000], ids=["few states", "many states"])
def test_participation_ratio_is_that_of_the_eigenvalues_of_the_covariance(scales: list[float], count: int) -> None:
    states = np.random.default_rng(0).standard_normal((count, 4)) * scales + 7
    eigenvalues = np.linalg.eigvalsh(np.cov(states.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(states) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(50, 6), (6, 50)], ids=["many vectors", "long vectors"])
def test_the_plane_is_that_of_the_two_largest_singular_values(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape) * np.linspace(1, 3, shape[1]) + 5
    _, sizes, directions = np.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    plane = fit_plane(vectors)
    np.testing.assert_allclose(np.abs(plane.axes @ directions[:2].T), np.eye(2), atol=1e-9)
    assert plane.explained == pytest.approx(sizes[:2] ** 2 / (sizes**2).sum())
    np.testing.assert_allclose(plane.project(vectors).var(0) * len(vectors), sizes[:2] ** 2)


@pytest.mark.parametrize("vectors", [[[2.0, 3, 4]], [[2.0, 3, 4]] * 5], ids=["one vector", "equal vectors"])
def test_vectors_that_do_not_differ_all_lie_at_the_origin(vectors: list[list[float]]) -> None:
    plane = fit_plane(np.array(vectors))
    assert plane.explained == (0, 0)
    assert not plane.project(np.array(vectors)).any()


SOME = np.array([1, 1, 1, 2, 2, 0])


def test_characters_with_rows_on_a_line_lie_on_a_line(
    random_parameters: RandomParameters, vocabulary: Vocabulary
) -> None:
    parameters = random_parameters(units=3)
    kernel = np.outer([0, 1, 2, 5, 7], [3, 4, 0]).astype(np.float32)
    layer = Layer(kernel, parameters.layers[0].recurrent_kernel, np.ones(3, np.float32))
    found = map_characters(replace(parameters, layers=(layer,)), SOME, vocabulary)
    assert found.by_input.points[:, 0] == pytest.approx([-15, -10, -5, 10, 20])
    assert found.by_input.points[:, 1] == pytest.approx(0, abs=1e-5)
    assert found.by_input.explained == pytest.approx((1, 0))
    assert found.ids.tolist() == [0, 1, 2, 3, 4]
    assert found.counts.tolist() == [1, 3, 2, 0, 0]
    assert found.kinds == ("blank", "vowel", "consonant", "reserved", "reserved")


@pytest.mark.parametrize("embedding", [None, 2])
def test_distances_are_those_of_input_rows_and_output_columns(
    random_parameters: RandomParameters, vocabulary: Vocabulary, embedding: int | None
) -> None:
    parameters = random_parameters(units=2, embedding=embedding)
    found = map_characters(parameters, SOME, vocabulary)
    kernel = parameters.layers[0].kernel
    rows = kernel if parameters.embedding is None else parameters.embedding @ kernel
    for vectors, points in ((rows, found.by_input.points), (parameters.logits_kernel.T, found.by_output.points)):
        for i, j in ((0, 1), (2, 4)):  # two dimensions lose nothing
            assert np.linalg.norm(points[i] - points[j]) == pytest.approx(np.linalg.norm(vectors[i] - vectors[j]))


def test_of_a_large_vocabulary_the_commonest_characters_are_placed(
    random_parameters: RandomParameters, vocabulary: Vocabulary
) -> None:
    found = map_characters(random_parameters(), SOME, vocabulary, max_characters=2)
    assert found.ids.tolist() == [1, 2]
    assert found.by_output.points.shape == (2, 2)


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        *(("É", "vowel"), ("ß", "consonant"), ("7", "digit"), ("\u00a0", "blank"), ("!", "punctuation")),
        *(("\u202e", "other"), ("\u4e2d", "other"), ("\u0301", "other"), ("\x00", "other")),
    ],
    ids=ascii,
)
def test_any_character_has_a_kind(character: str, kind: str) -> None:
    assert map_kind(character) == kind
