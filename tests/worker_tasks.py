"""Functions that tests run in other processes, which import them by the name of this module."""

import os
import signal
import time
from pathlib import Path

from charlm.errors import CharlmError
from charlm.training.signals import stop_on_signal


def end_at(number: int) -> int:
    """Kill this process if the number is 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail_late_and_early(number: int) -> int:
    """Raise an error; the task 1 raises it later than the task 2."""
    time.sleep(0.3 if number == 1 else 0)
    raise CharlmError(f"task {number}")


def note_cores(file: Path) -> None:
    """Write the cores of this process to a file."""
    file.write_text(" ".join(map(str, sorted(os.sched_getaffinity(0)))), encoding="utf-8")


def fail_at_once(line: str) -> None:
    """Raise an error."""
    raise CharlmError(line)


def search_without_end(file: Path) -> None:
    """Write a file, and wait for a signal."""
    with stop_on_signal():
        file.touch()
        time.sleep(600)
