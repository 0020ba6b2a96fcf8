"""Files that grow by complete records."""

import os
from pathlib import Path

from charlm.storage.atomic import write_all, writing


class Log:
    """A file that grows by complete records: of a record that cannot be written, nothing stays in the file.

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
