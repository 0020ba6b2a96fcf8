"""Files that come from anyone: their size is looked at before memory is taken, and none is waited for."""

import errno
import os
import stat
from pathlib import Path

from charlm.errors import CharlmError


def read_file(path: Path, *, limit: int, follow_links: bool = True) -> bytes:
    """Return what a regular file of at most `limit` bytes holds.

    Raises CharlmError, starting with the path, if it is missing, larger, a folder, a device or a pipe (which would
    be waited for), or a link where links are not followed.
    """
    flags = os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise CharlmError(f"{path}: is not a regular file")
            if status.st_size > limit:
                raise CharlmError(f"{path}: {status.st_size:,} bytes; should be {limit:,} at most")
            return file.read(status.st_size)  # takes memory for as much as it is asked for
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise CharlmError(f"{path}: is a link; should be the file itself") from None
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None
