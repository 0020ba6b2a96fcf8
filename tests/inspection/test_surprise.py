"""The surprise of each character: its loss, the alternatives, and earlier characters behind it."""

from typing import Any

import numpy as np
import pytest
import reference
from inspection.networks import one_layer, random_ids, traced
from models import random_parameters

from charlm.core.rnn import Parameters
from charlm.inspection.surprise import (
    Predictions,
    list_characters,
    predict,
)


def test_the_nats_equal_the_definition() -> None:
    parameters = random_parameters(vocabulary_size=7, layers=2)
    ids = random_ids(20, ids=7)
    predictions = predict(traced(parameters, ids), CHARACTERS)
    assert predictions.ids.tolist() == ids[1:].tolist()
    expected = reference.nats(parameters, ids.tolist())
    np.testing.assert_allclose(predictions.nats, expected, atol=1e-5)


def test_the_likeliest_characters_have_the_highest_probabilities() -> None:
    parameters = random_parameters(vocabulary_size=7, layers=2)
    ids = random_ids(20, ids=7)
    predictions = predict(traced(parameters, ids), CHARACTERS)
    logits, _ = reference.read(parameters, ids.tolist())
    for step, row in enumerate(logits[:-1]):
        probabilities = np.exp(row) / np.exp(row).sum()
        likeliest = np.argsort(-row)[:5]
        assert predictions.likeliest[step].tolist() == likeliest.tolist()
        shown = predictions.probabilities[step]
        np.testing.assert_allclose(shown, probabilities[likeliest], rtol=1e-6)


def loss_with_embedding(
    parameters: Parameters,
    ids: list[int],
    place: tuple[int, int],
    step: float,
) -> float:
    """Return the loss of the last id if a value of the embedding is changed."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in parameters.tensors.items()}
    tensors["embedding"][place] += step
    changed: Any = tensors
    return reference.nats(Parameters(parameters.architecture, changed), ids)[-1]


@pytest.mark.parametrize("skip_connections", [False, True], ids=["plain", "skips"])
def test_the_influence_is_the_gradient_with_respect_to_the_input(skip_connections: bool) -> None:
    """Each character occurs once, so a change of its embedding changes a single input."""
    parameters = random_parameters(
        vocabulary_size=7, scale=0.6, layers=2, embedding=3, skip_connections=skip_connections
    )
    ids = [4, 0, 6, 2, 1, 3]
    sizes = []
    for row in ids[4::-1]:
        gradient = []
        for column in range(3):
            higher = loss_with_embedding(parameters, ids, (row, column), 1e-5)
            lower = loss_with_embedding(parameters, ids, (row, column), -1e-5)
            gradient.append((higher - lower) / 2e-5)
        sizes.append(np.linalg.norm(gradient))
    influence = predict(traced(parameters, np.array(ids)), CHARACTERS).influence[-1, :5]
    np.testing.assert_allclose(influence, np.array(sizes) / max(sizes), atol=1e-7)


@pytest.fixture(scope="module")
def halving() -> Predictions:
    """Return the predictions of a unit that halves its state, on a text of 300 characters."""
    parameters = one_layer(np.array([[0.5]]))
    parameters.layers[0].kernel[...] = [[1], [-1], [1]]
    return predict(traced(parameters, random_ids(300)), CHARACTERS)


def test_the_influence_on_a_long_text_is_that_of_the_last_32_characters(
    halving: Predictions,
) -> None:
    expected = np.tril(np.ones((299, 299)))[:, :32] * 0.5 ** np.arange(32)
    np.testing.assert_allclose(halving.influence, expected, rtol=1e-9)


def test_an_influence_has_four_decimals_in_the_json(halving: Predictions) -> None:
    character = list_characters(halving)[40]
    assert character["influence"][:7].tolist() == [1, 0.5, 0.25, 0.125, 0.0625, 0.0312, 0.0156]


def test_without_a_gradient_no_character_has_an_influence() -> None:
    parameters = random_parameters()
    parameters.logits_kernel[...] = 0
    assert not predict(traced(parameters, random_ids(9)), CHARACTERS).influence.any()


# The page

CHARACTERS = ("a", "b", "<", "\n", None)


@pytest.fixture(scope="module")
def predictions() -> Predictions:
    """Return the predictions of a text of 50 characters."""
    return predict(traced(random_parameters(scale=2.0), random_ids(50, ids=5)), CHARACTERS)


@pytest.fixture(scope="module")
def characters(predictions: Predictions) -> list[dict[str, Any]]:
    """Return the characters of the text in the JSON of a report."""
    return list_characters(predictions)


def test_the_json_has_the_characters_of_the_text_from_the_second_on(
    predictions: Predictions,
    characters: list[dict[str, Any]],
) -> None:
    expected = [CHARACTERS[index] for index in predictions.ids]
    assert [character["character"] for character in characters] == expected
    assert [character["position"] for character in characters] == [*range(2, 51)]
    guess = characters[0]["likeliest"][1]
    assert guess["character"] == CHARACTERS[predictions.likeliest[0, 1]]
    assert guess["probability"] == predictions.probabilities[0, 1]
