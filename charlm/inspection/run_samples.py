"""The texts that a network wrote during training, read from the TensorBoard events of its run without TensorFlow.

An event file is a row of records: the size of the data (8 bytes, little-endian), a checksum (4), the data, a checksum
(4). The file may be growing, so that the last record may be cut; it may come from a stranger, so that what is not
understood is skipped, and memory is bounded.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from charlm.errors import CharlmError
from charlm.runs.folder import TENSORBOARD
from charlm.storage.files import open_file

TAG = "sample"
"""What the tags of sampled texts begin with."""
MAX_SAMPLES = 6
MAX_CHARACTERS = 400
MAX_RECORD_BYTES = 1 << 20
"""The largest record that is read; a longer one, such as a graph, is skipped."""
INDENT = "    "
"""In front of each line: Markdown shows the text as it is."""


@dataclass(frozen=True)
class RunSample:
    """A text that the network wrote during training."""

    step: int
    text: str


def read_samples(
    run: Path, *, max_samples: int = MAX_SAMPLES, max_characters: int = MAX_CHARACTERS
) -> tuple[RunSample, ...]:
    """Return samples of a run, evenly spread over it, from the first to the last.

    If the run wrote several texts at each evaluation, for instance at several temperatures, those with the tag that
    came first are returned.

    Args:
        run: The folder of the run.
        max_samples: How many to return, at most; 1 or more.
        max_characters: Where each text is cut.

    Returns:
        In order of their steps; none if the run has no samples.

    Raises:
        CharlmError: an event file cannot be read, or is a link.

    """
    folder = run / TENSORBOARD
    if folder.is_symlink():
        raise CharlmError(f"{folder}: is a link; must be the folder itself")
    found: dict[str, dict[int, str]] = {}
    for path in sorted(folder.glob("*.tfevents.*")):
        with open_file(path, follow_links=False) as file:
            for tag, step, text in _texts(file):
                found.setdefault(tag, {})[step] = text[:max_characters]
    if not found:
        return ()
    by_step = sorted(found[TAG if TAG in found else next(iter(found))].items())
    count = min(max_samples, len(by_step))
    chosen = {round(index * (len(by_step) - 1) / max(count - 1, 1)) for index in range(count)}
    return tuple(RunSample(*by_step[index]) for index in sorted(chosen))


def _texts(file: BinaryIO) -> Iterator[tuple[str, int, str]]:
    """Yield the tag, step and text of each sample in an event file."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorboard.compat.proto.event_pb2 import Event

    for data in _records(file):
        if TAG.encode() not in data:  # most records are numbers and histograms
            continue
        try:
            event = Event.FromString(data)
        except DecodeError:
            continue
        for value in event.summary.value:
            if value.tag.startswith(TAG) and value.tensor.string_val:
                text = value.tensor.string_val[0].decode("utf-8", "replace")
                lines = (line.removeprefix(INDENT) for line in text.removesuffix("\n").split("\n"))
                yield value.tag, event.step, "\n".join(lines)


def _records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the data of the whole records of a file, except very large ones."""
    end = os.fstat(file.fileno()).st_size
    place = 0
    while place + 16 <= end:
        file.seek(place)
        (size,) = struct.unpack("<Q", file.read(8))
        place += size + 16
        if place <= end and size <= MAX_RECORD_BYTES:
            file.seek(4, os.SEEK_CUR)
            yield file.read(size)
