"""How a text is cut into streams and windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.text.batches import Batches, fit_batches


def test_streams_are_cut_into_windows_whose_targets_are_the_next_characters() -> None:
    batches = Batches(length=13, batch_size=2, sequence_length=3, seed=0)  # 12 pairs fill the windows: the offset is 0
    first, second = np.arange(13)[batches.positions(epoch=0, first=0, count=2)]
    assert first.T.tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert second.T.tolist() == [[3, 4, 5, 6], [9, 10, 11, 12]]


def offsets(seed: int, length: int = 10_000, time: int = 100) -> list[int]:
    """Return where each of 300 epochs starts."""
    return [Batches(length, 2, time, seed=seed).offset(epoch) for epoch in range(300)]


def test_epochs_start_at_other_characters_and_the_same_seed_repeats_them() -> None:
    assert offsets(1) == offsets(1) != offsets(2)
    assert {*offsets(1, length=13, time=3)} == {0}
    assert {*offsets(1, length=16, time=3)} == {0, 1, 2}  # a whole window is not left out


def test_shuffled_streams_have_the_same_windows_from_a_random_one_on() -> None:
    turns = []
    for epoch in (3, 4):
        plain, shuffled = (
            Batches(1000, 4, 5, seed=1, shuffle=shuffle).positions(epoch=epoch, first=0, count=49)
            for shuffle in (False, True)
        )
        for stream in range(4):
            turn = int(np.flatnonzero((plain[:, :, stream] == shuffled[0, :, stream]).all(1))[0])
            np.testing.assert_array_equal(np.roll(plain[:, :, stream], -turn, axis=0), shuffled[:, :, stream])
            turns.append(turn)
    assert len(set(turns[:4])) == 4
    assert turns[:4] != turns[4:]


@given(
    length=st.integers(2, 300),
    batch_size=st.integers(1, 20),
    sequence_length=st.integers(1, 40),
    epoch=st.integers(0, 3),
    shuffle=st.booleans(),
)
def test_an_epoch_predicts_no_character_twice(
    *, length: int, batch_size: int, sequence_length: int, epoch: int, shuffle: bool
) -> None:
    batches, _ = fit_batches(length, batch_size=batch_size, sequence_length=sequence_length, seed=0, shuffle=shuffle)
    steps = batches.steps_per_epoch
    windows = batches.positions(epoch=epoch, first=0, count=steps)
    assert windows.min() >= 0
    assert windows.max() < length
    parts = [batches.positions(epoch=epoch, first=first, count=1, rows=slice(1, None)) for first in range(steps)]
    np.testing.assert_array_equal(np.concatenate(parts), windows[..., 1:])
    targets = windows[:, 1:].ravel()
    assert steps >= 1
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) > length - 1 - 2 * batches.characters_per_step
    np.testing.assert_array_equal(windows[:, :-1] + 1, windows[:, 1:])
    if not shuffle:
        np.testing.assert_array_equal(windows[1:, 0], windows[:-1, -1])


def test_a_short_text_gets_shorter_windows_then_fewer_streams_and_a_line_for_the_user() -> None:
    for length, batch, time in ((2, 1, 1), (17, 1, 16), (18, 1, 16), (33, 2, 16), (137, 8, 17), (800, 8, 99)):
        batches, change = fit_batches(length, batch_size=8, sequence_length=100, seed=0)
        assert (batches.batch_size, batches.sequence_length) == (batch, time)
        assert change == f"short text: {batch} windows of {time} characters a step, not 8 of 100"
    assert fit_batches(801, batch_size=8, sequence_length=100, seed=0)[1] is None
    for length in (0, 1):
        with pytest.raises(CharlmError, match=f"the training text has {length} characters?; at least 2"):
            fit_batches(length, batch_size=8, sequence_length=16, seed=0)
