"""What a start spends its time on."""

import time


class Stopwatch:
    """Measures parts of a start, one after the other, from when it is made."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}
        """The seconds of each part, in order."""

    def lap(self, part: str) -> None:
        """End a part; what was since the last one is its time."""
        now = time.perf_counter()
        self.laps[part] = self.laps.get(part, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in self.laps.items())
        return f"{sum(self.laps.values()):.1f} s ({parts})"
