"""A clock for tests."""

from collections.abc import Callable
from itertools import count


def ticking(seconds: float) -> Callable[[], float]:
    """Return a clock that goes on by some seconds each time it is read."""
    ticks = count()
    return lambda: seconds * next(ticks)
