"""The map of the characters, for weights in which the characters have known places."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from charlm.inspection.characters import map_characters, map_kind
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

RandomParameters = Callable[..., Parameters]
IDS = np.array([1, 1, 1, 2, 2, 0])


def test_characters_with_rows_on_a_line_lie_on_a_line(
    random_parameters: RandomParameters, vocabulary: Vocabulary
) -> None:
    parameters = random_parameters(units=3)
    kernel = np.outer([0, 1, 2, 5, 7], [3, 4, 0]).astype(np.float32)
    layer = Layer(kernel, parameters.layers[0].recurrent_kernel, np.ones(3, np.float32))
    found = map_characters(replace(parameters, layers=(layer,)), IDS, vocabulary)
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
    found = map_characters(parameters, IDS, vocabulary)
    kernel = parameters.layers[0].kernel
    rows = kernel if parameters.embedding is None else parameters.embedding @ kernel
    for vectors, points in ((rows, found.by_input.points), (parameters.logits_kernel.T, found.by_output.points)):
        for i, j in ((0, 1), (2, 4)):  # two dimensions lose nothing
            assert np.linalg.norm(points[i] - points[j]) == pytest.approx(np.linalg.norm(vectors[i] - vectors[j]))


def test_of_a_large_vocabulary_the_commonest_characters_are_placed(
    random_parameters: RandomParameters, vocabulary: Vocabulary
) -> None:
    found = map_characters(random_parameters(), IDS, vocabulary, max_characters=2)
    assert found.ids.tolist() == [1, 2]
    assert found.by_output.points.shape == (2, 2)


def test_a_vocabulary_of_one_character_is_placed_at_the_origin(random_parameters: RandomParameters) -> None:
    one = Vocabulary(level="char", characters=("\x1b",))
    found = map_characters(random_parameters(vocabulary_size=1), np.zeros(3, int), one)
    assert found.by_input.points.tolist() == [[0, 0]]
    assert found.kinds == ("other",)


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
