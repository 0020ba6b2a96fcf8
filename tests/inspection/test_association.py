"""Ranks and associations, compared with pairs counted one by one."""

from itertools import product

import numpy as np
import pytest

from charlm.inspection.association import (
    associate,
    centred_ranks,
    chance_level,
    label_characters,
    rank_outputs,
    shift_feature,
)


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
    found = associate(rank_outputs(outputs, groups), FEATURE[None], "yes/no")[:, 0]
    assert found == pytest.approx([pairwise(values, FEATURE, groups) for values in outputs], abs=1e-6)


def test_association_with_a_number_is_the_correlation_of_the_ranks() -> None:
    rng = np.random.default_rng(3)
    values, feature = rng.random((2, 30)), rng.random(30)
    ranks = [np.argsort(np.argsort(row)) for row in (*values, feature)]
    expected = [np.corrcoef(row, ranks[-1])[0, 1] for row in ranks[:-1]]
    found = associate(rank_outputs(values, np.zeros(30, int)), feature[None], "number")[:, 0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_equal_values_share_the_mean_of_their_ranks_in_each_group() -> None:
    values = np.array([[5.0, 1, 5, 2, 2, 2, 9]])
    groups = np.array([0, 0, 0, 1, 1, 1, 4])
    assert centred_ranks(values, groups).tolist() == [[0.5, -1, 0.5, 0, 0, 0, 0]]


def test_a_shifted_feature_keeps_its_order_round_the_end_and_never_lies_near_its_place() -> None:
    values = np.arange(100.0)
    shifted = shift_feature(values, count=50, rng=np.random.default_rng(0))
    assert (np.diff(shifted, axis=1) % 100 == 1).all()
    distances = shifted[:, 0]
    assert distances.min() >= 5
    assert distances.max() <= 95


def test_random_labels_are_the_same_wherever_a_character_occurs() -> None:
    ids = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 4], [40, 30, 25, 5]))
    labels = label_characters((np.arange(100) < 30).astype(float), ids, count=400, rng=np.random.default_rng(0))
    for character in (0, 1, 2):
        columns = labels[:, ids == character]
        assert (columns == columns[:, :1]).all()
        assert columns[:, 0].mean() == pytest.approx(0.3, abs=0.07)
    assert not labels[:, ids == 4].any()  # too rare for a label of its own: the common value


def test_chance_level_is_exceeded_by_one_variant_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    ranked = rank_outputs(rng.random((5, 200)), np.zeros(200, int))
    variants = (rng.random((1000, 200)) < 0.5).astype(float)
    best = np.abs(associate(ranked, variants, "yes/no")).max(0)
    assert (best > chance_level(ranked, variants, "yes/no")).sum() == 10
