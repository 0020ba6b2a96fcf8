"""Ctrl-C, SIGTERM and SIGHUP as a wish to stop, which the loop grants between two steps."""

import contextlib
import signal as signals
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

CAUGHT = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


@dataclass
class StopWish:
    """The signal that asked for an end, or None."""

    signal: signals.Signals | None = None


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopWish]:
    """Note the first signal instead of dying of it; the second one acts at once, as it always does."""
    wish = StopWish()

    def note(number: int, frame: FrameType | None) -> None:
        wish.signal = signals.Signals(number)
        for caught, handler in before.items():
            signals.signal(caught, handler)

    before = {number: signals.signal(number, note) for number in CAUGHT}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)
