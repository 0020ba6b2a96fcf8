"""The outcome of a training run: why it ended, and how good its best model is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from charlm.checks import parse_json
from charlm.errors import CharlmError
from charlm.runs.folder import ENDED_FILE
from charlm.storage import read_file, write_file

MAX_BYTES = 10_000
"""Maximum size of ended.json."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training run."""

    folder: Path
    """Folder of the run."""
    reason: str
    """Explanation for the user of why the training ended."""
    step: int
    """Last step."""
    facts: Mapping[str, Any]
    """Numbers of the run as plain data: recipe, epochs, seconds, nats_per_char and more."""
    measured_on: str = ""
    """Description of the scored text."""
    signal: Signals | None = None
    """Signal that ended the training, or None."""
    is_uncertain: bool = False
    """Whether the validation text is too short to tell which model is the best."""
    is_improving: bool = False
    """Whether the last of several evaluations is the best, so that more training helps."""
    worker: int = 0
    """Number of this worker in TF_CONFIG; only worker 0 has the folder of the run."""

    @property
    def nats_per_char(self) -> float | None:
        """Loss of the best model, in nats per character; None if there is no such model."""
        nats: float | None = self.facts.get("nats_per_char")
        return nats

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain data."""
        return {"run": str(self.folder), "reason": self.reason, "step": self.step, **self.facts}

    def write(self) -> None:
        """Write ended.json, the file of a finished run; raises CharlmError if that fails."""
        facts = {**self.to_json(), "run": self.folder.name}
        write_file(self.folder / ENDED_FILE, (json.dumps(facts) + "\n").encode())


def read_outcome(folder: Path) -> Outcome | None:
    """Return the outcome of a finished run; None if the run has not ended.

    Raises:
        CharlmError: ended.json cannot be read, or is damaged.

    """
    path = folder / ENDED_FILE
    if not path.exists():
        return None
    facts = parse_json(read_file(path, limit=MAX_BYTES), origin=str(path))
    if not isinstance(facts, dict) or not facts.keys() >= {"run", "reason", "step"}:
        raise CharlmError(f"{path}: damaged; delete it to continue the run")
    reason, step = facts.pop("reason"), facts.pop("step")
    facts.pop("run")
    return Outcome(folder, reason, step, facts)
