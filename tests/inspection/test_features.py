"""Features of a text, marked by hand under a small text."""

import numpy as np
import pytest

from charlm.inspection.features import character_kind, features_of
from charlm.text.vocabulary import Vocabulary


def features(text: str) -> dict[str, str]:
    """Return the values of each feature of a text, a digit for each character."""
    characters = tuple(sorted(set(text)))
    vocabulary = Vocabulary(level="char", characters=characters)
    found = features_of(vocabulary.encode(text), vocabulary)
    return {feature.name: "".join(str(int(value)) for value in feature.values) for feature in found}


@pytest.mark.parametrize(
    ("name", "text", "marks"),
    [
        ("position in the line", "ab\n\nabc", "1200123"),
        ("position in the word", "I am don't", "1012012345"),
        ("inside a word", "don't 'go'", "1111100110"),
        ("upper case", "Ab CÉ", "10011"),
        ("digit", "a1 23", "01011"),
        ("inside a speaker's name", "MAN:\nHe said:\n\nA B:\nhi", "111000000000000" + "1110000"),
        ("in quotes or brackets", '"ab" c “d"e”', "011000001110"),
        ("in quotes or brackets", '"a\n\n"b"', "0110010"),
        ("in quotes or brackets", "(a) [b(c", "01000111"),
        ("vowel", "AbÉy", "1010"),
        ("vowel next", "bAbE", "1010"),
        ("end of a word next", "ab c.", "01010"),
        ("line break next", "ab\n\n", "0110"),
    ],
)
def test_a_feature_marks_the_characters_that_have_it(name: str, text: str, marks: str) -> None:
    assert features(text)[name] == marks


def test_features_that_do_not_vary_are_left_out() -> None:
    assert set(features("aaaa")) == {
        *("position in the line", "position in the word", "vowel next", "end of a word next"),
    }


def test_an_end_of_text_id_counts_as_a_line_break(vocabulary: Vocabulary) -> None:
    (found,) = (f for f in features_of(np.array([1, 1, 4, 2]), vocabulary) if f.name == "position in the line")
    assert found.values.tolist() == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        *(("\x00", "other"), ("\u202e", "other"), ("\u4e2d", "other letter"), ("\u0301", "other")),
        *(("\t", "blank"), ("\u00a0", "blank"), ("\u0663", "digit"), ("$", "other"), ("-", "punctuation")),
        (None, "reserved"),
    ],
    ids=ascii,
)
def test_any_character_has_a_kind(character: str | None, kind: str) -> None:
    assert character_kind(character) == kind
