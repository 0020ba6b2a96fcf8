"""Scores of units: a unit that was made to follow a feature is found, and noise is not."""

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from inspection.networks import states_of

from charlm.inspection.features import Feature, features_of
from charlm.inspection.units import (
    Units,
    associate,
    centred_ranks,
    chance_level,
    score_units,
    shift_feature,
)
from charlm.network.rnn import Layer, Parameters
from charlm.text.vocabulary import Vocabulary

RandomParameters = Callable[..., Parameters]
BRACKETS = Vocabulary(level="char", characters=tuple("\n ()abcdef"))


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
    planted = Layer(kernel, recurrent, np.zeros(layer.units, np.float32))
    return Parameters(None, (planted,), parameters.logits_kernel, parameters.logits_bias, activation="tanh")


def test_a_planted_unit_is_found_beyond_chance(random_parameters: RandomParameters) -> None:
    ids = bracketed_text()
    features = [each for each in features_of(ids, BRACKETS) if each.name in {"in quotes or brackets", "inside a word"}]
    planted = with_latch(random_parameters(vocabulary_size=10, units=12, scale=0.3), unit=7)
    units = scores_of(planted, ids, features=features, shifts=50)
    (found,) = (feature for feature in units.features if feature.feature == "in quotes or brackets")
    best = found.best[0]
    assert (best.layer, best.unit) == (0, 7)
    assert best.score > 0.9  # not 1: the unit is on at the opening bracket too, which is not inside
    assert best.strength_given_character > 0.99
    assert best.is_beyond_chance
    assert found.chance.shifted < 0.9
    assert units.interpretable[0] == best
    assert units.layers[0].features[7] == "in quotes or brackets"
    assert units.layers[0].strengths[7] == pytest.approx(best.strength)


def test_no_unit_follows_a_random_feature_beyond_chance(random_parameters: RandomParameters) -> None:
    rng = np.random.default_rng(8)
    labels = (rng.random((4, 1500)) < 0.3).astype(float)
    features = [Feature(f"random {index}", "yes/no", row) for index, row in enumerate(labels)]
    features.append(Feature("random number", "number", rng.random(1500)))
    parameters = random_parameters(vocabulary_size=10, layers=2, units=30, scale=0.2)
    units = scores_of(parameters, rng.integers(0, 10, 1500), features=features, shifts=50)
    assert [feature.units_beyond_chance for feature in units.features] == [0] * 5
    assert units.interpretable == ()
    assert set(units.layers[1].features) == {None}
    assert not units.layers[1].strengths.any()


def test_a_unit_that_only_tells_characters_apart_has_no_strength_given_the_character(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters(vocabulary_size=10, units=5)
    memoryless = Parameters(
        None,
        (Layer(parameters.layers[0].kernel, np.zeros((5, 5), np.float32), None),),
        parameters.logits_kernel,
        parameters.logits_bias,
    )
    units = scores_of(memoryless, bracketed_text(), shifts=5)
    assert len(units.features) > 4
    assert max(score.strength_given_character for feature in units.features for score in feature.best) == 0


def test_the_browser_has_the_outputs_of_every_unit_on_an_excerpt(
    random_parameters: RandomParameters,
) -> None:
    parameters = random_parameters(vocabulary_size=10, layers=2, units=6)
    ids = bracketed_text(2000)
    units = scores_of(parameters, ids, shifts=5)
    np.testing.assert_array_equal(units.excerpt, ids[:400])
    lowest = states_of(parameters, ids)[0]
    np.testing.assert_allclose(units.layers[0].values, lowest[:400], atol=0.006)
    assert [layer.values.shape for layer in units.layers] == [(400, 6), (400, 6)]


def test_a_feature_that_hardly_occurs_is_not_scored(random_parameters: RandomParameters) -> None:
    ids = BRACKETS.encode("(ab)" * 9 + "abc def\n" * 50)
    units = scores_of(random_parameters(vocabulary_size=10), ids, shifts=5)
    assert "in quotes or brackets" not in {feature.feature for feature in units.features}  # 18 times
    assert "inside a word" in {feature.feature for feature in units.features}


@pytest.mark.parametrize("ids", [[], [3], [1] * 30], ids=len)
def test_a_very_short_text_has_no_scores(random_parameters: RandomParameters, ids: list[int]) -> None:
    units = scores_of(random_parameters(vocabulary_size=10), np.array(ids, np.int64), shifts=5)
    assert units.features == ()
    assert units.interpretable == ()
    assert len(units.excerpt) == len(ids)


@pytest.fixture
def outputs() -> np.ndarray:
    """Return outputs [3, 40] with ties."""
    return np.random.default_rng(0).integers(0, 9, (3, 40)).astype(np.float32)


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


@pytest.mark.parametrize("groups", [np.zeros(40, int), GROUPS], ids=["whole text", "groups"])
def test_association_with_a_yes_no_feature_is_that_of_pairs_counted_one_by_one(
    outputs: np.ndarray, groups: np.ndarray
) -> None:
    found = associate(centred_ranks(outputs, groups), groups, FEATURE[None], "yes/no")[:, 0]
    assert found == pytest.approx([pairwise(values, FEATURE, groups) for values in outputs], abs=1e-6)


def test_association_with_a_number_is_the_correlation_of_the_ranks() -> None:
    rng = np.random.default_rng(3)
    values, feature = rng.random((2, 30)), rng.random(30)
    ranks = [np.argsort(np.argsort(row)) for row in (*values, feature)]
    expected = [np.corrcoef(row, ranks[-1])[0, 1] for row in ranks[:-1]]
    groups = np.zeros(30, int)
    found = associate(centred_ranks(values, groups), groups, feature[None], "number")[:, 0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_shifted_feature_keeps_its_order_round_the_end_and_never_lies_near_its_place() -> None:
    values = np.arange(100.0)
    shifted = shift_feature(values, count=50, rng=np.random.default_rng(0))
    assert (np.diff(shifted, axis=1) % 100 == 1).all()
    distances = shifted[:, 0]
    assert distances.min() >= 5
    assert distances.max() <= 95


def test_chance_level_is_exceeded_by_one_variant_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    groups = np.zeros(200, int)
    ranked = centred_ranks(rng.random((5, 200)), groups), groups
    variants = (rng.random((1000, 200)) < 0.5).astype(float)
    best = np.abs(associate(*ranked, variants, "yes/no")).max(0)
    assert (best > chance_level(*ranked, variants, "yes/no")).sum() == 10
