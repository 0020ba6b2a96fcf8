"""Ids -> windows [T + 1, B] for truncated backpropagation, with the state carried between windows.

The text is cut into B contiguous streams, and each stream into windows of T characters. A step
reads one window of every stream. Window w + 1 continues where window w ended, so the state can be
carried. Each epoch starts at a new random offset, which moves the borders of the windows, and each
stream at a random window. It wraps around at its end, where the state passes to its beginning. So a
step combines different windows in each epoch.

Axes: B batch (streams), T time, N windows.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.wording import counted

SHORT_WINDOW = 16
"""Minimum window length for a short text; a still shorter text gets fewer streams."""


@dataclass(frozen=True)
class Batches:
    """The division of a text of `length` ids into B streams and windows of T characters."""

    length: int
    """Number of ids, at least B * T + 1 so that each stream has a window."""
    batch_size: int
    """B, 1 or more."""
    sequence_length: int
    """T, 1 or more."""
    seed: int
    """Seed of the offsets and the first windows, 0 or more."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of windows in each stream; it is the same in every epoch."""
        return self._stream_length // self.sequence_length

    @property
    def characters_per_step(self) -> int:
        """Number of characters predicted in one step, over all streams."""
        return self.batch_size * self.sequence_length

    @property
    def _largest_offset(self) -> int:
        """Number of ids that fit into no window, limited to less than a window."""
        predicted = self.length - 1
        windows = max(1, predicted // self.characters_per_step)
        spare = predicted - windows * self.characters_per_step
        return min(spare, self.sequence_length - 1)

    @property
    def _stream_length(self) -> int:
        return (self.length - 1 - self._largest_offset) // self.batch_size

    def offset(self, epoch: int) -> int:
        """Return the random position of the first id of an epoch, the same for the same seed."""
        return int(np.random.default_rng([self.seed, epoch]).integers(0, self._largest_offset + 1))

    def positions(self, *, epoch: int, first: int, count: int) -> NDArray[np.int64]:
        """Return the positions in the text of the ids of consecutive windows.

        Args:
            epoch: Number of the epoch, 0 or more.
            first: The first window, 0 to `steps_per_epoch` - 1.
            count: N, the number of windows.

        Returns:
            int64 [N, T + 1, B]. The first T rows of a window are the inputs, the last T the
            targets.

        """
        streams = np.arange(self.batch_size)
        windows = np.arange(first, first + count)[:, None] + self._first_windows(epoch)
        starts = self.offset(epoch) + streams * self._stream_length
        starts = starts + windows % self.steps_per_epoch * self.sequence_length  # [N, B]
        times = np.arange(self.sequence_length + 1)[:, None]
        return np.asarray(starts[:, None] + times)

    def _first_windows(self, epoch: int) -> NDArray[np.int64]:
        """Return the first window of each stream in an epoch, [B]."""
        rng = np.random.default_rng([self.seed, epoch, 1])
        return rng.integers(0, self.steps_per_epoch, self.batch_size)


def fit_batches(length: int, *, batch_size: int, sequence_length: int, seed: int) -> Batches:
    """Cut a text into streams and windows, smaller than requested if the text is too short.

    Args:
        length: Number of ids in the text.
        batch_size: The requested B, 1 or more.
        sequence_length: The requested T, 1 or more. Windows are shortened before streams are
            dropped.
        seed: Seed of the offsets and the first windows, 0 or more.

    Raises:
        CharlmError: `length` is less than 2, so that there is nothing to predict.

    """
    predicted = length - 1
    if predicted < 1:
        raise CharlmError(
            f"the training text has {counted(length, 'character')}; "
            "at least 2 are needed to predict one"
        )
    shortest = min(predicted, SHORT_WINDOW)
    time = min(sequence_length, max(1, predicted // batch_size, shortest))
    batch = max(1, min(batch_size, predicted // time))
    return Batches(length, batch, time, seed)
