"""How long each part of the start takes."""

import time
from collections.abc import Callable


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
