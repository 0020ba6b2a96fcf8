"""Reading files from untrusted sources: their size is checked before memory is allocated, and no read blocks."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from charlm.errors import CharlmError

BLOCK_BYTES = 1 << 20


def read_file(path: Path, *, limit: int, follow_links: bool = True) -> bytes:
    """Return the contents of a regular file.

    Args:
        path: The file.
        limit: Largest size in bytes, 0 or more.
        follow_links: Whether `path` may be a link.

    Raises:
        CharlmError: the file is missing, larger than `limit`, a folder, a device or a pipe, or a link that must not be
            followed; the message starts with the path.

    """
    with open_file(path, follow_links=follow_links) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CharlmError(f"{path}: {size:,} bytes; must be at most {limit:,}")
        return file.read(size)  # allocates as many bytes as it is asked for


@contextlib.contextmanager
def open_file(path: Path, *, follow_links: bool = True) -> Iterator[BinaryIO]:
    """Open a regular file for reading as a stream.

    Args:
        path: The file.
        follow_links: Whether `path` may be a link.

    Yields:
        The open file.

    Raises:
        CharlmError: the file is missing, a folder, a device or a pipe, or a link that must not be followed; or an
            OSError occurs in the block.

    """
    flags = os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CharlmError(f"{path}: is not a regular file")
            yield file
    except OSError as error:
        if error.errno == errno.ELOOP and not follow_links:
            raise CharlmError(f"{path}: is a link; must be the file itself") from None
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a regular file in hexadecimal digits, whatever its size; raises CharlmError as above."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
