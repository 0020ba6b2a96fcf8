"""The journal of a search: Optuna's record of its trials, a JSON object per line."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from charlm.errors import CharlmError
from charlm.runs.metrics import parse_line
from charlm.storage import Log, open_file, writing

Record = dict[str, Any]


class Journal(BaseJournalBackend):
    """Optuna's journal in a file that has one writer, the holder of the lock of the search's folder.

    Optuna's own JournalFileBackend leaves part of a line in the file if the disk is full, and then cannot read it. It
    also makes a lock file. If a killed process has left one, the next process waits for it: for 30 seconds, or forever
    if the path is relative.

    Args:
        path: The file; it is made when the first record is written. A last line that was not written whole is removed.

    Raises:
        CharlmError: the file cannot be read or cut, or another line than the last one is damaged.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = _read_records(path)

    def read_logs(self, log_number_from: int) -> Iterator[Record]:
        """Return the records from a number on; the first record is number 0."""
        return iter(self._records[log_number_from:])

    def append_logs(self, logs: list[Record]) -> None:
        """Write records; raises CharlmError if they cannot be written, and then leaves the file as it was."""
        lines = [json.dumps(record, separators=(",", ":")) for record in logs]
        with contextlib.closing(Log(self._path)) as log:
            log.write("".join(f"{line}\n" for line in lines).encode())
            log.sync()
        self._records += map(json.loads, lines)


def _read_records(path: Path) -> list[Record]:
    """Return the records in a journal, and remove a damaged last line."""
    if not path.exists():
        return []
    records: list[Record] = []
    kept_bytes = 0
    with open_file(path) as file:
        for line in file:
            record = parse_line(line)
            if record is None or not line.endswith(b"\n"):
                break
            records.append(record)
            kept_bytes += len(line)
        if file.read(1):
            number = len(records) + 1
            raise CharlmError(
                f"{path}: damaged: line {number} is not a JSON object; name another folder"
            )
    with writing(path):
        os.truncate(path, kept_bytes)
    return records
