"""Features of a text, marked by hand under a small text."""

from itertools import product

import numpy as np
import pytest

from charlm.inspection.features import character_kind, features_of, is_in_word
from charlm.inspection.units import associate, centred_ranks, chance_level, shift_within
from charlm.text.vocabulary import Vocabulary


def features(text: str) -> dict[str, str]:
    """Return the values of each feature of a text, a digit for each character."""
    characters = tuple(sorted(set(text)))
    vocabulary = Vocabulary(characters=characters)
    found = features_of(vocabulary.encode(text), vocabulary)
    return {feature.name: "".join(str(int(value)) for value in feature.values) for feature in found}


@pytest.mark.parametrize(
    ("name", "text", "marks"),
    [
        *(("position in the line", "ab\n\nabc", "1200123"), ("position in the word", "I am don't", "1012012345")),
        *(("inside a word", "don't 'go'", "1111100110"), ("upper case", "Ab CÉ", "10011"), ("digit", "a1 23", "01011")),
        ("heading before a colon", "MAN:\nHe said:\n\nA B:\nhi", "111000000000000" + "1110000"),
        ("in quotes or brackets", '"ab" c “d"e”', "011000001110"),
        *(("in quotes or brackets", '"a\n\n"b"', "0110010"), ("in quotes or brackets", "(a) [b(c", "01000111")),
        *(("vowel", "AbÉy", "1010"), ("vowel next", "bAbE", "1010"), ("end of a word next", "ab c.", "01010")),
        ("line break next", "ab\n\n", "0110"),
    ],
)
def test_a_feature_marks_the_characters_that_have_it(name: str, text: str, marks: str) -> None:
    assert features(text)[name] == marks


def test_features_that_do_not_vary_are_left_out_and_an_end_of_text_id_is_a_line_break(vocabulary: Vocabulary) -> None:
    assert {*features("aaaa")} == {"position in the line", "position in the word", "vowel next", "end of a word next"}
    (found,) = (f for f in features_of(np.array([1, 1, 4, 2]), vocabulary) if f.name == "position in the line")
    assert found.values.tolist() == [1, 2, 0, 1]
    marks = is_in_word("e\u0301a \u0301 हिन्दी")  # the marks of a letter are part of its word
    assert marks == [True] * 3 + [False] * 3 + [True] * 6


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


GROUPS = np.random.default_rng(1).integers(0, 3, 40)
FEATURE = (np.random.default_rng(2).random(40) < 0.4).astype(float)


def pairwise(values: np.ndarray, feature: np.ndarray, groups: np.ndarray) -> float:
    """Return 2 AUC - 1 over pairs in the same group."""
    wins = [
        np.sign(values[i] - values[j])
        for i, j in product(np.flatnonzero(feature), np.flatnonzero(feature == 0))
        if groups[i] == groups[j]
    ]
    return float(np.mean(wins))


def test_association_is_that_of_pairs_counted_one_by_one_or_the_correlation_of_the_ranks() -> None:
    outputs = np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)  # with ties
    for groups in (np.zeros(40, int), GROUPS):
        found = associate(centred_ranks(outputs, groups), groups, FEATURE[None], "yes/no")[:, 0]
        assert found == pytest.approx([pairwise(values, FEATURE, groups) for values in outputs], abs=1e-6)
    rng, groups = np.random.default_rng(3), np.zeros(30, int)
    values, feature = rng.random((2, 30)), rng.random(30)
    ranks = [np.argsort(np.argsort(row)) for row in (*values, feature)]
    found = associate(centred_ranks(values, groups), groups, feature[None], "number")[:, 0]
    assert found == pytest.approx([np.corrcoef(row, ranks[-1])[0, 1] for row in ranks[:-1]], abs=1e-6)


def test_a_shifted_feature_keeps_its_order_within_groups_and_never_lies_near_its_place() -> None:
    shifted = shift_within(np.arange(100.0), np.zeros(100, int), count=50, rng=np.random.default_rng(0))
    assert (np.diff(shifted, axis=1) % 100 == 1).all()
    assert 5 <= shifted[:, 0].min() < shifted[:, 0].max() <= 95
    groups, values = np.array([2, 0, 2, 2, 0, 2, 5]), np.array([1.0, 7, 2, 3, 8, 4, 9])
    shifted = shift_within(values, groups, count=40, rng=np.random.default_rng(0))
    found = [{tuple(row[groups == group]) for row in shifted} for group in (0, 2, 5)]
    assert found == [{(8, 7)}, {(2, 3, 4, 1), (3, 4, 1, 2), (4, 1, 2, 3)}, {(9,)}]


def test_chance_level_is_exceeded_by_one_variant_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    groups = np.zeros(200, int)
    ranked = centred_ranks(rng.random((5, 200)), groups), groups
    variants = (rng.random((1000, 200)) < 0.5).astype(float)
    best = np.abs(associate(*ranked, variants, "yes/no")).max(0)
    assert (best > chance_level(*ranked, variants, "yes/no")).sum() == 10
