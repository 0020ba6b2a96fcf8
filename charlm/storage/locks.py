"""Locks of files and folders, which the operating system releases when a process ends, even if it is killed."""

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
Flock = Callable[[int, int], object]
"""Locks a file descriptor, as `fcntl.flock` does."""


def lock_folder(folder: Path) -> int | None:
    """Lock a folder.

    Args:
        folder: The folder.

    Returns:
        The descriptor of the folder: the lock ends when it is closed. None = another process holds the lock.

    Raises:
        OSError: the folder is missing or a link.

    """
    return _hold(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC), folder)


def _hold(descriptor: int, path: Path, *, flock: Flock = fcntl.flock) -> int | None:
    """Lock a descriptor and return it; else close it, and return None if another process holds the lock."""
    try:
        with writing(path):
            try:
                flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


PATIENCE_SECONDS = 1.0
"""How long a writer waits for a lock: `is_held` takes it for an instant."""


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
    while True:
        with writing(path):
            opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        descriptor = _hold(opened, path, flock=flock)
        if descriptor is None:
            if clock() > end:
                raise CharlmError(f"{folder}: {_holder(path)} is training here; wait for it, or name another folder")
            time.sleep(0.01)
            continue
        if _is_in_place(descriptor, path):
            break
        os.close(descriptor)  # the holder before removed the file while this process opened it: open the new one
    try:
        with writing(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {platform.node()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def is_held(run: Path) -> bool:
    """Return whether a running process holds the lock of a run folder; one that cannot be looked at is not held."""
    try:
        descriptor = os.open(run / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:  # another error: a file system without locks
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False


def _is_in_place(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")[:200].strip() or "another process"
    return "another process"
