"""The choice of an id from logits: temperature, top-k, top-p, min-p and a random number.

The temperature is applied first: p = softmax(logits / temperature). Each filter is then applied to
p, independently of the other filters. The ids that all filters keep can be chosen; their
probabilities are scaled to a sum of 1. The chosen id is the first one for which the sum of the
probabilities up to and including it exceeds the random number. An id of probability 0 is never
chosen.

Axes: V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from charlm.checks import check_range, check_whole
from charlm.core.rnn import Floats
from charlm.errors import CharlmError

_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """The settings of the choice; None = no such filter.

    Raises:
        CharlmError: A value is out of range; the message names the setting.

    """

    temperature: float = 1.0
    """Finite, 0 or more; 0 = always the most likely id. Likely ids become more likely below 1."""
    top_k: int | None = None
    """Keep the k most likely ids, 1 or more; of equally likely ids, the lowest."""
    top_p: float | None = None
    """Keep the most likely ids until their probabilities reach this sum, above 0 and at most 1
    (Holtzman 2020)."""
    min_p: float | None = None
    """Keep ids with at least this share of the largest probability, 0 to 1 (Nguyen 2024)."""

    @classmethod
    def of(cls, filters: object, *, temperature: float) -> "Sampler":
        """Return a sampler with a temperature and the filters of a config or a request.

        The class of `filters` is `charlm.config.schema.Filters`, which is not imported: sampling
        starts without pydantic.
        """
        names = [field.name for field in fields(cls) if field.name != "temperature"]
        return cls(temperature=temperature, **{name: getattr(filters, name) for name in names})

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 0)
        if self.top_k is not None:
            check_whole("top_k", self.top_k, 1)
        if self.top_p is not None:
            check_range("top_p", self.top_p, 0, 1, above=True)
        if self.min_p is not None:
            check_range("min_p", self.min_p, 0, 1)


def make_chooser(sampler: Sampler) -> Callable[[Floats, float], int]:
    """Return a function that chooses an id from logits, float32 [V], and a number in [0, 1).

    The function raises CharlmError if the largest logit is not finite.
    """
    if sampler.temperature == 0:
        return _most_likely
    is_tempered = sampler.temperature != 1
    is_filtered = replace(sampler, temperature=1.0) != Sampler()
    # The scale must be finite and above 0 in float32.
    scale = np.float32(min(max(1 / sampler.temperature, _SMALLEST), _LARGEST))

    def choose(logits: Floats, uniform: float) -> int:
        largest = logits[logits.argmax()]  # NaN if a logit is NaN
        if not math.isfinite(largest):
            raise not_finite()
        weights: Floats = logits - largest
        if is_tempered:
            weights *= scale
        np.exp(weights, out=weights)
        if is_filtered:
            weights *= _kept(weights, sampler)
        sums = np.add.accumulate(weights.astype(np.float64))
        total = sums.item(-1)  # a Python float is faster
        return int(sums.searchsorted(uniform * total, "right"))

    return choose


def _kept(weights: Floats, sampler: Sampler) -> NDArray[np.bool_]:
    """Return whether all filters keep each id, bool [V]; the largest of the weights is 1."""
    order = np.argsort(-weights, kind="stable")
    ranked = weights[order]
    is_leading = np.ones(len(weights), np.bool_)
    if sampler.top_p is not None and sampler.top_p < 1:
        sums = ranked.cumsum(dtype=np.float64)
        is_leading = sums - ranked < sampler.top_p * sums[-1]
    if sampler.top_k is not None:
        is_leading[sampler.top_k :] = False
    kept = np.empty_like(is_leading)
    kept[order] = is_leading
    return kept & (weights >= np.float32(sampler.min_p or 0))


def _most_likely(logits: Floats, _: float) -> int:
    chosen = int(logits.argmax())  # the first NaN, if there is one
    if not math.isfinite(logits[chosen]):
        raise not_finite()
    return chosen


def not_finite() -> CharlmError:
    """Return the error for logits that are not finite."""
    return CharlmError(
        "the logits are not finite: no character can be chosen; use an earlier checkpoint"
    )
