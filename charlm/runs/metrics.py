"""The log of a run, metrics.jsonl, with a JSON object for each entry, evaluation and event."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from charlm.errors import CharlmError
from charlm.storage import open_file, write_file, writing

TAIL_BYTES = 1 << 20
"""Number of bytes that are read from the end of metrics.jsonl: thousands of lines."""


def to_line(metrics: Mapping[str, Any]) -> bytes:
    """Return an object as a line; numbers that are not finite become null, as JSON lacks them."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def read_position(path: Path) -> tuple[float | None, float | None, float | None]:
    """Return the progress of a run from the last lines of its metrics.jsonl, which may be growing.

    Only the last TAIL_BYTES are read; the speed is unknown if no line there has `seconds`.

    Returns:
        The step; the seconds of training, without evaluations and start-up; and the mean number of
        characters per second. None = unknown.

    Raises:
        CharlmError: The file cannot be read, is a link, or one of the last lines is not a JSON
            object.

    """
    with open_file(path) as file:
        start = max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read(TAIL_BYTES).split(b"\n")
    first = 1 if start else 0  # the first line that is complete; the last one may be incomplete
    newest_first = lines[first:-1][::-1]
    with_seconds = (line for line in newest_first if b'"seconds"' in line)
    last = parse_line(next(iter(newest_first), b"{}"))
    timed = parse_line(next(with_seconds, b"{}"))
    if last is None or timed is None:
        raise CharlmError(f"{path}: damaged: its last line is not a JSON object")
    seconds = to_number(timed.get("seconds"))
    characters = to_number(timed.get("characters"))
    speed = to_number(characters / seconds) if characters is not None and seconds else None
    return to_number(last.get("step")), seconds, speed


def cut_metrics(path: Path, *, step: int, evaluated_step: int) -> int:
    """Remove lines of later steps, damaged lines and an incomplete last line from a metrics.jsonl.

    A run that continues at the step writes the lines of later steps again.

    Args:
        path: The file; if it is missing, nothing is done.
        step: The last step whose lines are kept.
        evaluated_step: The last step whose evaluation is kept.

    Returns:
        The number of damaged lines, which are not JSON objects. An incomplete last line, which a
        killed process leaves, does not count.

    Raises:
        CharlmError: The file cannot be read or written.

    """
    with writing(path):
        if not path.exists():
            return 0
    kept: list[range] = []
    damaged_lines = 0
    start = 0
    with writing(path), path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            stop = start + len(line)
            metrics = parse_line(line)
            if metrics is None:
                damaged_lines += 1
            elif _is_later(metrics, step=step, evaluated_step=evaluated_step):
                break
            else:
                kept.append(range(start, stop))
            start = stop
    keep_spans(path, kept)
    return damaged_lines


def _is_later(metrics: Mapping[str, Any], *, step: int, evaluated_step: int) -> bool:
    last = evaluated_step if metrics.get("split") == "validation" else step
    return (to_number(metrics.get("step")) or 0) > last


def keep_spans(path: Path, spans: Sequence[range]) -> None:
    """Remove all bytes of a file except the given spans.

    The file is truncated in place if the spans are its beginning, otherwise the file is rewritten.

    Args:
        path: The file.
        spans: Positions of bytes, in order, without overlaps.

    Raises:
        CharlmError: The file cannot be read or written.

    """
    size = sum(map(len, spans))
    is_beginning = not spans or spans[-1].stop == size
    with writing(path), path.open("r+b") as file:
        if is_beginning:
            file.truncate(size)
        else:
            write_file(path, _read_spans(file, spans))


def _read_spans(file: BinaryIO, spans: Sequence[range]) -> Iterator[bytes]:
    for span in spans:
        file.seek(span.start)
        yield file.read(len(span))


def to_number(value: Any) -> int | float | None:
    """Return a value from a file if it is a number, 0 or more and below 1e18, else None."""
    return value if type(value) in {int, float} and 0 <= value < 1e18 else None


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if the line is something else."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) else None
