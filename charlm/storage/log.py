"""A file that grows by records."""

import os
from io import FileIO
from pathlib import Path

from charlm.storage.files import writing


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
        size = os.fstat(self._file.fileno()).st_size
        try:
            with writing(self.path):
                _write_all(self._file, record)
        except BaseException:
            self._file.truncate(size)
            raise

    def sync(self) -> None:
        """Wait until all records are on the disk; raises CharlmError if they cannot be written."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]
