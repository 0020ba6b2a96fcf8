"""The features of a text that units can follow."""

import numpy as np
import pytest

from charlm.core.vocabulary import Vocabulary
from charlm.inspection.features import character_kind, features_of

APOSTROPHE = "\N{RIGHT SINGLE QUOTATION MARK}"


def features(text: str) -> dict[str, str]:
    """Return the values of each feature of a text, a digit for each character."""
    vocabulary = Vocabulary(characters=tuple(sorted(set(text))))
    return {
        feature.name: "".join(str(int(value)) for value in feature.values)
        for feature in features_of(vocabulary.encode(text), vocabulary)
    }


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("position in the line", "ab\n\nabc", "1200123"),
        ("position in the word", "I am don't", "1012012345"),
        ("inside a word", "don't 'go' 1\u0301", "1111100110000"),
        ("inside a word", f"d{APOSTROPHE}or {APOSTROPHE}", "111100"),
        ("upper case", "Ab CÉ", "10011"),
        ("digit", "a1 23", "01011"),
        ("heading before a colon", "MAN:\nHe said:\n\nA B:\nhi", "1110000000000001110000"),
        ("in quotes or brackets", '"ab" c “d"e”', "011000001110"),
        ("in quotes or brackets", '"a\n\n"b"', "0110010"),
        ("in quotes or brackets", "(a) [b(c", "01000111"),
        ("in quotes or brackets", "„a“ b", "01000"),
        ("vowel", "AbÉy", "1010"),
        ("vowel next", "bAbE", "1010"),
        ("end of a word next", "ab c.", "01010"),
        ("line break next", "ab\n\n", "0110"),
    ],
)
def test_a_feature_has_a_value_for_each_character(name: str, text: str, values: str) -> None:
    assert features(text)[name] == values


def test_features_that_do_not_vary_are_left_out() -> None:
    assert features("aaaa").keys() == {
        "position in the line",
        "position in the word",
        "vowel next",
        "end of a word next",
    }


def test_an_end_of_text_id_is_a_line_break(vocabulary: Vocabulary) -> None:
    values = {
        feature.name: feature.values.tolist()
        for feature in features_of(np.array([1, 1, 4, 2]), vocabulary)
    }
    assert values["position in the line"] == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("character", "kind"),
    [
        ("\x00", "other"),
        ("\u202e", "other"),
        ("\u0301", "other"),
        ("$", "other"),
        ("\u4e2d", "other letter"),
        ("\t", "space"),
        ("\u00a0", "space"),
        ("\u0663", "digit"),
        ("-", "punctuation"),
        (None, "end of text or unknown"),
    ],
    ids=ascii,
)
def test_any_character_has_a_kind(character: str | None, kind: str) -> None:
    assert character_kind(character) == kind
