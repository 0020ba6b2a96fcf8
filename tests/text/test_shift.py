"""Whether validation text is of another kind than training text."""

import numpy as np
import pytest

from charlm.text.shift import measure_shift, spaced


def draw(shares: list[float], count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(len(shares), size=count, p=shares).astype(np.uint8)


EVEN, UNEVEN, NEW = [0.25, 0.25, 0.25, 0.25, 0], [0.4, 0.3, 0.2, 0.1, 0], [0.24, 0.25, 0.25, 0.25, 0.01]


def test_text_of_the_same_kind_lies_as_far_away_as_parts_of_the_training_text() -> None:
    shift = measure_shift(draw(EVEN, 20_000, 0), draw(EVEN, 2_000, 1), vocabulary_size=5)
    assert shift is not None
    assert not shift.is_large
    assert (0 < shift.distance < 0.05, 0 < shift.usual_distance < 0.05, shift.unseen) == (True, True, 0)


@pytest.mark.parametrize(("shares", "distance", "unseen"), [(UNEVEN, 0.2, 0.0), (NEW, 0.01, 0.01)])
def test_another_distribution_and_new_characters_make_another_kind(
    shares: list[float], distance: float, unseen: float
) -> None:
    shift = measure_shift(draw(EVEN, 200_000, 0), draw(shares, 20_000, 1), vocabulary_size=5)
    assert shift is not None
    assert shift.is_large
    assert shift.distance == pytest.approx(distance, abs=0.01)
    assert shift.unseen == pytest.approx(unseen, abs=0.002)


def test_a_text_that_changes_all_the_time_has_validation_text_of_no_other_kind() -> None:
    training = np.concatenate([draw(EVEN, 10_000, 0), draw(UNEVEN, 10_000, 1)])
    shift = measure_shift(training, draw(UNEVEN, 2_000, 2), vocabulary_size=5)
    assert shift is not None
    assert shift.distance > 0.05
    assert not shift.is_large


@pytest.mark.parametrize(("training", "validation"), [(5000, 999), (1999, 1000), (5000, 0)])
def test_a_short_text_is_not_judged(training: int, validation: int) -> None:
    assert measure_shift(draw(EVEN, training, 0), draw(EVEN, validation, 1), vocabulary_size=5) is None


def test_parts_lie_at_equal_distances_from_the_first_id_to_the_last() -> None:
    parts = spaced(np.arange(100), count=3, size=10)
    assert [part.tolist() for part in parts] == [[*range(10)], [*range(45, 55)], [*range(90, 100)]]
    assert [len(part) for part in spaced(np.arange(29), count=3, size=10)] == [29]
    assert np.concatenate(spaced(np.arange(30), count=3, size=10)).tolist() == [*range(30)]
