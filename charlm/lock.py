"""One writer: the lock that a training process holds on its run folder."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from charlm.errors import CharlmError

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder for the length of a block.

    The lock is the system's (flock) and ends with the process that holds it, however that dies. Raises
    CharlmError, naming the process, while another one holds it.
    """
    try:
        file = (run / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise CharlmError(f"{run}: cannot be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise CharlmError(f"{run}: {holder} is training here; wait for it, or name another --run") from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
