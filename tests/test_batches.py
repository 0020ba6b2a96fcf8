"""Windows of a text, side by side and one after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.batches import Batches, fit_batches
from charlm.errors import CharlmError


def test_streams_are_cut_into_windows_whose_targets_are_the_next_characters() -> None:
    cut = Batches(length=13, batch_size=2, sequence_length=3, seed=0)  # 12 pairs: no offset is left
    first, second = cut.windows(np.arange(13), epoch=0, first=0, count=2)
    assert first.T.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert second.T.tolist() == [[3, 4, 5, 6], [9, 10, 11, 12]]


def test_windows_are_int32_whatever_the_text_is_stored_as() -> None:
    cut = Batches(length=13, batch_size=2, sequence_length=3, seed=0)
    windows = cut.windows(np.zeros(13, np.uint8), epoch=0, first=0, count=2)
    assert windows.dtype == np.int32
    assert windows.shape == (2, 4, 2)


def test_the_counts_are_those_of_the_cut() -> None:
    cut = Batches(length=1000, batch_size=4, sequence_length=10, seed=0)
    assert cut.characters_per_step == 40
    assert cut.steps_per_epoch == 24


@pytest.mark.parametrize("shuffle", [False, True])
def test_windows_can_be_asked_for_in_any_portion(shuffle: bool) -> None:
    cut, ids = Batches(length=100, batch_size=2, sequence_length=5, seed=3, shuffle=shuffle), np.arange(100)
    whole = cut.windows(ids, epoch=4, first=0, count=9)
    portions = [cut.windows(ids, epoch=4, first=first, count=3) for first in (0, 3, 6)]
    np.testing.assert_array_equal(np.concatenate(portions), whole)


def test_epochs_begin_at_other_characters_and_seeds_repeat() -> None:
    offsets = [Batches(10_000, 2, 100, seed=1).offset(epoch) for epoch in range(20)]
    assert offsets == [Batches(10_000, 2, 100, seed=1).offset(epoch) for epoch in range(20)]
    assert offsets != [Batches(10_000, 2, 100, seed=2).offset(epoch) for epoch in range(20)]
    assert len(set(offsets)) > 10


def test_shuffled_streams_hold_the_same_windows_and_each_begins_at_its_own() -> None:
    ids = np.arange(1000)
    plain = Batches(length=1000, batch_size=4, sequence_length=5, seed=1).windows(ids, epoch=3, first=0, count=49)
    cut = Batches(length=1000, batch_size=4, sequence_length=5, seed=1, shuffle=True)
    shuffled = cut.windows(ids, epoch=3, first=0, count=49)
    turns = []
    for stream in range(4):
        turn = int(np.flatnonzero((plain[:, :, stream] == shuffled[0, :, stream]).all(1))[0])
        np.testing.assert_array_equal(np.roll(plain[:, :, stream], -turn, axis=0), shuffled[:, :, stream])
        turns.append(turn)
    assert len(set(turns)) == 4


def test_a_shuffle_is_another_in_each_epoch_and_for_each_seed_and_repeats() -> None:
    def begins(seed: int, epoch: int) -> list[int]:
        cut = Batches(length=1000, batch_size=4, sequence_length=5, seed=seed, shuffle=True)
        return [int(start) // 5 for start in cut.windows(np.arange(1000), epoch=epoch, first=0, count=1)[0, 0]]

    assert begins(1, 0) == begins(1, 0)
    assert begins(1, 0) != begins(1, 1)
    assert begins(1, 0) != begins(2, 0)


@settings(derandomize=True, deadline=None)
@given(
    length=st.integers(2, 300),
    batch_size=st.integers(1, 20),
    sequence_length=st.integers(1, 40),
    epoch=st.integers(0, 3),
)
def test_an_epoch_predicts_nearly_every_character_and_none_twice(
    length: int, batch_size: int, sequence_length: int, epoch: int
) -> None:
    cut, _ = fit_batches(length, batch_size=batch_size, sequence_length=sequence_length, seed=0)
    windows = cut.windows(np.arange(length), epoch=epoch, first=0, count=cut.steps_per_epoch)
    targets = windows[:, 1:].ravel()
    assert cut.steps_per_epoch >= 1
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) > length - 1 - 2 * cut.characters_per_step
    np.testing.assert_array_equal(windows[:, :-1] + 1, windows[:, 1:])
    np.testing.assert_array_equal(windows[1:, 0], windows[:-1, -1])


def test_a_text_that_is_long_enough_is_cut_as_asked() -> None:
    cut, change = fit_batches(10_000, batch_size=8, sequence_length=16, seed=5)
    assert cut == Batches(length=10_000, batch_size=8, sequence_length=16, seed=5)
    assert change is None


@pytest.mark.parametrize(
    ("length", "batch", "time"),
    [(2, 1, 1), (9, 1, 8), (100, 6, 16), (641, 8, 80)],
)
def test_a_short_text_gets_shorter_windows_then_fewer_streams_and_says_so(
    length: int, batch: int, time: int
) -> None:
    cut, change = fit_batches(length, batch_size=8, sequence_length=100, seed=0)
    assert (cut.batch_size, cut.sequence_length) == (batch, time)
    assert change is not None
    assert f"batch {batch} instead of 8, windows of {time} characters instead of 100" in change


@pytest.mark.parametrize("length", [0, 1])
def test_a_text_in_which_nothing_can_be_predicted_is_refused(length: int) -> None:
    with pytest.raises(CharlmError, match=f"the training text has {length} characters; at least 2"):
        fit_batches(length, batch_size=8, sequence_length=16, seed=0)
