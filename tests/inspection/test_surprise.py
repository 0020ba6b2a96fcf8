"""The surprise of a text, what was likelier, and which characters decided it."""

import json
import re
from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, traced

from charlm.evaluation.scoring import score_stream
from charlm.inspection.surprise import list_characters, predict, reader
from charlm.network.rnn import parameters_from_tensors


def test_nats_are_those_of_the_evaluation(random_parameters: RandomParameters) -> None:
    parameters, ids = random_parameters(layers=2), random_ids(50, ids=5)
    found = predict(traced(parameters, ids))
    np.testing.assert_allclose(found.nats, np.concatenate([*score_stream(parameters, ids)]), atol=1e-5)
    assert found.ids.tolist() == ids[1:].tolist()


def test_the_likeliest_characters_are_sorted_with_their_probabilities(random_parameters: RandomParameters) -> None:
    parameters, ids = random_parameters(vocabulary_size=7), random_ids(9, ids=7)
    found = predict(traced(parameters, ids))
    logits, _ = reference.read(parameters, ids.tolist())
    for row, guesses, chances in zip(logits, found.likeliest, found.probabilities, strict=False):
        expected = sorted(np.exp(row) / np.exp(row).sum(), reverse=True)[:5]
        np.testing.assert_allclose(chances, expected, rtol=1e-6)
        assert guesses.tolist() == np.argsort(-row)[:5].tolist()


@pytest.mark.parametrize("skip_connections", [False, True])
def test_the_influence_is_the_gradient_by_the_input(
    random_parameters: RandomParameters, *, skip_connections: bool
) -> None:
    """Each character occurs once, so that a change of its embedding is a change of one x_s."""
    parameters = random_parameters(
        vocabulary_size=7, layers=2, embedding=3, skip_connections=skip_connections, scale=0.6
    )
    ids = [4, 0, 6, 2, 1, 3]
    found = predict(traced(parameters, np.array(ids)), lags=5).influence[-1]

    def loss(row: int, column: int, step: float) -> float:
        tensors: dict[str, Any] = {name: tensor.astype(np.float64) for name, tensor in parameters.tensors().items()}
        tensors["embedding"][row, column] += step
        changed = parameters_from_tensors(tensors, activation="tanh", skip_connections=skip_connections)
        return reference.nats(changed, ids)[-1]

    slopes = [[(loss(row, at, 1e-5) - loss(row, at, -1e-5)) / 2e-5 for at in range(3)] for row in ids[4::-1]]
    expected = np.linalg.norm(slopes, axis=1)
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-7)


def test_nothing_before_the_text_has_influence() -> None:
    found = predict(traced(one_layer(np.eye(3)), random_ids(12)), lags=8)
    assert (found.influence[0, 1:] == 0).all()
    assert (found.influence[:, 0] > 0).all()


def test_the_page_has_the_numbers_of_the_json_and_colours_each_character_by_its_nats(
    random_parameters: RandomParameters,
) -> None:
    vocabulary = (*tuple("ab<\n"), None)
    predictions = predict(traced(random_parameters(scale=2.0), random_ids(50, ids=5)))
    characters, page = list_characters(predictions, vocabulary), reader(predictions, vocabulary)
    levels = [int(level or 0) for level in re.findall(r'<span(?: class="l(\d)")? title', page)]
    assert levels == [min(9, int(each["nats"] / 0.75)) for each in characters]
    data = json.loads(page.partition('<script type="application/json">')[2].partition("</script>")[0])
    assert data["nats"] == pytest.approx([each["nats"] for each in characters], rel=1e-6)
    assert data["labels"] == ["a", "b", "<", "↵", "□"]
    for i, each in enumerate(characters):
        assert each["position"] == i + 1
        assert each["character"] == vocabulary[data["ids"][i]]
        assert [guess["character"] for guess in each["likeliest"]] == [
            vocabulary[index] for index in data["likeliest"][i]
        ]
        assert [int(level) for level in data["influence"][i]] == np.rint(9 * np.array(each["influence"])).tolist()
