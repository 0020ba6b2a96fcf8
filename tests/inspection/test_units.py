"""Units that follow a feature of the text, compared with chance."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of
from models import random_parameters
from numpy.typing import NDArray

from charlm.core.rnn import Parameters
from charlm.core.vocabulary import Vocabulary
from charlm.inspection.features import Feature, features_of
from charlm.inspection.units import (
    FeatureScores,
    Units,
    associate,
    centred_ranks,
    score_units,
    shift_within,
)

BRACKETS = Vocabulary(characters=tuple("\n ()abcdef"))
NO_GROUP = np.zeros(300, int)


def bracketed_text(length: int = 1500) -> NDArray[Any]:
    """Return random letters, some of them in brackets."""
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(length // 8):
        letters = "".join(rng.choice(list("abcdef "), rng.integers(3, 12)))
        if rng.random() < 0.3:
            parts.append(f"({letters})")
        elif rng.random() < 0.2:
            parts.append(f"{letters}\n")
        else:
            parts.append(letters)
    return BRACKETS.encode("".join(parts)[:length])


def scores_of(
    parameters: Parameters, ids: NDArray[Any], features: Sequence[Feature] | None = None
) -> Units:
    """Return the scores for some features, or for all of a text of brackets."""
    return score_units(states_of(parameters, ids), ids, features or features_of(ids, BRACKETS))


# The best units

IS_HIGH = np.random.default_rng(6).random(300) < 0.3
NOISE = np.random.default_rng(4).standard_normal((6, 300))


@pytest.fixture(scope="module", params=["yes/no", "number"])
def mixed(request: pytest.FixtureRequest) -> tuple[FeatureScores, NDArray[Any]]:
    """Return the scores of two layers of three units, and their outputs, [6, T].

    Units 4, 2 and 3 of all follow the feature, unit 2 in the opposite direction.
    """
    outputs = NOISE + np.outer([0, 0, -2, 1, 4, 0], IS_HIGH)
    layers = tuple(part.T for part in np.split(outputs, 2))
    feature = Feature("high", request.param, IS_HIGH.astype(float))
    ids = np.zeros(300, int)
    (scores,) = score_units(layers, ids, [feature]).features
    return scores, outputs


def test_the_three_best_units_are_listed(mixed: tuple[FeatureScores, NDArray[Any]]) -> None:
    scores, _ = mixed
    assert [(best.layer, best.unit) for best in scores.best] == [(1, 1), (0, 2), (1, 0)]
    assert scores.units_beyond_chance == 3


def test_a_unit_has_a_signed_score_and_its_strength(
    mixed: tuple[FeatureScores, NDArray[Any]],
) -> None:
    scores, outputs = mixed
    for unit, best in zip([4, 2, 3], scores.best, strict=True):
        signed = pairwise(outputs[unit], IS_HIGH, NO_GROUP)
        expected = (signed + 1) / 2
        if scores.kind == "number":
            signed = expected = correlation(outputs[unit], IS_HIGH)
        assert best.score == pytest.approx(expected, abs=1e-6)
        assert best.strength == pytest.approx(abs(signed), abs=1e-6)
        assert best.strength_given_character == pytest.approx(abs(signed), abs=1e-6)


# Chance


def test_no_unit_follows_a_random_feature_beyond_chance() -> None:
    rng = np.random.default_rng(8)
    labels = (rng.random((4, 1500)) < 0.3).astype(float)
    features = [Feature(f"random {index}", "yes/no", row) for index, row in enumerate(labels)]
    features.append(Feature("random number", "number", rng.random(1500)))
    parameters = random_parameters(
        vocabulary_size=10,
        layers=2,
        units=30,
        scale=0.2,
    )
    units = scores_of(parameters, rng.integers(0, 10, 1500), features)
    assert [feature.units_beyond_chance for feature in units.features] == [0] * 5


def test_chance_is_high_if_few_positions_are_compared() -> None:
    """Only character 0 does not decide the feature: 12 of its positions have it, 60 do not.

    The 300 units follow the feature only through the character.
    """
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 10, 3000)
    ids[rng.choice(3000, 72, replace=False)] = 0
    values = (ids > 4).astype(float)
    values[np.flatnonzero(ids == 0)[:60:5]] = 1
    outputs = rng.standard_normal((3000, 300)) + 0.5 * values[:, None]
    feature = Feature("mostly explained", "yes/no", values)
    (scores,) = score_units((outputs,), ids, [feature]).features
    assert scores.chance_given_character > 0.4
    assert max(score.strength_given_character for score in scores.best) < 0.7
    assert scores.units_beyond_chance is not None
    assert scores.units_beyond_chance <= 3


def test_a_unit_that_only_depends_on_the_character_has_no_strength_given_the_character() -> None:
    parameters = random_parameters(vocabulary_size=10, units=5)
    layer = parameters.layers[0]
    layer.recurrent_kernel[:] = 0
    layer.bias[:] = 0
    units = scores_of(parameters, bracketed_text())
    assert len(units.features) > 4
    strengths = {row.strength_given_character for scores in units.features for row in scores.best}
    assert {strength for strength in strengths if not np.isnan(strength)} == {0}
    assert not any(scores.units_beyond_chance for scores in units.features)


# Features that the character decides


@pytest.fixture(scope="module")
def vowel_units() -> Units:
    """Return scores for vowels, which the character decides, and for a random feature."""
    ids = bracketed_text()
    is_vowel = np.isin(ids, BRACKETS.encode("ae")).astype(float)
    is_random = (np.random.default_rng(0).random(len(ids)) < 0.3).astype(float)
    features = [Feature("vowel", "yes/no", is_vowel), Feature("random", "yes/no", is_random)]
    parameters = random_parameters(vocabulary_size=10, units=5)
    return scores_of(parameters, ids, features)


def test_a_feature_that_the_character_decides_is_not_compared_with_chance(
    vowel_units: Units,
) -> None:
    vowel, random = vowel_units.features
    assert random.units_beyond_chance == 0
    assert np.isnan(vowel.chance_given_character)
    assert vowel.units_beyond_chance is None
    assert np.isnan([score.strength_given_character for score in vowel.best]).all()
    assert {score.is_beyond_chance for score in vowel.best} == {None}


# Rare features


@pytest.mark.parametrize(("brackets", "is_scored"), [(9, False), (10, True)])
def test_a_feature_needs_20_characters(brackets: int, is_scored: bool) -> None:
    ids = BRACKETS.encode("(ab)" * brackets + "abc def\n" * 50)
    units = scores_of(random_parameters(vocabulary_size=10), ids)
    names = {scores.feature for scores in units.features}
    assert "inside a word" in names
    assert ("in quotes or brackets" in names) == is_scored


# Association

GROUPS = np.random.default_rng(1).integers(0, 3, 40)
FEATURE = (np.random.default_rng(2).random(40) < 0.4).astype(float)


def correlation(values: NDArray[Any], feature: NDArray[Any]) -> float:
    """Return the correlation of the ranks of values without ties with a yes/no feature."""
    return float(np.corrcoef(np.argsort(np.argsort(values)), feature)[0, 1])


def pairwise(
    values: NDArray[Any],
    feature: NDArray[Any],
    groups: NDArray[Any],
) -> float:
    """Return 2 AUC - 1 over the pairs of a group, counted one by one."""
    pairs = product(np.flatnonzero(feature), np.flatnonzero(feature == 0))
    wins = [np.sign(values[i] - values[j]) for i, j in pairs if groups[i] == groups[j]]
    return float(np.mean(wins))


@pytest.mark.parametrize("groups", [NO_GROUP[:40], GROUPS], ids=["a single group", "three groups"])
def test_the_association_with_a_label_compares_pairs(groups: NDArray[Any]) -> None:
    outputs = np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)  # with ties
    ranks = centred_ranks(outputs, groups)
    associations = associate(ranks, groups, FEATURE[None], "yes/no")[:, 0]
    expected = [pairwise(values, FEATURE, groups) for values in outputs]
    assert associations == pytest.approx(expected, abs=1e-6)


def test_the_association_with_a_number_is_the_correlation_of_ranks() -> None:
    rng = np.random.default_rng(3)
    outputs = rng.random((2, 30))
    feature = rng.random(30)
    groups = np.zeros(30, int)
    ranks = centred_ranks(outputs, groups)
    associations = associate(ranks, groups, feature[None], "number")[:, 0]
    first, second, last = (np.argsort(np.argsort(row)) for row in (*outputs, feature))
    expected = [np.corrcoef(first, last)[0, 1], np.corrcoef(second, last)[0, 1]]
    assert associations == pytest.approx(expected, abs=1e-6)


# Shifts


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (0, {(8, 7)}),
        (2, {(2, 3, 4, 1), (3, 4, 1, 2), (4, 1, 2, 3)}),
        (5, {(9,)}),
    ],
    ids=["two values", "four values", "a single value"],
)
def test_a_feature_is_shifted_within_each_group(group: int, expected: set[Any]) -> None:
    groups = np.array([2, 0, 2, 2, 0, 2, 5])
    values = np.array([1.0, 7, 2, 3, 8, 4, 9])
    shifted = shift_within(values, groups, count=40, rng=np.random.default_rng(0))
    assert {tuple(row[groups == group]) for row in shifted} == expected
