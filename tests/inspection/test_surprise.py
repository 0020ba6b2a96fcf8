"""The surprise of a text, what was likelier, and which characters decided it."""

import re
from typing import Any

import numpy as np
import pytest
import reference
from conftest import RandomParameters
from inspection.networks import one_layer, random_ids, traced
from inspection.reports import CHARACTERS, report

from charlm.evaluation.scoring import score_stream
from charlm.inspection.report import to_json
from charlm.inspection.surprise import predict, reader, reader_data
from charlm.network.rnn import parameters_from_tensors


def test_nats_are_those_of_the_evaluation(random_parameters: RandomParameters) -> None:
    parameters, ids = random_parameters(layers=2), random_ids(50, ids=5)
    found = predict(traced(parameters, ids))
    np.testing.assert_allclose(found.nats, np.concatenate([*score_stream(parameters, ids)]), atol=1e-5)
    assert found.positions.tolist() == [*range(1, 50)]
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


def test_a_character_is_coloured_by_its_nats() -> None:
    found = report().get("surprise")
    text = reader(found, CHARACTERS, 0).split('role="group"')[1].split("</p>")[0]
    levels = [int(level or 0) for level in re.findall(r'<span(?: class="l(\d)")? title', text)]
    assert levels == [min(9, int(nats / 0.75)) for nats in found.nats]


def test_the_data_of_the_reader_are_the_numbers_of_the_report() -> None:
    found = report().get("surprise")
    data = reader_data(found)
    characters = to_json(report())["surprise"]
    assert data["nats"] == [each["nats"] for each in characters]
    assert data["probabilities"] == [[guess["probability"] for guess in each["likeliest"]] for each in characters]
    assert [[CHARACTERS[index] for index in row] for row in data["likeliest"]] == [
        [guess["character"] for guess in each["likeliest"]] for each in characters
    ]
    assert [data["positions"][0], data["positions"][-1]] == [1, len(found.nats)]
    assert [int(level) for level in data["influence"][2]] == np.rint(9 * found.influence[2]).tolist()
