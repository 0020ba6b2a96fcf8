"""Logits -> an id: temperature, top-k, top-p and min-p, and the random choice, for one stream and for many.

The temperature is applied first: p = softmax(logits / temperature). Each filter is then applied to p, independently of
the others. An id that all filters keep can be chosen; the probabilities of these ids are scaled to sum to 1. The choice
inverts the cumulative distribution: the first id for which the sum of the probabilities up to and including it exceeds
a random number. An id of probability 0 is never chosen.

`make_chooser` chooses for one stream, `choose_rows` for many that each have settings of their own; a row gets what it
would get alone.

Axes: B rows, V vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.rnn import Floats

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_ALL = np.iinfo(np.int64).max
NO_ID = -1
"""Takes the place of an id in a row whose logits are not finite."""


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

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise CharlmError(f"temperature: found {self.temperature}; must be a number, 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise CharlmError(f"top_k: found {self.top_k}; must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise CharlmError(f"top_p: found {self.top_p}; must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise CharlmError(f"min_p: found {self.min_p}; must be from 0 to 1")


class RowSettings:
    """The settings of the choice in each of B rows, as arrays.

    Args:
        samplers: Those of the rows.

    """

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        self.is_greedy = np.array([sampler.temperature == 0 for sampler in samplers], np.bool_)
        """Whether the temperature is 0, bool [B]."""
        temperatures = np.array([[sampler.temperature or 1.0] for sampler in samplers]).reshape(-1, 1)
        with np.errstate(over="ignore"):
            scales = np.clip(1 / temperatures, _TINY, _HUGE)  # finite in float32, and above 0
        self.scales: Floats = scales.astype(np.float32)
        """1 / temperature, float32 [B, 1]; 1 where `is_greedy`."""
        self.top_k = np.array([[min(sampler.top_k or _ALL, _ALL)] for sampler in samplers]).reshape(-1, 1)
        """[B, 1]; at least V = no filter."""
        self.top_p = np.array([[sampler.top_p or 1.0] for sampler in samplers]).reshape(-1, 1)
        """[B, 1]; 1 = no filter."""
        self.min_p: Floats = np.array([[sampler.min_p or 0.0] for sampler in samplers], np.float32).reshape(-1, 1)
        """float32 [B, 1]; 0 = no filter."""
        self.is_filtered = bool((self.top_k < _ALL).any() or (self.top_p < 1).any() or (self.min_p > 0).any())
        """Whether a row has a filter."""


def choose_rows(logits: Floats, settings: RowSettings, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose an id for each row.

    Args:
        logits: float32 [B, V].
        settings: Those of the rows.
        uniform: Random numbers, float64 [B] in [0, 1).

    Returns:
        The ids, int64 [B]; NO_ID in a row whose largest logit is not finite.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        weights: Floats = logits - logits.max(-1, keepdims=True)
        weights *= settings.scales
        np.exp(weights, out=weights)
        if settings.is_filtered:
            weights *= _kept(weights, settings)
        up_to = np.add.accumulate(weights, -1, np.float64)
        chosen = (up_to > uniform[:, None] * up_to[:, -1:]).argmax(-1)
    if settings.is_greedy.any():
        chosen = np.where(settings.is_greedy, logits.argmax(-1), chosen)
    is_finite = up_to[:, -1] >= 1  # the largest weight is 1, or NaN
    return np.asarray(chosen if is_finite.all() else np.where(is_finite, chosen, NO_ID), np.int64)


def _kept(weights: Floats, settings: RowSettings) -> NDArray[np.bool_]:
    """Return which ids the filters of each row keep, bool [B, V], given the weights, of which the largest is 1."""
    kept = weights >= settings.min_p
    order = np.argsort(-weights, axis=-1, kind="stable")
    ranked = np.take_along_axis(weights, order, -1)
    up_to = ranked.cumsum(-1, np.float64)
    is_leading = (up_to - ranked < settings.top_p * up_to[:, -1:]) | (settings.top_p >= 1)
    is_leading &= np.arange(weights.shape[1]) < settings.top_k
    leading = np.empty_like(kept)
    np.put_along_axis(leading, order, is_leading, -1)
    return np.asarray(kept & leading)


def make_chooser(sampler: Sampler) -> Callable[[Floats, float], int]:
    """Return what chooses for one stream: from logits, float32 [V], and a random number in [0, 1) to an id.

    It raises CharlmError if the largest logit is not finite.
    """
    if sampler.temperature == 0:
        return _most_likely
    settings = RowSettings([sampler])
    is_tempered, is_filtered, scale = sampler.temperature != 1, settings.is_filtered, settings.scales[0, 0]

    def choose(logits: Floats, uniform: float) -> int:
        """Choose an id."""
        weights: Floats = logits - logits[logits.argmax()]
        if is_tempered:
            weights *= scale
        np.exp(weights, out=weights)
        if is_filtered:
            weights *= _kept(weights[None], settings)[0]
        up_to = np.add.accumulate(weights.astype(np.float64))
        total = up_to.item(-1)  # a float of Python is multiplied and looked up faster
        if not total >= 1:  # the largest weight is 1, or NaN
            raise not_finite()
        return int(up_to.searchsorted(uniform * total, "right"))

    return choose


def _most_likely(logits: Floats, _: float) -> int:
    chosen = int(logits.argmax())  # if a logit is NaN, the first such id
    if not math.isfinite(logits[chosen]):
        raise not_finite()
    return chosen


def not_finite() -> CharlmError:
    """Return the error of logits from which nothing can be chosen."""
    return CharlmError("the weights are not finite: no character can be chosen; use an earlier checkpoint")
