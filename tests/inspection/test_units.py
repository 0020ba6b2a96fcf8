"""Features of a text, marked by hand, and units that follow them: a planted one is found, and noise is not."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of
from models import random_parameters

from charlm.inspection.features import Feature, character_kind, features_of, is_in_word
from charlm.inspection.units import (
    Units,
    associate,
    centred_ranks,
    chance_level,
    score_units,
    shift_within,
    units_table,
)
from charlm.network.rnn import Parameters
from charlm.text.vocabulary import Vocabulary

BRACKETS = Vocabulary(characters=tuple("\n ()abcdef"))


def bracketed_text(length: int = 1500) -> np.ndarray:
    """Return random letters with brackets round some of them."""
    rng = np.random.default_rng(0)
    pieces = ["".join(rng.choice(list("abcdef "), rng.integers(3, 12))) for _ in range(length // 8)]
    text = "".join(
        f"({piece})" if rng.random() < 0.3 else piece + "\n" * (rng.random() < 0.2)
        for piece in pieces
    )
    return BRACKETS.encode(text[:length])


def scores_of(parameters: Parameters, ids: np.ndarray, **settings: Any) -> Units:
    return score_units(states_of(parameters, ids), ids, BRACKETS, **settings)


def test_a_planted_unit_is_found_beyond_chance() -> None:
    """Unit 7 is switched on by ( and off by ), and keeps its value otherwise."""
    ids, parameters = bracketed_text(), random_parameters(vocabulary_size=10, units=12, scale=0.3)
    layer = parameters.layers[0]
    layer.kernel[:, 7], layer.recurrent_kernel[:, 7] = 0, 0
    layer.kernel[BRACKETS.encode("()"), 7] = 9, -9
    layer.recurrent_kernel[7, 7] = 4
    layer.bias[:] = 0
    features = [
        each
        for each in features_of(ids, BRACKETS)
        if each.name in {"in quotes or brackets", "inside a word"}
    ]
    units = scores_of(parameters, ids, features=features, shifts=50)
    (found,) = (feature for feature in units.features if feature.feature == "in quotes or brackets")
    best = found.best[0]
    assert (best.layer, best.unit, best.is_beyond_chance) == (0, 7, True)
    assert best.score > 0.9  # not 1: the unit is on at the opening bracket too, which is not inside
    assert best.strength_given_character == pytest.approx(1, abs=0.01)
    assert found.chance < 0.9


def test_no_unit_follows_a_random_feature_beyond_chance() -> None:
    rng = np.random.default_rng(8)
    labels = (rng.random((4, 1500)) < 0.3).astype(float)
    features = [Feature(f"random {index}", "yes/no", row) for index, row in enumerate(labels)]
    features.append(Feature("random number", "number", rng.random(1500)))
    parameters = random_parameters(vocabulary_size=10, layers=2, units=30, scale=0.2)
    units = scores_of(parameters, rng.integers(0, 10, 1500), features=features, shifts=50)
    assert [feature.units_beyond_chance for feature in units.features] == [0] * 5


def test_the_best_of_many_units_is_not_beyond_chance_on_the_few_pairs_that_one_character_leaves() -> (
    None
):
    """All characters but one decide the feature, so that 12 positions with it are compared with 60 without."""
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 10, 3000)
    ids[rng.choice(3000, 72, replace=False)] = 0
    values = (ids > 4).astype(float)
    values[np.flatnonzero(ids == 0)[:60:5]] = 1
    outputs = (
        rng.standard_normal((3000, 300)) + 0.5 * values[:, None],
    )  # they follow what the character explains
    units = score_units(
        outputs, ids, BRACKETS, features=[Feature("mostly explained", "yes/no", values)]
    )
    (found,) = units.features
    strongest = max(score.strength_given_character or 0 for score in found.best)
    assert found.chance_given_character is not None
    assert found.chance_given_character > 0.4
    assert strongest < 0.7
    assert found.units_beyond_chance is not None
    assert found.units_beyond_chance <= 3


def test_a_unit_that_only_tells_characters_apart_has_no_strength_given_the_character() -> None:
    parameters = random_parameters(vocabulary_size=10, units=5)
    layer = parameters.layers[0]
    layer.recurrent_kernel[:], layer.bias[:] = 0, 0
    units = scores_of(parameters, bracketed_text(), shifts=5)
    assert len(units.features) > 4
    given = {score.strength_given_character for feature in units.features for score in feature.best}
    assert given == {0, None}  # None if the character decides the feature
    assert not any(feature.units_beyond_chance for feature in units.features)


def test_where_the_character_decides_the_feature_chance_does_not_apply() -> None:
    ids = bracketed_text()
    is_vowel = np.isin(ids, BRACKETS.encode("ae")).astype(float)
    random = (np.random.default_rng(0).random(len(ids)) < 0.3).astype(float)
    features = [Feature("vowel", "yes/no", is_vowel), Feature("random", "yes/no", random)]
    units = scores_of(
        random_parameters(vocabulary_size=10, units=5), ids, features=features, shifts=5
    )
    decided, open_feature = units.features
    assert (decided.chance_given_character, decided.units_beyond_chance) == (None, None)
    assert {(unit.strength_given_character, unit.is_beyond_chance) for unit in decided.best} == {
        (None, None)
    }
    assert open_feature.units_beyond_chance == 0
    cells = units_table(units).columns
    assert cells["units beyond chance"] == [None, 0]


def test_a_short_text_and_a_feature_that_hardly_occurs_are_not_scored() -> None:
    ids = np.random.default_rng(0).integers(0, 10, 200)
    parameters = random_parameters(vocabulary_size=10)
    for length in (1, 199, 200):
        assert bool(scores_of(parameters, ids[:length], shifts=5).features) == (length == 200)
    for times in (9, 10):  # 18 or 20 characters in brackets
        units = scores_of(parameters, BRACKETS.encode("(ab)" * times + "abc def\n" * 50), shifts=5)
        found = {feature.feature for feature in units.features}
        assert "inside a word" in found
        assert ("in quotes or brackets" in found) == (times == 10)


# Features


def features(text: str) -> dict[str, str]:
    """Return the values of each feature of a text, a digit for each character."""
    characters = tuple(sorted(set(text)))
    vocabulary = Vocabulary(characters=characters)
    found = features_of(vocabulary.encode(text), vocabulary)
    return {feature.name: "".join(str(int(value)) for value in feature.values) for feature in found}


def test_a_feature_marks_the_characters_that_have_it() -> None:
    for name, text, marks in (
        *(
            ("position in the line", "ab\n\nabc", "1200123"),
            ("position in the word", "I am don't", "1012012345"),
        ),
        *(
            ("inside a word", "don't 'go'", "1111100110"),
            ("upper case", "Ab CÉ", "10011"),
            ("digit", "a1 23", "01011"),
        ),
        ("heading before a colon", "MAN:\nHe said:\n\nA B:\nhi", "111000000000000" + "1110000"),
        ("in quotes or brackets", '"ab" c “d"e”', "011000001110"),
        *(
            ("in quotes or brackets", '"a\n\n"b"', "0110010"),
            ("in quotes or brackets", "(a) [b(c", "01000111"),
        ),
        *(
            ("vowel", "AbÉy", "1010"),
            ("vowel next", "bAbE", "1010"),
            ("end of a word next", "ab c.", "01010"),
        ),
        ("line break next", "ab\n\n", "0110"),
    ):
        assert features(text)[name] == marks


def test_features_that_do_not_vary_are_left_out_and_an_end_of_text_id_is_a_line_break(
    vocabulary: Vocabulary,
) -> None:
    assert {*features("aaaa")} == {
        "position in the line",
        "position in the word",
        "vowel next",
        "end of a word next",
    }
    (found,) = (
        f
        for f in features_of(np.array([1, 1, 4, 2]), vocabulary)
        if f.name == "position in the line"
    )
    assert found.values.tolist() == [1, 2, 0, 1]
    marks = is_in_word("e\u0301a \u0301 हिन्दी")  # the marks of a letter are part of its word
    assert marks == [True] * 3 + [False] * 3 + [True] * 6


def test_any_character_has_a_kind() -> None:
    for character, kind in (
        *(("\x00", "other"), ("\u202e", "other"), ("\u4e2d", "other letter"), ("\u0301", "other")),
        *(
            ("\t", "space"),
            ("\u00a0", "space"),
            ("\u0663", "digit"),
            ("$", "other"),
            ("-", "punctuation"),
        ),
        (None, "end of text or unknown"),
    ):
        assert character_kind(character) == kind


GROUPS = np.random.default_rng(1).integers(0, 3, 40)
FEATURE = (np.random.default_rng(2).random(40) < 0.4).astype(float)


def pairwise(values: np.ndarray, feature: np.ndarray, groups: np.ndarray) -> float:
    """Return 2 AUC - 1 over pairs in the same group."""
    pairs = product(np.flatnonzero(feature), np.flatnonzero(feature == 0))
    wins = [np.sign(values[i] - values[j]) for i, j in pairs if groups[i] == groups[j]]
    return float(np.mean(wins))


def test_association_is_that_of_pairs_counted_one_by_one_or_the_correlation_of_the_ranks() -> None:
    outputs = np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)  # with ties
    for groups in (np.zeros(40, int), GROUPS):
        found = associate(centred_ranks(outputs, groups), groups, FEATURE[None], "yes/no")[:, 0]
        assert found == pytest.approx(
            [pairwise(values, FEATURE, groups) for values in outputs], abs=1e-6
        )
    rng, groups = np.random.default_rng(3), np.zeros(30, int)
    values, feature = rng.random((2, 30)), rng.random(30)
    ranks = [np.argsort(np.argsort(row)) for row in (*values, feature)]
    found = associate(centred_ranks(values, groups), groups, feature[None], "number")[:, 0]
    assert found == pytest.approx(
        [np.corrcoef(row, ranks[-1])[0, 1] for row in ranks[:-1]], abs=1e-6
    )


def test_a_shifted_feature_keeps_its_order_within_groups_and_never_lies_near_its_place() -> None:
    shifted = shift_within(
        np.arange(100.0), np.zeros(100, int), count=50, rng=np.random.default_rng(0)
    )
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
