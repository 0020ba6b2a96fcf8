"""The update rules of dynamic evaluation and their defaults; `charlm.engine.dynamic` has the equations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RuleName = Literal["rms", "sgd"]


@dataclass(frozen=True)
class DynamicRule:
    """How dynamic evaluation updates the weights."""

    name: RuleName
    """rms scales each step by the gradients on the training text, sgd does not."""
    rate: float
    """The learning rate, 0 or more."""
    decay: float
    """The share, 0 to 1, by which the weights return to the trained ones after each segment."""
    segment: int = 20
    """The number of characters scored between two updates, 1 or more."""


RULES: Mapping[RuleName, DynamicRule] = {
    "rms": DynamicRule("rms", rate=3e-5, decay=0.01),
    "sgd": DynamicRule("sgd", rate=0.05, decay=1e-3),
}


def dynamic_rule(
    name: RuleName = "rms",
    *,
    rate: float | None = None,
    decay: float | None = None,
    segment: int | None = None,
) -> DynamicRule:
    """Return a rule by its name.

    Args:
        name: A key of RULES.
        rate: The learning rate, 0 or more; None = the default of the rule.
        decay: The share, 0 to 1, by which the weights return to the trained ones; None = the default of the rule.
        segment: The number of characters scored between two updates, 1 or more; None = the default of the rule.

    """
    rule = RULES[name]
    return DynamicRule(
        name,
        rate=rule.rate if rate is None else rate,
        decay=rule.decay if decay is None else decay,
        segment=rule.segment if segment is None else segment,
    )
