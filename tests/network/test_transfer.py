"""The weights of a model for another vocabulary."""

import numpy as np
import pytest
from conftest import RandomParameters
from numpy.typing import NDArray

from charlm.network.transfer import NOISE, match_ids, transfer
from charlm.text.vocabulary import Vocabulary

KNOWN = Vocabulary("char", ("a", "b", "c", None, None), unknown_id=3, end_of_text_id=4)
OTHER = Vocabulary("char", (None, "c", "x", "a"), end_of_text_id=0)


def counts(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def test_characters_and_reserved_ids_are_matched_by_what_they_are() -> None:
    assert match_ids(KNOWN, OTHER).tolist() == [4, 2, -1, 0]
    assert match_ids(OTHER, KNOWN).tolist() == [3, -1, 1, -1, 0]


@pytest.mark.parametrize("skip_connections", [False, True])
@pytest.mark.parametrize("embedding", [None, 3])
def test_a_model_predicts_known_characters_as_before(
    random_parameters: RandomParameters, embedding: int | None, skip_connections: bool
) -> None:
    parameters = random_parameters(layers=2, embedding=embedding, skip_connections=skip_connections)
    order = np.array([2, 0, 4, 1, 3])
    ids = np.array([[0, 1, 2, 3, 4, 2, 1]]).T
    moved = transfer(parameters, order, np.ones(5, np.int64), seed=0)
    expected, _ = parameters.unroll(order[ids], parameters.zero_state(1))
    logits, _ = moved.unroll(ids, moved.zero_state(1))
    np.testing.assert_allclose(logits, expected[..., order], atol=1e-5)


def test_rows_of_new_ids_scatter_around_the_mean_of_the_known_ones(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(units=300)
    matched = np.array([0, 1, 2, 3, 4, *40 * [-1]])
    child = transfer(parameters, matched, np.ones(45, np.int64), seed=0)
    for table, rows in (
        (parameters.layers[0].kernel, child.layers[0].kernel[5:]),
        (parameters.logits_kernel.T, child.logits_kernel.T[5:]),
    ):
        deviations = (rows - table.mean(0)) / table.std(0)
        assert deviations.mean() == pytest.approx(0, abs=0.01)
        assert deviations.std() == pytest.approx(NOISE, rel=0.05)


def test_a_new_id_has_the_bias_of_a_known_one_that_is_as_frequent(random_parameters: RandomParameters) -> None:
    """If every known bias is a constant above the logarithm of its frequency, so is that of a new id."""
    numbers = counts(1, 5, 9, 30, 2, 9)
    parameters = random_parameters()
    parameters.logits_bias[...] = np.log((numbers[:5] + 1) / (56 + 6)) + 3
    child = transfer(parameters, np.array([0, 1, 2, 3, 4, -1]), numbers, seed=0)
    assert child.logits_bias[5] == pytest.approx(child.logits_bias[2], abs=1e-5)


def test_a_text_without_known_characters_gets_the_logarithms_of_its_frequencies(
    random_parameters: RandomParameters,
) -> None:
    child = transfer(random_parameters(), np.array([-1, -1]), counts(1, 2), seed=0)
    np.testing.assert_allclose(child.logits_bias, np.log([2 / 5, 3 / 5]), rtol=1e-6)
