"""metrics.jsonl: one JSON object for each log line, evaluation and event of a run."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.errors import CharlmError
from charlm.runs.cutting import keep_spans
from charlm.storage import open_file, writing

TAIL_BYTES = 1 << 20
"""How much of the end of a metrics.jsonl is read: thousands of lines."""


def to_line(metrics: Mapping[str, Any]) -> bytes:
    """Return an object as a line; a number that is not finite becomes null, since JSON cannot express it."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in metrics.items()
    }
    return (json.dumps(finite, allow_nan=False) + "\n").encode()


def read_position(path: Path) -> tuple[float | None, float | None, float | None]:
    """Return how far a run is from the last whole lines of its metrics.jsonl, which may be growing.

    Only the last MiB of the file is read; if no line there has `seconds`, the speed is not known.

    Returns:
        Its step; the seconds that it has trained, without evaluations and start-up; and the characters a second, the
        mean over the whole run. None = not known yet.

    Raises:
        CharlmError: the file cannot be read, is a link, or one of these lines is not a JSON object.

    """
    with open_file(path) as file:
        start = max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read(TAIL_BYTES).split(b"\n")[
            start > 0 : -1
        ]  # the first and the last one may be cut
    last = parse_line(next(reversed(lines), b"{}"))
    timed = parse_line(next((line for line in reversed(lines) if b'"seconds"' in line), b"{}"))
    if last is None or timed is None:
        raise CharlmError(f"{path}: damaged: its last line is not a JSON object")
    seconds, characters = (to_number(timed.get(key)) for key in ("seconds", "characters"))
    speed = to_number(characters / seconds) if characters is not None and seconds else None
    return to_number(last.get("step")), seconds, speed


def cut_metrics(path: Path, *, step: int, evaluated_step: int) -> int:
    """Remove from a metrics.jsonl the lines of later steps, damaged lines, and a last line that has no end.

    A run that continues at the step writes the lines of later steps again.

    Args:
        path: The file; if it is missing, nothing is done.
        step: The last step whose lines stay.
        evaluated_step: The last step whose evaluation stays.

    Returns:
        The number of damaged lines: those that are not a JSON object. A last line that has no end is what a killed
        process leaves, and does not count.

    Raises:
        CharlmError: the file cannot be read or written.

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
    found = to_number(metrics.get("step")) or 0
    return found > last


def to_number(value: Any) -> int | float | None:
    """Return a value from a file if it is a number from 0 to below 1e18 (and not NaN), else None."""
    return value if type(value) in {int, float} and 0 <= value < 1e18 else None


def parse_line(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if there is none."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return metrics if isinstance(metrics, dict) else None
