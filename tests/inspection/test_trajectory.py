"""The path of the state through a sentence."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from charlm.inspection.states import read_states
from charlm.inspection.trajectory import follow_state
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

RandomParameters = Callable[..., Parameters]
LETTERS = Vocabulary(level="char", characters=tuple("\n !.abcdefgh"))
SENTENCE = "abcd efgh abcd efgh abcd efgh abcd!"


def test_the_first_whole_sentence_of_a_fair_length_is_followed(random_parameters: RandomParameters) -> None:
    text = "ab. cd.\n " + SENTENCE + "\nabc " * 40 + "."
    found = follow_state(random_parameters(vocabulary_size=12), LETTERS.encode(text), LETTERS)
    assert found.start == 9
    assert LETTERS.decode(found.ids) == SENTENCE
    assert len(found.points) == len(SENTENCE)


def test_points_are_the_states_seen_along_the_directions_of_most_variance(random_parameters: RandomParameters) -> None:
    parameters = random_parameters(vocabulary_size=12, layers=2, units=5)
    ids = LETTERS.encode((SENTENCE + " ") * 20)
    found = follow_state(parameters, ids, LETTERS, layer=0)
    states = read_states(parameters, ids)[0].astype(np.float64)
    _, _, directions = np.linalg.svd(states - states.mean(0), full_matrices=False)
    sentence = states[found.start : found.start + len(found.ids)] - states.mean(0)
    np.testing.assert_allclose(np.abs(found.points), np.abs(sentence @ directions[:2].T), atol=1e-5)
    assert len(found.background) <= 500
    assert found.layer == 0
    assert follow_state(parameters, ids, LETTERS).layer == 1


def test_a_network_without_memory_is_at_the_same_point_after_the_same_character(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters(vocabulary_size=12)
    layer = Layer(parameters.layers[0].kernel, np.zeros((4, 4), np.float32), None)
    found = follow_state(replace(parameters, layers=(layer,)), LETTERS.encode(SENTENCE * 3), LETTERS)
    for character in set(found.ids.tolist()):
        places = found.points[found.ids == character]
        np.testing.assert_allclose(places, np.broadcast_to(places[0], places.shape), atol=1e-6)


@pytest.mark.parametrize("text", ["a", ".", "...", " . . ", "abc" * 100, "." * 100])
def test_a_text_without_a_sentence_is_followed_from_its_beginning(
    random_parameters: RandomParameters, text: str
) -> None:
    found = follow_state(random_parameters(vocabulary_size=12), LETTERS.encode(text), LETTERS)
    assert found.start == 0
    assert LETTERS.decode(found.ids) == text[:120]
    assert np.isfinite(found.points).all()
