"""Time: what the start took, how long the rest of a run takes, and what may be done beside the training."""

import contextlib
import time
from collections.abc import Callable, Iterator

TIMED_SECONDS = 1.0
"""How long steps are timed for an estimate."""
SHARE = 0.02
"""Of the time of training, for what is done beside it."""


class Stopwatch:
    """Measures the parts of the start, one after the other; it starts when it is made.

    Args:
        clock: Returns the time in seconds.

    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._last = clock()
        self.laps: dict[str, float] = {}
        """The seconds of each part, in order."""

    def lap(self, part: str) -> None:
        """End a part: add the time since the end of the part before."""
        now = self._clock()
        self.laps[part] = self.laps.get(part, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.laps.items())
        return f"{sum(self.laps.values()):.1f} s ({parts})"


class Estimate:
    """Estimates once how long the rest of a run takes.

    The first call of the engine is slower than the others, so that the time begins after it.

    Args:
        total: The steps of the whole run.
        timed_seconds: How long steps are timed, at least.

    """

    def __init__(self, total: int, *, timed_seconds: float = TIMED_SECONDS) -> None:
        self._total, self._timed_seconds = total, timed_seconds
        self._first: tuple[int, float] | None = None
        self._is_done = False

    def update(self, step: int, now: float) -> float | None:
        """Return the seconds that the rest takes, once; None before there is an estimate, and after it.

        Args:
            step: The steps taken so far, after a call of the engine.
            now: The time in seconds, from any start.

        """
        if self._first is None:
            self._first = step, now
        first_step, first = self._first
        if self._is_done or step <= first_step or now - first < self._timed_seconds:
            return None
        self._is_done = True
        return (now - first) / (step - first_step) * (self._total - step)


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
