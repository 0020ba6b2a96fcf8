"""The caller's side of a training run: its events, the signal that ends it, and the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from charlm.events import Event, OnEvent, TeacherEvent, ignore
from charlm.training.signals import Interruption


@dataclass(frozen=True)
class Session:
    """The caller of a training run."""

    on_event: OnEvent = ignore
    """Function that is called with each event; an exception that it raises ends the training."""
    interruption: Interruption = field(default_factory=Interruption)
    """The signal that ends the training early."""
    clock: Callable[[], float] = time.perf_counter
    """Function that returns the time in seconds; no result of a step depends on it."""

    def silent(self) -> "Session":
        """Return a session that drops its events."""
        return replace(self, on_event=ignore)

    def of_teacher(self, number: int) -> "Session":
        """Return a session that passes its events on as events of a teacher."""
        return replace(self, on_event=partial(self._report_teacher, number))

    def _report_teacher(self, number: int, event: Event) -> None:
        self.on_event(TeacherEvent(number, event))
