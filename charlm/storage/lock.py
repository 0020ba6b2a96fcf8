"""One writer: the lock that a training process holds on its run folder."""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from charlm.errors import CharlmError
from charlm.storage.atomic import writing
from charlm.storage.inside import open_inside

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(run: Path, *, flock: Callable[[int, int], object] = fcntl.flock) -> Iterator[None]:
    """Hold the lock of a run folder for the length of a block.

    The operating system releases the lock when the process ends, even if it is killed.

    Args:
        run: The folder.
        flock: Locks a file descriptor, as `fcntl.flock` does.

    Raises:
        CharlmError: another process holds the lock, which the message names; the lock is a link; or the folder cannot
            be written, or its file system has no locks.

    """
    path = run / LOCK
    with _open_locked(run, flock) as file:
        with writing(path):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
        yield


def is_held(run: Path) -> bool:
    """Return whether a running process holds the lock of a run folder; one that cannot be looked at is not held."""
    try:
        descriptor = os.open(run / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _open_locked(run: Path, flock: Callable[[int, int], object]) -> TextIO:
    """Return the lock, held; if the holder before removed the file while this process opened it, open the new one."""
    while True:
        file = os.fdopen(open_inside(run, LOCK, os.O_RDWR | os.O_CREAT), "r+", encoding="utf-8", errors="replace")
        try:
            with writing(run / LOCK):
                _lock(file, run, flock)
            if _is_in_place(file, run / LOCK):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_in_place(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _lock(file: TextIO, run: Path, flock: Callable[[int, int], object]) -> None:
    try:
        flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        raise CharlmError(f"{run}: {holder} is training here; wait for it, or name another --run") from None
