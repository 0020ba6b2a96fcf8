"""The caller's side of a training run: its events, the signals that end it, and the clock.

The first Ctrl-C, SIGTERM or SIGHUP ends the program immediately if nothing can be lost, otherwise
after the present step and a checkpoint. A second signal ends it in any case.
"""

import contextlib
import signal as signals
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType

from charlm.core.loop import Callback, End, Training
from charlm.errors import CAUGHT, CharlmError
from charlm.events import Note, OnEvent, ignore


class Stopped(KeyboardInterrupt):
    """A signal has ended the program, or the task that it was doing."""

    def __init__(self, signal: signals.Signals, *, is_early: bool = False) -> None:
        before = " before training; nothing was saved" if is_early else ""
        super().__init__(f"stopped by {signal.name}{before}")
        self.exit_code = 128 + signal
        """Exit code that a shell reports for a process ended by the signal."""


@dataclass
class Interruption(Callback):
    """The signal that ends a session of training."""

    signal: signals.Signals | None = None
    """Last signal received, or None."""
    is_deferred: bool = False
    """Whether the first signal is only recorded, because a run has begun."""
    stopped: Stopped | None = None
    """The exception that was raised, after which further signals are ignored."""

    def reason_to_end(self, training: Training) -> End | None:
        """Return the end of the session after a signal."""
        return None if self.signal is None else End("signal", f"stopped by {self.signal.name}")

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal, and raise Stopped unless it is the first and is deferred.

        After Stopped was raised, further signals are ignored, so that nothing disturbs the cleanup.
        """
        is_first = self.signal is None
        if self.stopped is not None:
            return
        self.signal = signals.Signals(number)
        if is_first and self.is_deferred:
            return
        self.stopped = Stopped(self.signal, is_early=not self.is_deferred)
        raise self.stopped


@dataclass
class Session:
    """The caller of a training run; made when the command begins."""

    on_event: OnEvent = ignore
    """Function that is called with each event; an exception that it raises ends the training."""
    interruption: Interruption = field(default_factory=Interruption)
    """The signal that ends the training early."""
    clock: Callable[[], float] = time.perf_counter
    """Function that returns the time in seconds; no result of a step depends on it."""

    def __post_init__(self) -> None:
        self.started = self.clock()
        """Time when the command began."""

    def note(self, message: str) -> None:
        """Report something that the user should know."""
        self.on_event(Note(message))

    def warn(self, message: str) -> None:
        """Report why the result may be worse than it looks."""
        self.on_event(Note(message, is_warning=True))


@contextlib.contextmanager
def stop_on_signal(interruption: Interruption) -> Iterator[None]:
    """Handle signals during a block.

    Code that Stopped interrupts may raise another error, as TensorFlow does; that becomes Stopped
    again. Other errors are passed on, also after a signal. Ignored signals stay ignored, so that
    nohup works. Outside the main thread, where Python allows no handlers, signals are left to the
    program.

    Args:
        interruption: The recipient of the signals.

    """
    caught = [number for number in CAUGHT if signals.getsignal(number) != signals.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        caught = []
    before = {number: signals.signal(number, interruption.handle) for number in caught}
    try:
        yield
    except CharlmError:
        raise
    except Exception:
        if interruption.stopped is None:
            raise
        raise interruption.stopped from None
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)
