"""metrics.jsonl: one JSON object for each log line, evaluation and event of a run."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charlm.errors import CharlmError
from charlm.network.rnn import bits
from charlm.storage.files import Log, open_file, read_file

TAIL_BYTES = 1 << 20
"""How much of the end of a metrics.jsonl is read: thousands of lines."""

MAX_BYTES = 64 << 20
"""The largest metrics.jsonl that is read as a whole: hundreds of thousands of lines."""


class MetricsLog:
    """The metrics.jsonl of a run, open for appending; its methods raise CharlmError if it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._log = Log(path)

    def write(self, metrics: Mapping[str, Any]) -> None:
        """Append an object; a number that is not finite becomes null, since JSON cannot express it."""
        finite = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in metrics.items()
        }
        self._log.write((json.dumps(finite, allow_nan=False) + "\n").encode())

    def sync(self) -> None:
        """Return when all lines are on the disk."""
        self._log.sync()

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def with_bits(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return metrics that have nats_per_char, with bits_per_char added."""
    return {**metrics, "bits_per_char": bits(metrics["nats_per_char"])}


@dataclass(frozen=True)
class Speed:
    """How long and how fast a run has trained, without evaluations and start-up; None = not known yet."""

    seconds: float | None
    characters_per_second: float | None
    """The mean over the whole run."""


def read_speed(path: Path) -> Speed:
    """Return the speed of a run from the last whole line with `seconds` in its metrics.jsonl, which may be growing.

    Only the last MiB of the file is read; if no line there has `seconds`, the speed is not known.

    Raises:
        CharlmError: the file cannot be read, is a link, or that line is not a JSON object.

    """
    metrics = _parse(next((line for line in reversed(_last_lines(path)) if b'"seconds"' in line), b"{}"), path)
    seconds, characters = (to_number(metrics.get(key)) for key in ("seconds", "characters"))
    return Speed(seconds, to_number(characters / seconds) if characters is not None and seconds else None)


def read_step(path: Path) -> float | None:
    """Return the last step in a metrics.jsonl, which may be growing, from its last whole line; None if it has none.

    Raises:
        CharlmError: the file cannot be read, is a link, or that line is not a JSON object.

    """
    return to_number(_parse(next(reversed(_last_lines(path)), b"{}"), path).get("step"))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl, which may be growing; a line without an end is left out.

    Raises:
        CharlmError: the file cannot be read, is a link or larger than MAX_BYTES, or a line is not a JSON object.

    """
    found = []
    for number, line in enumerate(read_file(path, limit=MAX_BYTES, follow_links=False).split(b"\n")[:-1], 1):
        try:
            metrics = json.loads(line)
        except (ValueError, RecursionError):
            metrics = None
        if not isinstance(metrics, dict):
            raise CharlmError(f"{path}: damaged: line {number:,} is not a JSON object")
        found.append(metrics)
    return found


def to_number(value: Any) -> int | float | None:
    """Return a value from a file if it is a number from 0 to below 1e18 (and not NaN), else None."""
    return value if type(value) in {int, float} and 0 <= value < 1e18 else None


def _parse(line: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in one of the last lines."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        metrics = None
    if not isinstance(metrics, dict):
        raise CharlmError(f"{path}: damaged: its last line is not a JSON object")
    return metrics


def _last_lines(path: Path) -> list[bytes]:
    """Return the whole lines at the end of a file; a line without an end is still being written."""
    with open_file(path, follow_links=False) as file:
        start = max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES)
        file.seek(start)
        lines = file.read(TAIL_BYTES).split(b"\n")[:-1]
    return lines[1:] if start else lines  # the first one may be cut
