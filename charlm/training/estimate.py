"""An early estimate of how long a run takes, from its own first steps."""

TIMED_SECONDS = 1.0
"""How long steps are timed."""


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
