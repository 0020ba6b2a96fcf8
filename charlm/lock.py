"""One writer: the lock that a training process holds on its run folder."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from charlm.errors import CharlmError
from charlm.files import writing

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder for the length of a block.

    The lock is the system's (flock) and ends with the process that holds it, however that dies. Raises
    CharlmError, naming the process, while another one holds it, and where the folder cannot be written.
    """
    path = run / LOCK
    with writing(path):
        file = path.open("a+", encoding="utf-8")
    with file:
        with writing(path):
            _lock(file, run)
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield


def _lock(file: TextIO, run: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        raise CharlmError(f"{run}: {holder} is training here; wait for it, or name another --run") from None
