"""The caller's side of a training: who receives its events, which signal ends it, and the clock."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from charlm.events import OnEvent, TeacherEvent, ignore
from charlm.training.signals import Interruption


@dataclass(frozen=True)
class Session:
    """The caller of a training."""

    on_event: OnEvent = ignore
    """Called with each event; an exception that it raises ends the training."""
    interruption: Interruption = field(default_factory=Interruption)
    """The signal that ends the training before its last step."""
    clock: Callable[[], float] = time.perf_counter
    """Returns the time in seconds. Times are measured with it; no step depends on it."""

    def silent(self) -> "Session":
        """Return a session whose events are dropped."""
        return replace(self, on_event=ignore)

    def of_teacher(self, number: int) -> "Session":
        """Return the session of a teacher, whose events are passed on as those of a teacher."""
        return replace(self, on_event=lambda event: self.on_event(TeacherEvent(number, event)))
