"""Suggestions for the next run, from the evaluations of a finished run.

Each kind of suggestion was tested on at least six texts, see docs/recipes.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from charlm.errors import CharlmError
from charlm.evaluation.baselines import Comparison
from charlm.storage import read_file, write_file

Kind = Literal["still learning", "too few steps", "short text", "long repeats"]
FEW_EPOCHS = 2.0
"""Epochs below which a network that is worse than a 5-gram model needs more steps."""
FEW_STEPS = 200
"""Number of steps that a network needs to learn more than how frequent each character is."""
MAX_ROUNDING = 0.1
"""Largest relative change when the suggested epochs are rounded to a whole number."""
SHORT_TEXT = 70_000
"""Number of characters of training text below which a 5-gram model is hard to beat; networks were
better on every longer text."""
LZMA_MARGIN = 0.05
"""Smallest advantage of lzma, in nats per character, that shows long-range repeats in a text."""
MAX_BYTES = 10_000
"""Maximum size of ended.json."""


@dataclass(frozen=True)
class Evidence:
    """Facts about a finished run that determine the suggestion."""

    step: int
    """Last step."""
    best_step: int
    """Step of the best model; 0 = the initial weights."""
    epochs: float
    """Passes over the training text."""
    has_two_evaluations: bool
    """Whether the last evaluation can be compared with an earlier evaluation."""
    comparison: Comparison | None
    """Comparison of the best model with the 5-gram model; None = not compared."""
    best_nats: float
    """Lowest validation loss, in nats per character."""
    lzma_nats: float | None
    """Score of lzma on the same text, in nats per character; None = unknown."""
    training_characters: int
    """Length of the training text."""


@dataclass(frozen=True)
class Suggestion:
    """An idea for the next run; without epochs and settings, only an explanation of the result."""

    kind: Kind
    epochs: int | None = None
    """Epochs of the new run; None = unchanged."""
    settings: Mapping[str, Any] | None = None
    """Changed settings of the new run, by dotted keys; None = no changes."""


def suggest(evidence: Evidence) -> Suggestion | None:
    """Return a suggestion for the next run, or None if there is none.

    If the last evaluation is the best, the network has not begun to memorise its text. The gain of
    the last evaluations is ignored, since the falling learning rate flattens the end of every run.

    Args:
        evidence: Facts about a run whose validation text is long enough for a standard error.

    """
    is_last = evidence.best_step == evidence.step
    is_worse = evidence.comparison is not None and evidence.comparison.verdict == "worse"
    has_few_steps = is_worse and evidence.epochs < FEW_EPOCHS
    if is_last and has_few_steps:
        return _twice_as_long("too few steps", evidence)
    if is_last and evidence.has_two_evaluations:
        return _twice_as_long("still learning", evidence)
    if is_worse and evidence.training_characters < SHORT_TEXT:
        return Suggestion("short text")
    lzma = evidence.lzma_nats
    if not is_worse and lzma is not None and lzma < evidence.best_nats - LZMA_MARGIN:
        return Suggestion("long repeats")
    return None


def _twice_as_long(kind: Kind, evidence: Evidence) -> Suggestion:
    """Suggest twice the epochs, or twice the steps if that is not close to a whole number.

    A run of very few steps gets FEW_STEPS.
    """
    if 2 * evidence.step < FEW_STEPS:
        return Suggestion(kind, settings={"training.steps": FEW_STEPS})
    doubled = 2 * evidence.epochs
    epochs = round(doubled)
    if abs(epochs - doubled) > MAX_ROUNDING * doubled:
        return Suggestion(kind, settings={"training.steps": 2 * evidence.step})
    return Suggestion(kind, epochs=epochs)


@dataclass(frozen=True)
class End:
    """The contents of ended.json, the file of a finished run."""

    step: int
    """Last step."""
    suggestion: Suggestion | None = None

    def write(self, path: Path) -> None:
        """Write the file; raises CharlmError if it cannot be written."""
        write_file(path, (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "End | None":
        """Read the file; return None if it is missing because the run has not ended.

        Raises:
            CharlmError: The file cannot be read, or is damaged.

        """
        if not path.exists():
            return None
        try:
            return TypeAdapter(cls).validate_json(read_file(path, limit=MAX_BYTES))
        except ValidationError:
            problem = f"{path}: damaged; expected the step at which the run ended"
            raise CharlmError(problem) from None
