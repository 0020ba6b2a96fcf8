"""Regular files, opened so that a stranger's link, pipe or size does no harm: read, written in place, or appended to.

Writing whole files or none is left to `charlm.storage.atomic`.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path, PurePath
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


@contextlib.contextmanager
def writing(target: Path) -> Iterator[None]:
    """Turn an OSError in the block into a CharlmError that names the target and the reason."""
    try:
        yield
    except OSError as error:
        raise CharlmError(f"{target}: cannot be written: {error.strerror}") from error


def refuse_links(root: Path, *names: str) -> None:
    """Raise CharlmError if one of some paths, or a folder on the way to it, is a link.

    Args:
        root: The folder that holds the paths; it may be a link.
        names: Paths relative to `root`; a missing one is no error.

    """
    for name in names:
        path = root
        for part in PurePath(name).parts:
            path /= part
            if path.is_symlink():
                raise CharlmError(f"{path}: is a link; must be the file or folder itself: charlm writes to it")


def open_for_writing(path: Path, flags: int) -> int:
    """Open a regular file for writing, without following a link and without waiting.

    Args:
        path: The file.
        flags: As for `os.open`, for instance os.O_WRONLY | os.O_CREAT.

    Returns:
        A file descriptor.

    Raises:
        CharlmError: the file is a link, a folder, a device or a pipe, or has a second name (a hard link), which could
            be outside of its folder; or it cannot be opened.

    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError as error:
        refuse_links(path.parent, path.name)
        raise CharlmError(f"{path}: cannot be written: {error.strerror}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CharlmError(f"{path}: is not a regular file")
        if found.st_nlink > 1:
            raise CharlmError(f"{path}: is one file with {found.st_nlink} names (hard links); put a copy in its place")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_all(file: FileIO, data: bytes) -> None:
    """Write all of `data` to an unbuffered file, in as many calls as that takes; raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


class Log:
    """A file that grows by complete records: of a record that cannot be written, nothing stays in the file.

    Args:
        path: The file; it is made if it is missing.

    Raises:
        CharlmError: the file cannot be opened for writing, or is a link.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = open_for_writing(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._file = os.fdopen(descriptor, "ab", buffering=0)

    def write(self, record: bytes) -> None:
        """Append a record; raises CharlmError if it cannot be written."""
        size = self.size
        try:
            with writing(self.path):
                write_all(self._file, record)
        except BaseException:
            self._file.truncate(size)
            raise

    def sync(self) -> None:
        """Wait until all records are on the disk; raises CharlmError if they cannot be written."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    @property
    def size(self) -> int:
        """Bytes in the file, those written by earlier processes included."""
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()
