"""The score that a bundle says it has. It may come from a stranger: a value that is not possible is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from charlm.runs.metrics import to_number


@dataclass(frozen=True)
class KnownScore:
    """A score in model.json."""

    nats_per_char: float
    is_on_unseen_text: bool
    """Whether it is that of the validation text, and not of the training text."""
    step: int | None


def known_score(facts: Mapping[str, Any]) -> KnownScore | None:
    """Return the score in the facts of a bundle, or None if there is none or a value of it is not possible."""
    score = facts.get("score")
    if not isinstance(score, dict) or score.get("split") not in ("validation", "train"):
        return None
    nats, step = to_number(score.get("nats_per_char")), to_number(facts.get("step"))
    if nats is None:
        return None
    return KnownScore(nats, score["split"] == "validation", step if isinstance(step, int) else None)
