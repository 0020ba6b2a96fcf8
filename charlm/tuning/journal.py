"""The lock of the journal in which Optuna keeps a study.

Optuna's own locks stay behind if their process is killed, and hold the others up for 30 seconds. This one is the
operating system's. Its holder also cuts off half a line that a killed process may have left: with it, Optuna could not
read the journal.
"""

import fcntl
import os
from pathlib import Path

from optuna.storages.journal import JournalFileBackend

from charlm.storage.inside import open_inside

LINE_BYTES = 1 << 20
"""Longer than any line of a journal."""


class JournalLock:
    """Held by the process that writes to a journal; it has the methods of Optuna's locks, whose base is not public.

    Args:
        journal: The file; it is made if it is missing.

    Raises:
        CharlmError: the file is a link or cannot be written.

    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._descriptor = -1
        os.close(open_inside(journal.parent, journal.name, os.O_RDWR | os.O_CREAT))

    def acquire(self) -> bool:
        """Wait for the lock, and make the journal end with a whole line."""
        self._descriptor = open_inside(self._journal.parent, self._journal.name, os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        end = os.fstat(self._descriptor).st_size
        start = max(0, end - LINE_BYTES)
        tail = os.pread(self._descriptor, end - start, start)
        os.ftruncate(self._descriptor, start + tail.rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let another process write."""
        os.close(self._descriptor)


def open_journal(journal: Path) -> JournalFileBackend:
    """Open the journal of a study; it is made if it is missing.

    Raises:
        CharlmError: the file is a link or cannot be written.

    """
    return JournalFileBackend(str(journal), lock_obj=JournalLock(journal))  # type: ignore[arg-type]
