"""States: how they are spread; and characters with known places."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from conftest import RandomParameters
from inspection.networks import traced

from charlm.errors import CharlmError
from charlm.inspection.states import map_characters, measure_saturation, participation_ratio, project
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

IDS = np.random.default_rng(0).integers(0, 5, 300)


def one_layer(parameters: Parameters, kernel: Sequence[Sequence[float]]) -> Parameters:
    """Return a network of one layer without memory: h_t = f(the row of the character)."""
    units = len(kernel[0])
    layer = Layer(np.array(kernel, np.float32), np.zeros((units, units), np.float32), None)
    return replace(parameters, layers=(layer,), logits_kernel=np.zeros((units, 5), np.float32))


def test_saturated_outputs_and_units_are_counted(random_parameters: RandomParameters) -> None:
    kernel: list[list[float]] = [[9.0, 0.1], [-9, 0.1], [9, 9], [9, 0.1], [9, 0.1]]
    found = measure_saturation(traced(one_layer(random_parameters(), kernel), IDS))
    (layer,) = found.layers
    assert found.positions == 300
    assert layer.saturated_share == pytest.approx((300 + np.sum(IDS == 2)) / 600)
    assert layer.always_saturated_units == 1
    assert layer.counts.sum() == 600
    assert layer.counts[0] == layer.saturated_counts[0] == np.sum(IDS == 1)
    assert layer.saturated_counts.sum() == 300 + np.sum(IDS == 2)


@pytest.mark.parametrize(("activation", "border"), [("tanh", 0.9), ("sigmoid", 0.95), ("softsign", 0.5641)])
def test_an_output_is_saturated_by_its_slope(
    random_parameters: RandomParameters, activation: str, border: float
) -> None:
    """The largest slope of sigmoid is 1/4, and h(1 - h) is 0.19 of it at 0.05 and 0.95."""
    inverse: dict[str, Callable[[float], float]] = {
        "tanh": np.arctanh,
        "sigmoid": lambda h: np.log(h / (1 - h)),
        "softsign": lambda h: h / (1 - h),
    }
    rows = [[float(inverse[activation](border + shift)) for shift in (1e-3, -1e-3)]] * 5
    (layer,) = measure_saturation(traced(one_layer(random_parameters(activation=activation), rows), IDS)).layers
    assert (layer.saturated_share, layer.always_saturated_units) == (0.5, 1)


def test_outputs_that_are_not_finite_are_refused(random_parameters: RandomParameters) -> None:
    with pytest.raises(CharlmError, match="not finite"), np.errstate(all="ignore"):
        measure_saturation(traced(random_parameters(activation="linear", scale=1e60), IDS))


@pytest.mark.parametrize("scales", [[1, 1, 1, 1], [1, 0, 0, 0], [3, 2, 1, 0], [5, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("count", [3, 2000], ids=["few states", "many states"])
def test_participation_ratio_is_that_of_the_eigenvalues_of_the_covariance(scales: list[float], count: int) -> None:
    states = np.random.default_rng(0).standard_normal((count, 4)) * scales + 7
    eigenvalues = np.linalg.eigvalsh(np.cov(states.T))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert participation_ratio(states) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(50, 6), (6, 50)], ids=["many vectors", "long vectors"])
def test_a_projection_keeps_the_two_largest_shares_of_the_variance(shape: tuple[int, int]) -> None:
    vectors = np.random.default_rng(0).standard_normal(shape) * np.linspace(1, 3, shape[1]) + 5
    variances = np.sort(np.linalg.eigvalsh(np.cov(vectors.T)))[::-1]
    found = project(vectors)
    assert found.explained == pytest.approx(variances[:2] / variances.sum())
    np.testing.assert_allclose(np.cov(found.points.T), np.diag(variances[:2]), atol=1e-9)


@pytest.mark.parametrize("vectors", [[[2.0, 3, 4]], [[2.0, 3, 4]] * 5], ids=["one vector", "equal vectors"])
def test_vectors_that_do_not_differ_all_lie_at_the_origin(vectors: list[list[float]]) -> None:
    found = project(np.array(vectors))
    assert found.explained == (0, 0)
    assert not found.points.any()


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
    assert found.kinds == ("line break", "vowel", "lower case", "reserved", "reserved")


def test_of_a_large_vocabulary_the_commonest_characters_are_placed(
    random_parameters: RandomParameters, vocabulary: Vocabulary
) -> None:
    found = map_characters(random_parameters(), SOME, vocabulary, max_characters=2)
    assert found.ids.tolist() == [1, 2]
    assert found.by_output.points.shape == (2, 2)
