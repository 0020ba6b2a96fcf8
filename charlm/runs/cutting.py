"""Removing records from a log of a run that is continued."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from charlm.storage import write_file, writing


def keep_spans(path: Path, spans: Sequence[range]) -> None:
    """Remove every byte of a file that is in none of some spans.

    The file is cut in place if the spans are its beginning. Otherwise it is written anew.

    Args:
        path: The file.
        spans: Positions of bytes, in order, without overlaps.

    Raises:
        CharlmError: the file cannot be read or written.

    """
    kept_bytes = sum(map(len, spans))
    is_beginning = not spans or spans[-1].stop == kept_bytes
    with writing(path), path.open("r+b") as file:
        if is_beginning:
            file.truncate(kept_bytes)
        else:
            write_file(path, _read_spans(file, spans))


def _read_spans(file: BinaryIO, spans: Sequence[range]) -> Iterator[bytes]:
    for span in spans:
        file.seek(span.start)
        yield file.read(len(span))
