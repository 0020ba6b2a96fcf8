"""The event files of TensorBoard: their format, their names, and how a resumed run truncates them.

They are written without TensorFlow, since `tf.summary` would notice a full disk late, leave half an
event in the file, and raise its own kind of error.
"""

import os
import re
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

from charlm.events import LogDamaged, OnEvent
from charlm.runs.metrics import keep_spans
from charlm.storage import Log, sync_folder, writing

EVENT_FILE = re.compile(r"events\.out\.tfevents\.([0-9]{1,19})")
"""Pattern of the name of an event file; the group is its number."""
HEAD_BYTES = 12
"""Size of the head of an event: the length of the data, and a checksum of the length."""
CHECKSUM_BYTES = 4
"""Size of the checksum after the data of an event."""


def new_event_file(folder: Path) -> Path:
    """Return the path of a new event file, whose name sorts after all others.

    TensorBoard reads the files in the order of their names, and never returns to an earlier file.
    The number in the name is the time in nanoseconds, with leading zeros before 2001. If an older
    file has a later time because the clock was wrong, the number is one more than the number of
    that file.

    Args:
        folder: The folder of a run.

    Raises:
        CharlmError: The folder cannot be read.

    """
    with writing(folder):
        names = [path.name for path in folder.iterdir()]
    matches = [EVENT_FILE.fullmatch(name) for name in names]
    numbers = [int(match[1]) for match in matches if match is not None]
    after_others = max(numbers, default=0) + 1
    number = max(time.time_ns(), after_others)
    return folder / f"events.out.tfevents.{number:019}"


def read_events(file: BinaryIO) -> Iterator[tuple[range, Event | None]]:
    """Yield the events of a file, each with the positions of its bytes; None if it is damaged.

    An incomplete record at the end is ignored.

    A record is the length of its data (8 bytes), a checksum of the length, the data, and a checksum
    of the data. If the length is damaged, the rest of the file counts as one damaged record.
    """
    start = 0
    end = os.fstat(file.fileno()).st_size
    while start + HEAD_BYTES <= end:
        head = file.read(HEAD_BYTES)
        length, checksum = struct.unpack("<QI", head)
        if masked_crc32c(head[:8]) != checksum:
            yield range(start, end), None
            return
        stop = start + HEAD_BYTES + length + CHECKSUM_BYTES
        if stop > end:
            return
        data = file.read(length)
        checksum = int.from_bytes(file.read(CHECKSUM_BYTES), "little")
        yield range(start, stop), _parse_event(data, checksum)
        start = stop


def _parse_event(data: bytes, checksum: int) -> Event | None:
    if masked_crc32c(data) != checksum:
        return None
    try:
        return Event.FromString(data)
    except DecodeError:
        return None


def cut_events(path: Path, *, step: int) -> int:
    """Remove events of later steps, damaged records and an incomplete end from an event file.

    A resumed run writes the events of later steps again, but TensorBoard's fast loader would show
    the old events until then. TensorBoard's other loader stops at a damaged record.

    Args:
        path: The event file.
        step: The last step to keep.

    Returns:
        The number of bytes lost to damage. An incomplete end does not count, since a killed process
        may leave an incomplete end.

    Raises:
        CharlmError: The file cannot be read or written.

    """
    kept: list[range] = []
    lost_bytes = 0
    with writing(path), path.open("rb") as file:
        for span, event in read_events(file):
            if event is None:
                lost_bytes += len(span)
            elif event.step > step:
                break
            else:
                kept.append(span)
    keep_spans(path, kept)
    return lost_bytes


class EventLog:
    """The event files in a folder: those of earlier sessions, and a new file for this session.

    TensorBoard gives each folder with event files a line of its own colour. The first event creates
    the new file, and the folder if it is missing. Methods raise CharlmError if a file cannot be
    read or written.

    Args:
        folder: The folder.
        step: Present step of the run; later and damaged events are removed.
        on_event: Called with a `LogDamaged` for each damaged file.
        clock: Function that returns the time of an event in seconds since 1970.

    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int,
        on_event: OnEvent,
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._step = step
        self._file: Log | None = None
        for path in event_files(folder):
            lost_bytes = cut_events(path, step=step)
            if lost_bytes:
                on_event(LogDamaged(path, lost_bytes, "byte"))

    def write(self, summary: Summary, *, step: int) -> None:
        """Write the event of a step."""
        if self._file is None:
            self._file = self._begin()
        self._write(self._file, Event(step=step, summary=summary))

    def sync(self) -> None:
        """Wait until all events and the name of the file are on the disk."""
        if self._file is None:
            return
        self._file.sync()
        with writing(self._folder):
            sync_folder(self._folder)

    def close(self) -> None:
        """Close the new file."""
        if self._file is not None:
            self._file.close()

    def _begin(self) -> Log:
        """Open a new event file."""
        with writing(self._folder):
            self._folder.mkdir(exist_ok=True)
        file = Log(new_event_file(self._folder))
        self._write(file, Event(file_version="brain.Event:2"))
        # makes TensorBoard forget later steps of earlier files
        session_log = SessionLog(status=SessionLog.START)
        self._write(file, Event(step=self._step + 1, session_log=session_log))
        return file

    def _write(self, file: Log, event: Event) -> None:
        """Append an event with the present time."""
        event.wall_time = self._clock()
        RecordWriter(file).write(event.SerializeToString())


def event_files(folder: Path) -> list[Path]:
    """Return the event files in a folder, sorted; none if there is no such folder."""
    return sorted(folder.glob("events.*"))
