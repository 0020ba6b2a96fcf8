"""Ids -> windows [time, batch] for truncated backpropagation, with the state carried from one to the next.

The text is cut into B contiguous streams, each stream into windows of T characters. Window w of every stream
makes one step, and window w + 1 goes on exactly where it ended, so that the state can be carried. Each epoch
begins at a fresh random offset, so that windows end at other characters. Shuffled, each stream begins each epoch
at a random window of its own and comes round to it, so that other windows meet in a step each time.

Axes: B batch, T time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError


@dataclass(frozen=True)
class Batches:
    """How a text of `length` ids is cut: B streams of T characters a window."""

    length: int
    batch_size: int  # B
    sequence_length: int  # T
    seed: int
    shuffle: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Windows in each stream, the same in every epoch, whatever its offset."""
        return self._stream_length // self.sequence_length

    @property
    def characters_per_step(self) -> int:
        """Characters predicted in one step, over all streams."""
        return self.batch_size * self.sequence_length

    @property
    def _slack(self) -> int:
        """Ids that no window needs: how far an epoch's offset can go, at most one window and the rest."""
        windows = max(1, (self.length - 1) // self.batch_size // self.sequence_length)
        spare = self.length - 1 - windows * self.batch_size * self.sequence_length
        return min(spare, self.sequence_length - 1)

    @property
    def _stream_length(self) -> int:
        return (self.length - 1 - self._slack) // self.batch_size

    def offset(self, epoch: int) -> int:
        """Return the id at which an epoch (from 0) begins: random, and the same for the same seed."""
        return int(np.random.default_rng([self.seed, epoch]).integers(0, self._slack + 1))

    def windows(self, ids: NDArray[Any], *, epoch: int, first: int, count: int) -> NDArray[np.int32]:
        """Return windows first to first + count - 1 of an epoch: int32 [count, T + 1, B].

        Of each window, rows 0 to T - 1 are the inputs and rows 1 to T the targets.
        """
        starts = self.offset(epoch) + np.arange(self.batch_size) * self._stream_length
        window = np.arange(first, first + count)[:, None] + self._first_windows(epoch)  # [count, B]
        begin = starts + window % self.steps_per_epoch * self.sequence_length
        times = np.arange(self.sequence_length + 1)[:, None]
        return np.asarray(ids[begin[:, None] + times], np.int32)

    def _first_windows(self, epoch: int) -> NDArray[np.int64]:
        """Return the window of each stream that an epoch begins with, [B]."""
        if not self.shuffle:
            return np.zeros(self.batch_size, np.int64)
        return np.random.default_rng([self.seed, epoch, 1]).integers(0, self.steps_per_epoch, self.batch_size)


def fit_batches(
    length: int, *, batch_size: int, sequence_length: int, seed: int, shuffle: bool = False
) -> tuple[Batches, str | None]:
    """Return the cut of a text of `length` ids, and a line that says what was made smaller to fit it, or None.

    A text too short for one window in every stream gets shorter windows first, then fewer streams. Raises
    CharlmError if there are fewer than two characters to train on.
    """
    pairs = length - 1
    if pairs < 1:
        raise CharlmError(f"the training text has {length} characters; at least 2 are needed to predict one")
    time = min(sequence_length, max(1, pairs // batch_size, min(pairs, 16)))
    batch = max(1, min(batch_size, pairs // time))
    cut = Batches(length=length, batch_size=batch, sequence_length=time, seed=seed, shuffle=shuffle)
    if (batch, time) == (batch_size, sequence_length):
        return cut, None
    return cut, (
        f"the training text has only {length:,} characters: batch {batch} instead of {batch_size}, "
        f"windows of {time} characters instead of {sequence_length}"
    )
