"""Estimates and their standard errors, compared with the variation of simulated texts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import reference
from numpy.typing import NDArray

from charlm.core.scoring import Score, mean_score
from charlm.errors import CharlmError
from charlm.measures.estimates import (
    Estimate,
    SeedsDifference,
    compare_seeds,
    difference,
    loss_of,
    mean_at,
    over_runs,
    spread_over_seeds,
    student,
)


@pytest.fixture(scope="module")
def losses() -> NDArray[np.float32]:
    """Return the losses of two models on a text with passages that are hard for both."""
    rng = np.random.default_rng(0)
    hard = np.repeat(rng.normal(2, 0.5, 5), 600)[:2700]
    rest = np.full(299, 9.0)
    texts = [np.append(hard + rng.normal(0, 0.1, 2700), rest) for _ in range(2)]
    return np.array(texts, np.float32)


def in_parts(losses: NDArray[np.float32], size: int) -> Score:
    return mean_score(np.split(losses, range(size, len(losses), size)))


def block_means(losses: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the means of blocks of 300 characters, without the incomplete last one."""
    blocks = losses[..., :2700].astype(np.float64).reshape(-1, 9, 300)
    return np.array(blocks.mean(axis=2))


@pytest.mark.parametrize("size", [1, 299, 700, 5000])
def test_the_standard_error_is_based_on_blocks_of_300_characters(
    size: int,
    losses: NDArray[np.float32],
) -> None:
    (means,) = block_means(losses[0])
    expected = reference.standard_error(means.tolist())
    assert loss_of(in_parts(losses[0], size)).error == pytest.approx(expected, rel=0.01)


def test_the_error_of_a_difference_is_based_on_paired_blocks(losses: NDArray[np.float32]) -> None:
    first, second = block_means(losses)
    expected = reference.standard_error((first - second).tolist())
    found = difference(in_parts(losses[0], 700), in_parts(losses[1], 299))
    assert found.error == pytest.approx(expected, rel=0.01)


def test_a_score_without_blocks_has_no_error_of_the_difference(
    losses: NDArray[np.float32],
) -> None:
    score = mean_score([losses[0]])
    assert difference(score, replace(score, block_means=())) == Estimate(0.0)


def test_scores_of_different_texts_are_not_subtracted(losses: NDArray[np.float32]) -> None:
    with pytest.raises(CharlmError, match="scores of different texts cannot be compared"):
        difference(mean_score([losses[0]]), mean_score([losses[0][:2400]]))


def test_equal_losses_have_a_standard_error_of_zero() -> None:
    assert loss_of(mean_score([np.ones(2400)])).error == 0


@pytest.mark.parametrize(("characters", "is_known"), [(2399, False), (2400, True)])
def test_a_standard_error_needs_2400_characters(
    characters: int,
    is_known: bool,
    losses: NDArray[np.float32],
) -> None:
    error = loss_of(mean_score([losses[0][:characters]])).error
    assert (error is not None) == is_known


# Some characters of a text

POSITIONS = np.array([0, 299, 300, 650, 899, 1000, 1300, 1500, 2000, 2399])
VALUES = np.random.default_rng(0).random(10)


def test_the_error_of_a_mean_of_some_characters_is_the_error_of_a_ratio_of_sums() -> None:
    found = mean_at(VALUES, POSITIONS)
    differences = VALUES - VALUES.mean()
    blocks = POSITIONS // 300
    sums = [differences[blocks == block].sum() for block in range(8)]
    assert found.value == pytest.approx(VALUES.mean())
    assert found.error == pytest.approx(reference.standard_error(sums) * 8 / 10, rel=0.01)


def test_some_characters_of_seven_blocks_have_no_error() -> None:
    assert mean_at(VALUES[:-2], POSITIONS[:-2]).error is None


def test_blocks_of_some_characters_can_have_another_size() -> None:
    expected = mean_at(VALUES, POSITIONS)
    assert mean_at(VALUES, 2 * POSITIONS, block=600) == expected


def test_an_infinite_mean_has_no_error() -> None:
    values = np.array([-np.inf, *VALUES[1:]])
    assert mean_at(values, POSITIONS) == Estimate(-np.inf)


# Seeds


@pytest.mark.parametrize(
    ("errors", "freedom", "quantile"),
    [(1.959964, 1, 12.7062), (1.959964, 4, 2.77645), (2, 7, 2.42884), (3, 1e6, 3)],
)
def test_the_quantiles_are_those_of_students_distribution(
    errors: float, freedom: float, quantile: float
) -> None:
    assert student(errors, freedom=freedom) == pytest.approx(quantile, rel=1e-4)


def test_groups_are_compared_by_the_test_of_welch() -> None:
    found = compare_seeds([1.0, 1.5], [3.0, 4.0, 5.0])
    assert found is not None
    assert found.nats_per_char == -2.75
    assert found.standard_error == pytest.approx(math.sqrt(1 / 3 + 0.125 / 2))
    # Welch and Satterthwaite: (1/3 + 1/16)^2 / ((1/3)^2 / 2 + (1/16)^2 / 1)
    assert found.degrees_of_freedom == pytest.approx(2.63504, rel=1e-4)
    assert found.t == pytest.approx(-4.3711, rel=1e-4)
    assert found.is_beyond_chance  # 3.45 errors for 2.64 degrees


@pytest.mark.parametrize("group", [[1.5], [1.5, 1.5]], ids=str)
def test_a_difference_without_a_spread_may_be_chance(group: list[float]) -> None:
    assert compare_seeds(group, [2.0, 2.0]) == SeedsDifference(-0.5)
    assert str(SeedsDifference(-0.5)) == (
        "0.5000 nats lower than the row above; too few seeds: not known to be more than chance"
    )


def test_a_group_without_a_loss_is_not_compared() -> None:
    assert compare_seeds([1.0, 2.0], []) is None


def test_the_spread_over_seeds_is_pooled() -> None:
    # deviations -1, 0, 1 and -2, 2; 2 + 1 degrees of freedom
    assert spread_over_seeds([[3, 4, 5], [1, 5], [9], []]) == pytest.approx(math.sqrt(10 / 3))
    assert spread_over_seeds([[1.0], [2.0]]) is None


def test_a_single_run_has_no_error_over_runs() -> None:
    assert over_runs([Estimate(2.0, 0.5)]) == Estimate(2.0)
