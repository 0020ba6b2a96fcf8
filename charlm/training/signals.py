"""A training as its user has it: what is said, and what ends it before its last step.

Ctrl-C, SIGTERM and SIGHUP end the program at once if nothing can be lost, otherwise after the present step.
"""

import contextlib
import signal as signals
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from tqdm import tqdm

from charlm.training.checkpoints import Progress

Say = Callable[[str], None]
"""Takes a line for the user."""
OnEvaluation = Callable[[Progress, float], object]
"""Is called after an evaluation with the progress and the loss that decides which network is the best, in nats per
character: that on the validation text, or the training loss if there is no such text."""
OnStep = Callable[[int, float], object]
"""Is called after each step with its number, from 1, and its training loss in nats per character."""
CAUGHT = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal has ended the program or what it was doing."""

    def __init__(self, signal: signals.Signals) -> None:
        super().__init__(f"stopped by {signal.name}")
        self.exit_code = 128 + signal
        """The exit code that a shell reports for a process ended by the signal."""
        self.run: Path | None = None
        """The folder of the run that was stopped; it is gone if nothing was trained."""


def ignore(*_args: object) -> None:
    """Do nothing with a line, after a step or after an evaluation."""


@dataclass
class Session:
    """What the user of a training is told, and the signal that ends it."""

    write_line: Say = ignore
    """Takes a line for the user."""
    show_progress: bool = False
    """Whether to show bars on standard error."""
    on_evaluation: OnEvaluation = ignore
    """Called after each evaluation, when the run is saved; what it raises ends the training."""
    on_step: OnStep = ignore
    """Called after each step; what it raises ends the training."""
    clock: Callable[[], float] = time.perf_counter
    """Returns the time in seconds, by which a run is timed; no step depends on it."""
    signal: signals.Signals | None = None
    """The last signal, or None."""
    is_deferred: bool = False
    """Whether the first signal is only recorded. If not, and for every later signal, Stopped is raised."""

    def say(self, line: str) -> None:
        """Tell the user a line, above the progress bar."""
        with tqdm.external_write_mode(sys.stderr):
            self.write_line(line)

    @contextlib.contextmanager
    def silent(self, *, but: str | None = None) -> Iterator[None]:
        """Say and show nothing during a block, but lines that begin so, and the bar, if there is a beginning."""
        write_line, show_progress = self.write_line, self.show_progress
        self.write_line = lambda line: write_line(line) if but is not None and line.startswith(but) else None
        self.show_progress = show_progress and but is not None
        try:
            yield
        finally:
            self.write_line, self.show_progress = write_line, show_progress

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Only record the first signal during a block whose work must not be lost."""
        try:
            self.is_deferred = True
            yield
        finally:
            self.is_deferred = False

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise Stopped at the first signal during a block, or before the block if a signal was recorded.

        Interrupted code may raise a different error (TensorFlow does). It becomes Stopped, too.
        """
        before = self.is_deferred
        try:
            self.is_deferred = False
            if self.signal is not None:
                raise Stopped(self.signal)
            yield
        except Exception:
            if self.signal is None:
                raise
            raise Stopped(self.signal) from None
        finally:
            self.is_deferred = before

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Record a signal, and raise Stopped unless it is the first and may be deferred."""
        is_first, self.signal = self.signal is None, signals.Signals(number)
        if not (is_first and self.is_deferred):
            raise Stopped(self.signal)


@contextlib.contextmanager
def stop_on_signal(session: Session) -> Iterator[Session]:
    """Handle signals during a block, at once unless the session defers them; yield the session.

    An ignored SIGHUP stays ignored, so that nohup works. Outside the main thread Python allows no handlers: signals are
    left as they are.

    Args:
        session: The user of a training.

    """
    caught = [number for number in CAUGHT if number != signals.SIGHUP or signals.getsignal(number) != signals.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        caught = []
    before = {number: signals.signal(number, session.handle) for number in caught}
    try:
        yield session
    finally:
        for number, handler in before.items():
            signals.signal(number, handler)
