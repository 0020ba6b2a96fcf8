"""The log of a run, metrics.jsonl, with a JSON object for each entry and evaluation."""

import itertools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
        CharlmError: The file cannot be read.

    """
    with open_file(path) as file:
        start = max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read(TAIL_BYTES).split(b"\n")
    metrics = (line for line in map(parse_line, reversed(lines)) if line is not None)
    last = next(metrics, {})
    timed = next((line for line in itertools.chain([last], metrics) if "seconds" in line), {})
    seconds = to_number(timed.get("seconds"))
    characters = to_number(timed.get("characters"))
    speed = to_number(characters / seconds) if characters is not None and seconds else None
    return to_number(last.get("step")), seconds, speed


def keep_lines(path: Path, *, step: int) -> None:
    """Remove the lines of later steps, and damaged lines, from a metrics.jsonl.

    A run that continues at the step writes the lines of later steps again.

    Raises:
        CharlmError: The file cannot be read or written.

    """
    with writing(path):
        before = path.read_bytes()
    lines = before.splitlines(keepends=True)
    kept = b"".join(line for line in lines if _is_kept(line, step=step))
    if kept != before:
        write_file(path, kept)


def _is_kept(line: bytes, *, step: int) -> bool:
    metrics = parse_line(line)
    is_complete = metrics is not None and line.endswith(b"\n")
    return is_complete and (to_number((metrics or {}).get("step")) or 0) <= step


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
