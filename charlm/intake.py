"""Files that come from anyone: their size is looked at before memory is taken, and none is waited for."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charlm.errors import CharlmError


def read_file(path: Path, *, limit: int, follow_links: bool = True) -> bytes:
    """Return what a regular file of at most `limit` bytes holds.

    Raises CharlmError, starting with the path, if it is missing, larger, a folder, a device or a pipe (which would
    be waited for), or a link where links are not followed.
    """
    with open_file(path, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CharlmError(f"{path}: {size:,} bytes; should be {limit:,} at most")
        return file.read(size)  # takes memory for as much as it is asked for


@contextlib.contextmanager
def open_file(path: Path, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a regular file to be read as a stream; raises CharlmError, in the block too, like `read_file`."""
    flags = os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CharlmError(f"{path}: is not a regular file")
            yield file
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise CharlmError(f"{path}: is a link; should be the file itself") from None
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None
