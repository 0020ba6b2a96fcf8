"""The signals that end a training run: Ctrl-C, SIGTERM and SIGHUP.

A signal ends the program immediately if nothing can be lost, otherwise after the present step. Once
`Stopped` has been raised, further signals are ignored, so that nothing disturbs the cleanup.
"""

import contextlib
import signal as signals
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

CAUGHT = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal has ended the program, or the task that it was doing."""

    def __init__(self, signal: signals.Signals) -> None:
        super().__init__(f"stopped by {signal.name}")
        self.exit_code = 128 + signal
        """Exit code that a shell reports for a process ended by the signal."""
        self.run: Path | None = None
        """Folder of the stopped run, which can be continued; None if nothing is kept."""
        self.is_saved = False
        """Whether any training progress was saved; if not, a continued run is unchanged."""


class Interruption:
    """The signal that ends a training run, and whether it may do so immediately."""

    def __init__(self) -> None:
        self.signal: signals.Signals | None = None
        """Last signal received, or None."""
        self.is_deferred = False
        """Whether the first signal is only recorded instead of raising Stopped."""
        self.is_raised = False
        """Whether Stopped was raised, so that further signals are ignored."""

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only record the first signal during a block whose work must not be lost."""
        try:
            self.is_deferred = True
            yield
        finally:
            self.is_deferred = False

    @contextlib.contextmanager
    def immediate(self) -> Iterator[None]:
        """Raise Stopped at the first signal during a block, or immediately if one is recorded.

        Interrupted code may raise a different error (TensorFlow does), which becomes Stopped, too.
        """
        before = self.is_deferred
        try:
            self.is_deferred = False
            if self.signal is not None:
                self.is_raised = True
                raise Stopped(self.signal)
            yield
        except Exception:
            if self.signal is None:
                raise
            raise Stopped(self.signal) from None
        finally:
            self.is_deferred = before

    def withstand(self) -> None:
        """Continue after Stopped was caught: the next signal raises it again."""
        self.is_raised = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal, and raise Stopped unless it is the first and may be deferred."""
        if self.is_raised:
            return
        is_first = self.signal is None
        self.signal = signals.Signals(number)
        if is_first and self.is_deferred:
            return
        self.is_raised = True
        raise Stopped(self.signal)


@contextlib.contextmanager
def stop_on_signal(interruption: Interruption) -> Iterator[None]:
    """Handle signals during a block, immediately unless they are deferred.

    An ignored SIGHUP stays ignored, so that nohup works. Outside the main thread, where Python
    allows no handlers, signals are left to the program.

    Args:
        interruption: The recipient of the signals.

    """
    caught = list(CAUGHT)
    if signals.getsignal(signals.SIGHUP) == signals.SIG_IGN:
        caught.remove(signals.SIGHUP)
    if threading.current_thread() is not threading.main_thread():
        caught = []
    before = {number: signals.signal(number, interruption.handle) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)
