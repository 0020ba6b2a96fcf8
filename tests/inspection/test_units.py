"""Scores of units: a unit that was made to follow a feature is found, and noise is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of
from models import random_parameters

from charlm.inspection.features import Feature, features_of
from charlm.inspection.units import Units, score_units
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

BRACKETS = Vocabulary(characters=tuple("\n ()abcdef"))


def bracketed_text(length: int = 1500) -> np.ndarray:
    """Return random letters with brackets round some of them."""
    rng = np.random.default_rng(0)
    pieces = ["".join(rng.choice(list("abcdef "), rng.integers(3, 12))) for _ in range(length // 8)]
    text = "".join(f"({piece})" if rng.random() < 0.3 else piece + "\n" * (rng.random() < 0.2) for piece in pieces)
    return BRACKETS.encode(text[:length])


def scores_of(parameters: Parameters, ids: np.ndarray, **settings: Any) -> Units:
    return score_units(states_of(parameters, ids), ids, BRACKETS, **settings)


def with_latch(parameters: Parameters, *, unit: int) -> Parameters:
    """Return a network of one layer whose unit is switched on by ( and off by ), and keeps its value otherwise."""
    layer = parameters.layers[0]
    kernel, recurrent = layer.kernel.copy(), layer.recurrent_kernel.copy()
    kernel[:, unit], recurrent[:, unit] = 0, 0
    kernel[BRACKETS.encode("()"), unit] = 9, -9
    recurrent[unit, unit] = 4
    return replace(parameters, layers=(Layer(kernel, recurrent, np.zeros(layer.units, np.float32)),))


def test_a_planted_unit_is_found_beyond_chance() -> None:
    ids = bracketed_text()
    features = [each for each in features_of(ids, BRACKETS) if each.name in {"in quotes or brackets", "inside a word"}]
    planted = with_latch(random_parameters(vocabulary_size=10, units=12, scale=0.3), unit=7)
    units = scores_of(planted, ids, features=features, shifts=50)
    (found,) = (feature for feature in units.features if feature.feature == "in quotes or brackets")
    best = found.best[0]
    assert (best.layer, best.unit) == (0, 7)
    assert best.score > 0.9  # not 1: the unit is on at the opening bracket too, which is not inside
    assert best.strength_given_character == pytest.approx(1, abs=0.01)
    assert best.is_beyond_chance
    assert found.chance < 0.9


def test_no_unit_follows_a_random_feature_beyond_chance() -> None:
    rng = np.random.default_rng(8)
    labels = (rng.random((4, 1500)) < 0.3).astype(float)
    features = [Feature(f"random {index}", "yes/no", row) for index, row in enumerate(labels)]
    features.append(Feature("random number", "number", rng.random(1500)))
    parameters = random_parameters(vocabulary_size=10, layers=2, units=30, scale=0.2)
    units = scores_of(parameters, rng.integers(0, 10, 1500), features=features, shifts=50)
    assert [feature.units_beyond_chance for feature in units.features] == [0] * 5


def test_the_best_of_many_units_is_not_beyond_chance_on_the_few_pairs_that_one_character_leaves() -> None:
    """All characters but one decide the feature, so that 12 positions with it are compared with 60 without."""
    rng = np.random.default_rng(5)
    ids = rng.integers(1, 10, 3000)
    ids[rng.choice(3000, 72, replace=False)] = 0
    values = (ids > 4).astype(float)
    values[np.flatnonzero(ids == 0)[:60:5]] = 1
    outputs = (rng.standard_normal((3000, 300)) + 0.5 * values[:, None],)  # they follow what the character explains
    units = score_units(outputs, ids, BRACKETS, features=[Feature("mostly explained", "yes/no", values)])
    (found,) = units.features
    strongest = max(score.strength_given_character or 0 for score in found.best)
    assert found.chance_given_character is not None
    assert found.chance_given_character > 0.4
    assert strongest < 0.7
    assert found.units_beyond_chance <= 3


def test_a_unit_that_only_tells_characters_apart_has_no_strength_given_the_character() -> None:
    parameters = random_parameters(vocabulary_size=10, units=5)
    memoryless = replace(parameters, layers=(Layer(parameters.layers[0].kernel, np.zeros((5, 5), np.float32), None),))
    units = scores_of(memoryless, bracketed_text(), shifts=5)
    assert len(units.features) > 4
    given = {score.strength_given_character for feature in units.features for score in feature.best}
    assert given == {0, None}  # None if the character decides the feature
    assert not any(feature.units_beyond_chance for feature in units.features)


def test_a_short_text_and_a_feature_that_hardly_occurs_are_not_scored() -> None:
    ids = np.random.default_rng(0).integers(0, 10, 200)
    parameters = random_parameters(vocabulary_size=10)
    for length in (0, 1, 199, 200):
        assert bool(scores_of(parameters, ids[:length], shifts=5).features) == (length == 200)
    for times in (9, 10):  # 18 or 20 characters in brackets
        units = scores_of(parameters, BRACKETS.encode("(ab)" * times + "abc def\n" * 50), shifts=5)
        found = {feature.feature for feature in units.features}
        assert "inside a word" in found
        assert ("in quotes or brackets" in found) == (times == 10)
