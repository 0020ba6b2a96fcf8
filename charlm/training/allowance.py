"""A limit on the time that something takes beside the training: a share of the time that training has taken."""

import contextlib
import time
from collections.abc import Callable, Iterator

SHARE = 0.02
"""Of the time of training."""


class Allowance:
    """Allows something costly as long as all of it together takes less than a share of the time of training.

    Args:
        share: The share, more than 0.
        clock: Returns the time in seconds.

    """

    def __init__(self, *, share: float = SHARE, clock: Callable[[], float] = time.perf_counter) -> None:
        self._share, self._clock = share, clock
        self._spent_seconds = self._last_seconds = 0.0

    def allows(self, training_seconds: float) -> bool:
        """Return whether it may be done once more, taking as long as the last time; the first time it always may.

        Args:
            training_seconds: The time of training so far.

        """
        needed = self._spent_seconds + self._last_seconds
        return needed == 0 or needed <= self._share * training_seconds

    @contextlib.contextmanager
    def spend(self) -> Iterator[None]:
        """Count the time of a block."""
        started = self._clock()
        yield
        self._last_seconds = self._clock() - started
        self._spent_seconds += self._last_seconds
