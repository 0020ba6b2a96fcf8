"""Files that grow by complete records."""

import os
from pathlib import Path

from charlm.storage.atomic import write_all, writing
from charlm.storage.inside import open_inside


class Log:
    """A file that grows by complete records: of a record that cannot be written, nothing stays in the file.

    Args:
        path: The file; it is made if it is missing.
        root: A folder above it; no link below it is followed. None = the folder of the file.

    Raises:
        CharlmError: the file cannot be opened for writing, or is a link.

    """

    def __init__(self, path: Path, *, root: Path | None = None) -> None:
        self.path = path
        root = root or path.parent
        descriptor = open_inside(root, str(path.relative_to(root)), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
