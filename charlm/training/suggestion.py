"""What the evaluations of a run have shown, and at most one suggestion of what to try next.

A suggestion is a new run with other settings. Each kind was followed on at least six texts, see docs/recipes.md.
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
"""A network that has read its text less often and loses to a 5-gram model has had too few steps."""
MAX_ROUNDING = 0.1
"""How much the suggested epochs may be rounded, as a share."""
SHORT_TEXT = 70_000
"""Below so many characters of training text, a 5-gram model was hard to beat; above, networks beat it on every text."""
LZMA_MARGIN = 0.05
"""By how many nats per character lzma has to be better for the text to have long-range repeats."""
MAX_BYTES = 10_000
"""The most bytes of ended.json."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a run at its end."""

    step: int
    """The last step."""
    best_step: int
    """The step of the best model; 0 = the initial weights."""
    epochs: float
    """How often the training text was read."""
    has_two_evaluations: bool
    """Whether the last evaluation can be compared with an earlier one."""
    comparison: Comparison | None
    """The best model compared with the 5-gram model; None = it was not compared."""
    best_nats: float
    """The lowest validation loss, in nats per character."""
    lzma_nats: float | None
    """What lzma scores on the same text, in nats per character; None = it is not known."""
    training_characters: int
    """The length of the training text."""


@dataclass(frozen=True)
class Suggestion:
    """What to try next, and why."""

    kind: Kind
    epochs: int | None = None
    """Passes over the training text of a new run; None = the settings say, or there is nothing to run."""
    settings: Mapping[str, Any] | None = None
    """Other settings of the new run, by dotted keys; None = they stay."""


def suggest(evidence: Evidence) -> Suggestion | None:
    """Return what to try after a run, from all that is known of it; None = nothing.

    A run whose last evaluation is its best has not begun to memorise its text. How much the last evaluations gained
    does not count: the falling learning rate flattens the end of every run.

    Args:
        evidence: What is known of the run, which has a validation text that is long enough for an error.

    """
    is_last = evidence.best_step == evidence.step
    loses = evidence.comparison is not None and evidence.comparison.verdict == "worse"
    has_few_steps = loses and evidence.epochs < FEW_EPOCHS
    if is_last and (evidence.has_two_evaluations or has_few_steps):
        return _twice_as_long("too few steps" if has_few_steps else "still learning", evidence)
    if loses and evidence.training_characters < SHORT_TEXT:
        return Suggestion("short text")
    lzma = evidence.lzma_nats
    if lzma is not None and lzma < evidence.best_nats - LZMA_MARGIN and not loses:
        return Suggestion("long repeats")
    return None


def _twice_as_long(kind: Kind, evidence: Evidence) -> Suggestion:
    """Return a suggestion to train for twice the epochs, or twice the steps if these epochs are not nearly whole."""
    wanted = 2 * evidence.epochs
    epochs = round(wanted)
    if abs(epochs - wanted) > MAX_ROUNDING * wanted:
        return Suggestion(kind, settings={"training.steps": 2 * evidence.step})
    return Suggestion(kind, epochs=epochs)


@dataclass(frozen=True)
class End:
    """What ended.json says of a run that has ended."""

    step: int
    """The last step."""
    suggestion: Suggestion | None = None
    """What to try next; None = nothing."""

    def write(self, path: Path) -> None:
        """Write the file; raises CharlmError if it cannot be written."""
        write_file(path, (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def read(cls, path: Path) -> "End | None":
        """Return what the file says; None if there is none, so that the run has not ended.

        Raises:
            CharlmError: the file cannot be read, or is damaged.

        """
        if not path.exists():
            return None
        try:
            return TypeAdapter(cls).validate_json(read_file(path, limit=MAX_BYTES))
        except ValidationError:
            raise CharlmError(
                f"{path}: damaged; expected the step at which the run ended"
            ) from None
