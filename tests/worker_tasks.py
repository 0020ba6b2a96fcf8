"""Functions that tests run in other processes, which import them by the name of this module."""

import os
import signal
import time

from charlm.errors import CharlmError


def end_at(number: int) -> int:
    """Kill this process if the number is 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_late_and_early(number: int) -> int:
    """Raise an error; the task 1 raises it later than the task 2."""
    time.sleep(0.3 if number == 1 else 0)
    raise CharlmError(f"task {number}")
