"""metrics.jsonl: one JSON object for each log line, evaluation and event of a run."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from charlm.errors import CharlmError
from charlm.storage import open_file, writing

TAIL_BYTES = 1 << 20
"""How much of the end of a metrics.jsonl is read: thousands of lines."""


def to_line(metrics: Mapping[str, Any]) -> bytes:
    """Return an object as a line; a number that is not finite becomes null, since JSON cannot express it."""
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in metrics.items()
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
        lines = file.read(TAIL_BYTES).split(b"\n")[start > 0 : -1]  # the first and the last one may be cut
    last = next(reversed(lines), b"{}")
    timed = _parse(next((line for line in reversed(lines) if b'"seconds"' in line), b"{}"), path)
    seconds, characters = (to_number(timed.get(key)) for key in ("seconds", "characters"))
    speed = to_number(characters / seconds) if characters is not None and seconds else None
    return to_number(_parse(last, path).get("step")), seconds, speed


def cut_metrics(path: Path, *, step: int, evaluated_step: int) -> None:
    """Cut a metrics.jsonl before the first line that a run which continues at a step will write again.

    Args:
        path: The file; if it is missing, nothing is done.
        step: The last step that counts.
        evaluated_step: The last one whose evaluation counts.

    Raises:
        CharlmError: the file cannot be read or cut.

    """
    size = 0
    with writing(path):
        if not path.exists():
            return
        with path.open("r+b") as file:
            for line in file:
                if not line.endswith(b"\n") or _is_later(line, path, step=step, evaluated_step=evaluated_step):
                    break
                size += len(line)
            file.truncate(size)


def _is_later(line: bytes, path: Path, *, step: int, evaluated_step: int) -> bool:
    try:
        metrics = _parse(line, path)
    except CharlmError:  # of a power failure
        return True
    last = evaluated_step if metrics.get("split") == "validation" else step
    return (to_number(metrics.get("step")) or 0) > last


def to_number(value: Any) -> int | float | None:
    """Return a value from a file if it is a number from 0 to below 1e18 (and not NaN), else None."""
    return value if type(value) in {int, float} and 0 <= value < 1e18 else None


def _parse(line: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in a line; raise CharlmError if there is none."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        metrics = None
    if not isinstance(metrics, dict):
        raise CharlmError(f"{path}: damaged: its last line is not a JSON object")
    return metrics
