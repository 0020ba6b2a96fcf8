"""The update rules of dynamic evaluation and their defaults; `charlm.engine.dynamic` has the equations.

By default, rms takes its learning rate from the network. On training text, a step of the rule lowers the loss of the
segment that it is computed from, to first order, by

    rate * sum of r^2 / (r + eps)

nats per character on average; the rate is such that this is DECREASE_NATS. One rate for all networks is too high for
large ones, all of whose weights move at once, or too low for small ones. docs/experiments.md has the measurements.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from charlm.errors import CharlmError
from charlm.network.architecture import Architecture

MAX_SEGMENT = 10_000
"""The longest segment; the memory taken grows with it."""

DECREASE_NATS = 0.25
"""Nats per character by which a step should lower the loss of a segment of training text, to first order."""

RuleName = Literal["rms", "sgd"]


@dataclass(frozen=True)
class DynamicRule:
    """How dynamic evaluation updates the weights."""

    name: RuleName
    """rms scales each step by the gradients on the training text, sgd does not."""
    rate: float | None
    """The learning rate, 0 or more, finite; None = from the gradients on the training text, which only rms has."""
    decay: float
    """The share, 0 to 1, by which the weights return to the trained ones after each segment."""
    segment: int = 20
    """The number of characters scored between two updates, 1 to MAX_SEGMENT."""


RULES: Mapping[RuleName, DynamicRule] = {
    "rms": DynamicRule("rms", rate=None, decay=0.003),
    "sgd": DynamicRule("sgd", rate=2e-3, decay=1e-3),
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
        rate: The learning rate, 0 or more, finite; None = the default of the rule.
        decay: The share, 0 to 1, by which the weights return to the trained ones; None = the default of the rule.
        segment: The number of characters scored between two updates, 1 to MAX_SEGMENT; None = the default of the rule.

    """
    rule = RULES[name]
    return DynamicRule(
        name,
        rate=rule.rate if rate is None else rate,
        decay=rule.decay if decay is None else decay,
        segment=rule.segment if segment is None else segment,
    )


def check_rule(rule: DynamicRule) -> None:
    """Raise CharlmError if a number of a rule is out of range."""
    if rule.name == "sgd" and rule.rate is None:
        raise CharlmError("dynamic: the rule sgd needs a rate; only rms takes it from the training text")
    rate_fits = rule.rate is None or (math.isfinite(rule.rate) and rule.rate >= 0)
    if not (rate_fits and 0 <= rule.decay <= 1 and 1 <= rule.segment <= MAX_SEGMENT):
        raise CharlmError(
            f"dynamic: found {rule}; rate must be 0 or more and finite, decay from 0 to 1, segment from 1 to "
            f"{MAX_SEGMENT:,}"
        )


def check_memory(architecture: Architecture, rule: DynamicRule, *, available_bytes: int | None) -> None:
    """Check that there is enough memory for dynamic evaluation.

    Counted are 4 bytes for each weight as it is, as it was trained, for its gradient and its new value, and with rms
    for its mean squared gradient, its rate and its decay. That is a lower limit.

    Args:
        architecture: The network.
        rule: How its weights are updated.
        available_bytes: The memory of the machine; None = not known, and nothing is refused.

    Raises:
        CharlmError: more memory is needed than there is.

    """
    weights = sum(map(math.prod, architecture.shapes().values()))
    needed = 4 * (7 if rule.name == "rms" else 4) * weights
    if available_bytes is not None and needed > available_bytes:
        raise CharlmError(
            f"--dynamic: {weights:,} weights; the rule {rule.name} needs at least {needed / 1e9:,.1f} GB of "
            f"memory, and there is {available_bytes / 1e9:,.1f} GB: score the text without --dynamic"
        )
