"""The streams of a training text and the windows that they are cut into."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from charlm.core.batches import Batches, fit_batches
from charlm.errors import CharlmError

# Offsets


def offsets(seed: int, length: int = 10_000, time: int = 100) -> list[int]:
    """Return where each of 300 epochs starts."""
    batches = Batches(length, 2, time, seed=seed)
    return [batches.offset(epoch) for epoch in range(300)]


def test_the_seed_decides_where_epochs_start() -> None:
    assert offsets(1) == offsets(1) != offsets(2)


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        pytest.param(13, {0}, id="the windows fill the text"),
        pytest.param(16, {0, 1, 2}, id="no window is left out"),
    ],
)
def test_an_epoch_starts_at_one_of_the_first_characters(length: int, expected: set[int]) -> None:
    assert set(offsets(1, length=length, time=3)) == expected


# First windows

EPOCHS = st.integers(0, 3)


def first_windows(epoch: int) -> list[int]:
    """Return which of its 49 windows each of four streams reads first in an epoch."""
    batches = Batches(1000, 4, 5, seed=1)
    starts = batches.positions(epoch=epoch, first=0, count=1)[0, 0]
    stream_starts = batches.offset(epoch) + 248 * np.arange(4)
    windows, rest = np.divmod(starts - stream_starts, 5)
    assert not rest.any()
    return [int(window) for window in windows]


def test_each_stream_and_epoch_starts_with_another_window() -> None:
    third, fourth = first_windows(3), first_windows(4)
    assert third != fourth
    assert len({*third}) == 4
    assert {*third, *fourth} <= {*range(49)}


@pytest.mark.parametrize("stream", range(4))
def test_a_stream_reads_its_windows_in_order_and_wraps_around(stream: int) -> None:
    windows = Batches(1000, 4, 5, seed=1).positions(epoch=3, first=0, count=49)[:, 0, stream]
    steps = np.diff(windows)
    assert sorted(steps.tolist()) == [-5 * 48, *47 * [5]]


# Any sizes


@st.composite
def any_batches(draw: st.DrawFn) -> Batches:
    """Draw batches that fit a text of 2 to 300 characters."""
    return fit_batches(
        draw(st.integers(2, 300)),
        batch_size=draw(st.integers(1, 20)),
        sequence_length=draw(st.integers(1, 40)),
        seed=0,
    )


def windows_of(batches: Batches, epoch: int) -> NDArray[Any]:
    return batches.positions(epoch=epoch, first=0, count=batches.steps_per_epoch)


@given(any_batches(), EPOCHS)
def test_an_epoch_predicts_nearly_every_character_but_none_twice(
    batches: Batches, epoch: int
) -> None:
    targets = windows_of(batches, epoch)[:, 1:].ravel()
    assert batches.steps_per_epoch >= 1
    assert len(set(targets.tolist())) == len(targets)
    assert len(targets) > batches.length - 1 - 2 * batches.characters_per_step


# Short texts


@pytest.mark.parametrize(
    ("length", "batch_size", "sequence_length"),
    [(2, 1, 1), (18, 1, 16), (33, 2, 16), (137, 8, 17), (801, 8, 100)],
)
def test_a_short_text_gets_shorter_windows_before_fewer_streams(
    length: int, batch_size: int, sequence_length: int
) -> None:
    batches = fit_batches(length, batch_size=8, sequence_length=100, seed=0)
    assert (batches.batch_size, batches.sequence_length) == (batch_size, sequence_length)


@pytest.mark.parametrize(("length", "shown"), [(0, "0 characters"), (1, "1 character")])
def test_a_text_without_a_character_to_predict_is_refused(length: int, shown: str) -> None:
    with pytest.raises(CharlmError, match=f"the training text has {shown}; at least 2"):
        fit_batches(length, batch_size=8, sequence_length=16, seed=0)
