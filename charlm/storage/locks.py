"""The lock of a folder, which the operating system releases when a process ends, even if it is killed."""

import contextlib
import fcntl
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage.files import writing

LOCK = ".lock"
"""The lock of the folder of a run or a search, which has one writer."""
PATIENCE_SECONDS = 1.0
"""How long a writer waits for a lock: `is_held` takes it for an instant."""
Flock = Callable[[int, int], object]
"""Locks a file descriptor, as `fcntl.flock` does."""


@contextlib.contextmanager
def only_writer(
    folder: Path, *, flock: Flock = fcntl.flock, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Hold the lock of the folder of a run or a search for the length of a block.

    Args:
        folder: The folder.
        flock: What locks the descriptor.
        clock: Returns the time in seconds.

    Raises:
        CharlmError: another process holds the lock for longer than a second, and the message names it; or the folder
            cannot be written, or its file system has no locks.

    """
    path, end = folder / LOCK, clock() + PATIENCE_SECONDS
    with contextlib.ExitStack() as stack:
        with writing(path):
            file = stack.enter_context(path.open("a+", encoding="utf-8", errors="replace"))
            while True:
                try:
                    flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if clock() > end:
                        file.seek(0)
                        holder = file.read(200).strip() or "another process"
                        raise CharlmError(
                            f"{folder}: {holder} is training here; wait for it, or name another folder"
                        ) from None
                    time.sleep(0.01)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def is_held(run: Path) -> bool:
    """Return whether a running process holds the lock of a run folder; one that cannot be looked at is not held."""
    try:
        with (run / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # another error: no lock, or a file system without locks
        return isinstance(error, BlockingIOError)
    return False
