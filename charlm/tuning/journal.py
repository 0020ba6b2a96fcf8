"""The journal of a search: Optuna's records as a JSON object per line."""

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
    """Optuna's journal in a file with a single writer, the owner of the search's folder.

    Optuna's JournalFileBackend leaves a partial line if the disk is full, and then cannot read its
    file. After a killed process, it waits for the lock file: 30 seconds, or forever if the path is
    relative.

    Args:
        path: Path of the file, which is created with the first record. A partial last line is
            removed.

    Raises:
        CharlmError: The file cannot be read or truncated, or a line before the last is damaged.

    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records = _read_records(path)

    def read_logs(self, log_number_from: int) -> Iterator[Record]:
        """Return the records from an index on."""
        return iter(self._records[log_number_from:])

    def append_logs(self, logs: list[Record]) -> None:
        """Write records; raises CharlmError and leaves the file unchanged if that fails."""
        lines = [json.dumps(record, separators=(",", ":")) for record in logs]
        with contextlib.closing(Log(self._path)) as log:
            log.write("".join(f"{line}\n" for line in lines).encode())
            log.sync()
        self._records += map(json.loads, lines)


def _read_records(path: Path) -> list[Record]:
    """Return the records of a journal, and remove a damaged last line."""
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
                f"{path}: damaged: line {number} is not a JSON object; choose another folder"
            )
    with writing(path):
        os.truncate(path, kept_bytes)
    return records
