"""Logits -> an id: temperature, top-k, top-p and min-p, and the random choice.

The temperature is applied first: p = softmax(logits / temperature). Each filter is then applied to p, independently of
the others. An id that all filters keep can be chosen; the probabilities of these ids are scaled to sum to 1. The choice
inverts the cumulative distribution: the first id for which the sum of the probabilities up to and including it exceeds
a random number. An id of probability 0 is never chosen.

Axes: V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from charlm.checks import check_number, check_whole
from charlm.errors import CharlmError
from charlm.network.rnn import Floats

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The settings of the choice; None = the filter is not applied.

    Raises:
        CharlmError: a value is out of range; the message names the setting.

    """

    temperature: float = 1.0
    """0 or more, finite: 0 = always the most likely id; below 1 is safer, above 1 wilder than the model."""
    top_k: int | None = None
    """1 or more: keep the k most likely ids; of equally likely ids, the lowest."""
    top_p: float | None = None
    """Above 0, at most 1: keep the fewest, most likely ids whose probabilities reach this sum (Holtzman 2020)."""
    min_p: float | None = None
    """0 to 1: keep the ids at least this many times as likely as the most likely id (Nguyen 2024)."""

    @classmethod
    def of(cls, filters: object, *, temperature: float) -> "Sampler":
        """Return the choice at a temperature with the filters of a config or a request: attributes of the same names.

        Their class is `charlm.config.schema.Filters`, which is not imported, as sampling starts without pydantic.
        """
        names = (field.name for field in fields(cls) if field.name != "temperature")
        return cls(temperature=temperature, **{name: getattr(filters, name) for name in names})

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, least=0)
        if self.top_k is not None:
            check_whole("top_k", self.top_k, least=1)
        if self.top_p is not None:
            check_number("top_p", self.top_p, least=0, above=True, most=1)
        if self.min_p is not None:
            check_number("min_p", self.min_p, least=0, most=1)


def make_chooser(sampler: Sampler) -> Callable[[Floats, float], int]:
    """Return what chooses an id, given logits, float32 [V], and a random number in [0, 1).

    It raises CharlmError if the largest logit is not finite.
    """
    if sampler.temperature == 0:
        return _most_likely
    is_tempered = sampler.temperature != 1
    is_filtered = replace(sampler, temperature=1.0) != Sampler()
    scale = np.float32(min(max(1 / sampler.temperature, _TINY), _HUGE))  # finite, and above 0

    def choose(logits: Floats, uniform: float) -> int:
        """Choose an id."""
        largest = logits[logits.argmax()]  # NaN if a logit is NaN
        if not math.isfinite(largest):
            raise not_finite()
        weights: Floats = logits - largest
        if is_tempered:
            weights *= scale
        np.exp(weights, out=weights)
        if is_filtered:
            weights *= _kept(weights, sampler)
        up_to = np.add.accumulate(weights.astype(np.float64))
        return int(
            up_to.searchsorted(uniform * up_to.item(-1), "right")
        )  # item: a float of Python is faster

    return choose


def _kept(weights: Floats, sampler: Sampler) -> NDArray[np.bool_]:
    """Return which ids all filters keep, bool [V], given the weights, of which the largest is 1."""
    order = np.argsort(-weights, kind="stable")
    ranked = weights[order]
    is_leading = np.ones(len(weights), np.bool_)
    if sampler.top_p is not None and sampler.top_p < 1:
        up_to = ranked.cumsum(dtype=np.float64)
        is_leading = up_to - ranked < sampler.top_p * up_to[-1]
    if sampler.top_k is not None:
        is_leading[sampler.top_k :] = False
    kept = np.empty_like(is_leading)
    kept[order] = is_leading
    return kept & (weights >= np.float32(sampler.min_p or 0))


def _most_likely(logits: Floats, _: float) -> int:
    chosen = int(logits.argmax())  # if a logit is NaN, the first such id
    if not math.isfinite(logits[chosen]):
        raise not_finite()
    return chosen


def not_finite() -> CharlmError:
    """Return the error of logits from which nothing can be chosen."""
    return CharlmError(
        "the weights are not finite: no character can be chosen; use an earlier checkpoint"
    )
