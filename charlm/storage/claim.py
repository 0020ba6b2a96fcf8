"""Several processes that share a folder: they take turns, and each claims what it works on.

Both are locks of the operating system, which releases them when a process ends, even if it is killed.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from charlm.errors import CharlmError
from charlm.storage.atomic import writing
from charlm.storage.inside import open_inside


@contextlib.contextmanager
def taking_turns(folder: Path, name: str) -> Iterator[None]:
    """Wait until no other process is in a block with the same folder and name, and keep the others out of this block.

    Args:
        folder: An existing folder.
        name: The lock file in it.

    Raises:
        CharlmError: the lock file is a link or cannot be written, or the file system has no locks.

    """
    descriptor = _lock(folder, name, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(descriptor)


class Claim:
    """What a process has claimed, until it releases the claim or ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another process claim it."""
        os.close(self._descriptor)


def claim(folder: Path, name: str) -> Claim | None:
    """Claim something by its lock file, or return None if a running process has claimed it.

    Args:
        folder: An existing folder.
        name: The lock file in it.

    Raises:
        CharlmError: the lock file is a link or cannot be written, or the file system has no locks.

    """
    try:
        return Claim(_lock(folder, name, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except CharlmError as error:
        if isinstance(error.__cause__, BlockingIOError):
            return None
        raise


def _lock(folder: Path, name: str, operation: int) -> int:
    """Return the descriptor of a lock file that is locked; its lock ends when it is closed."""
    descriptor = open_inside(folder, name, os.O_RDWR | os.O_CREAT)
    try:
        with writing(folder / name):
            fcntl.flock(descriptor, operation)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
