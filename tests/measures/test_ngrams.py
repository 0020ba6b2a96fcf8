"""N-gram models, compared with the definition of interpolated modified Kneser-Ney."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import KneserNey

from charlm.measures import ngrams
from charlm.measures.ngrams import count_ngrams, predict_ngrams, score_ngrams

TEXTS = st.lists(st.integers(0, 3), max_size=60)


def expected_probabilities(training: list[int], text: list[int], order: int) -> list[list[float]]:
    """Return the probability of each of 4 ids at each position of a text."""
    definition = KneserNey(training, 4, order)
    contexts = [tuple(text[max(0, i - order + 1) : i]) for i in range(len(text))]
    return [[definition.probability(context, index) for index in range(4)] for context in contexts]


ORDERS = st.integers(1, 5)
BLOCKS = st.integers(1, 40)


@given(TEXTS, TEXTS, ORDERS, st.integers(0, 5), BLOCKS)
def test_predictions_equal_the_definition(
    training: list[int], text: list[int], order: int, first: int, block: int
) -> None:
    expected = expected_probabilities(training, text, order)
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    with mock.patch.object(ngrams, "BLOCK", block):
        blocks = [*predict_ngrams(model, np.array(text, np.uint8), first=first)]
    predictions = [row for rows in blocks for row in rows]
    np.testing.assert_allclose(predictions, expected[first:], rtol=1e-9)


@given(TEXTS, TEXTS, ORDERS, BLOCKS)
def test_losses_are_minus_the_logarithms_of_the_predictions(
    training: list[int], text: list[int], order: int, block: int
) -> None:
    ids = np.array(text, np.uint8)
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    with mock.patch.object(ngrams, "BLOCK", block):
        losses = [loss for part in score_ngrams(model, ids) for loss in part]
    predictions = [row for rows in predict_ngrams(model, ids, first=0) for row in rows]
    chosen = [row[index] for row, index in zip(predictions, text, strict=True)]
    np.testing.assert_allclose(losses, -np.log(chosen[1:]), rtol=1e-9)


def test_a_vocabulary_of_all_characters_does_not_overflow() -> None:
    size = 0x110000
    large = np.array([size - 1, size - 2, size - 1, size - 3] * 50, np.uint32)
    small = np.array([3, 2, 3, 1] * 50, np.uint8)
    large_losses = [*score_ngrams(count_ngrams(large, vocabulary_size=size), large)]
    small_losses = [*score_ngrams(count_ngrams(small, vocabulary_size=4), small)]
    expected = np.concatenate(small_losses)[-100:]
    assert np.concatenate(large_losses)[-100:] == pytest.approx(expected, abs=0.1)
