"""Regular files, opened so that a pipe or a size does no harm: read, written in place, or appended to.

Writing whole files or none is left to `charlm.storage.atomic`.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from charlm.errors import CharlmError

BLOCK_BYTES = 1 << 20


def read_file(path: Path, *, limit: int) -> bytes:
    """Return the contents of a regular file.

    Args:
        path: The file.
        limit: Largest size in bytes, 0 or more.

    Raises:
        CharlmError: the file is missing, larger than `limit`, a folder, a device or a pipe; the
            message starts with the path.

    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise CharlmError(f"{path}: {size:,} bytes; must be at most {limit:,}")
        return file.read(size)  # allocates as many bytes as it is asked for


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading as a stream.

    Args:
        path: The file.

    Yields:
        The open file.

    Raises:
        CharlmError: the file is missing, a folder, a device or a pipe; or an OSError occurs in the block.

    """
    try:
        with open(path, "rb", opener=lambda name, mode: os.open(name, mode | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise CharlmError(f"{path}: is not a regular file")
            yield file
    except OSError as error:
        raise CharlmError(f"{path}: cannot be read: {error.strerror}") from None


def printable(path: Path) -> str:
    """Return the name of a file as text that UTF-8 can encode; file systems allow any bytes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


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
        CharlmError: the file cannot be opened for writing.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("ab", buffering=0)

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
