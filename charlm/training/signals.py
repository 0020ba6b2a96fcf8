"""Ctrl-C, SIGTERM and SIGHUP: an end at once while nothing can be lost, else a wish, granted between two steps."""

import contextlib
import signal as signals
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

CAUGHT = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal has ended what was going on."""

    def __init__(self, signal: signals.Signals) -> None:
        super().__init__(f"stopped by {signal.name}")
        self.exit_code = 128 + signal
        """What a shell reports of a process that the signal ended."""


@dataclass
class StopWish:
    """The signal that asked for an end, or None, and how signals are answered."""

    signal: signals.Signals | None = None
    is_deferred: bool = False
    """Whether the first signal is only noted. Otherwise, and from the second on, it raises Stopped."""

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Note the first signal for the length of a block: it holds what should not be lost."""
        yield from self._while(is_deferred=True)

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Stopped wherever a signal comes in the block, or if one was noted before.

        What is torn from its work may make another error of that (TensorFlow does): it is Stopped as well.
        """
        if self.signal is not None:
            raise Stopped(self.signal)
        try:
            yield from self._while(is_deferred=False)
        except Exception:
            if self.signal is None:
                raise
            raise Stopped(self.signal) from None

    def _while(self, *, is_deferred: bool) -> Iterator[None]:
        before, self.is_deferred = self.is_deferred, is_deferred
        try:
            yield
        finally:
            self.is_deferred = before

    def _answer(self, number: int, _frame: FrameType | None) -> None:
        is_first, self.signal = self.signal is None, signals.Signals(number)
        if not (is_first and self.is_deferred):
            raise Stopped(self.signal)


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopWish]:
    """Answer signals for the length of a block: at once, until the wish is told to defer them.

    A SIGHUP that is ignored stays ignored, so that nohup does what it is for.
    """
    wish = StopWish()
    caught = [
        number for number in CAUGHT if number != signals.SIGHUP or signals.getsignal(number) != signals.SIG_IGN
    ]
    before = {number: signals.signal(number, wish._answer) for number in caught}
    try:
        yield wish
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)
