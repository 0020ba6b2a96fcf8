"""Ids -> windows [T + 1, B] for truncated backpropagation, with the state carried from window to window.

The text is cut into B contiguous streams, and each stream into windows of T characters. A step reads one window of
every stream. Window w + 1 continues where window w ended, so the state can be carried. Each epoch starts at a new
random offset, so that windows have other boundaries. With `shuffle`, each stream starts each epoch at a random window
and wraps around, so that a step combines other windows in each epoch.

Axes: B batch (streams), T time, N windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.events import BatchesReduced
from charlm.wording import counted

SHORT_WINDOW = 16
"""Characters. Of a short text, windows are made this short before the number of streams is reduced."""


@dataclass(frozen=True)
class Batches:
    """How a text of `length` ids is cut into B streams and windows of T characters."""

    length: int
    """At least B * T + 1, so that each stream has a window."""
    batch_size: int
    """B, 1 or more."""
    sequence_length: int
    """T, 1 or more."""
    seed: int
    """Of the offsets and the shuffle, 0 or more."""
    shuffle: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Windows in each stream, the same in every epoch."""
        return self._stream_length // self.sequence_length

    @property
    def characters_per_step(self) -> int:
        """Characters predicted in one step, over all streams."""
        return self.batch_size * self.sequence_length

    @property
    def _slack(self) -> int:
        """The largest offset of an epoch: ids that no window needs, but less than a window."""
        windows = max(1, (self.length - 1) // self.batch_size // self.sequence_length)
        spare = self.length - 1 - windows * self.batch_size * self.sequence_length
        return min(spare, self.sequence_length - 1)

    @property
    def _stream_length(self) -> int:
        return (self.length - 1 - self._slack) // self.batch_size

    def offset(self, epoch: int) -> int:
        """Return the position of the id at which an epoch (0 or more) starts: random, the same for the same seed."""
        return int(np.random.default_rng([self.seed, epoch]).integers(0, self._slack + 1))

    def positions(
        self, *, epoch: int, first: int, count: int, rows: slice = slice(None)
    ) -> NDArray[np.int64]:
        """Return where the ids of consecutive windows of an epoch are in the text.

        Args:
            epoch: 0 or more.
            first: The first window, 0 to `steps_per_epoch` - 1.
            count: N, the number of windows.
            rows: Which of the B streams are read.

        Returns:
            int64 [N, T + 1, B], or only the columns `rows`. The first T rows of a window are the inputs, the last T the
            targets.

        """
        starts = self.offset(epoch) + np.arange(self.batch_size)[rows] * self._stream_length
        window = (
            np.arange(first, first + count)[:, None] + self._first_windows(epoch)[rows]
        )  # [N, B]
        begin = starts + window % self.steps_per_epoch * self.sequence_length
        times = np.arange(self.sequence_length + 1)[:, None]
        return np.asarray(begin[:, None] + times)

    def _first_windows(self, epoch: int) -> NDArray[np.int64]:
        """Return the window with which each stream starts an epoch, [B]."""
        if not self.shuffle:
            return np.zeros(self.batch_size, np.int64)
        return np.random.default_rng([self.seed, epoch, 1]).integers(
            0, self.steps_per_epoch, self.batch_size
        )


def fit_batches(
    length: int, *, batch_size: int, sequence_length: int, seed: int, shuffle: bool = False
) -> tuple[Batches, BatchesReduced | None]:
    """Return how a text is cut, with shorter windows and then fewer streams if it is too short for one window in each.

    Args:
        length: Ids in the text.
        batch_size: The wanted B, 1 or more.
        sequence_length: The wanted T, 1 or more.
        seed: Of the offsets and the shuffle, 0 or more.
        shuffle: Whether each stream starts each epoch at a random window.

    Returns:
        The batches, and what was reduced, or None.

    Raises:
        CharlmError: `length` is less than 2, so that there is nothing to predict.

    """
    pairs = length - 1
    if pairs < 1:
        raise CharlmError(
            f"the training text has {counted(length, 'character')}; at least 2 are needed to predict one"
        )
    time = min(sequence_length, max(1, pairs // batch_size, min(pairs, SHORT_WINDOW)))
    batch = max(1, min(batch_size, pairs // time))
    batches = Batches(
        length=length, batch_size=batch, sequence_length=time, seed=seed, shuffle=shuffle
    )
    if (batch, time) == (batch_size, sequence_length):
        return batches, None
    return batches, BatchesReduced(batch, time, batch_size, sequence_length)
