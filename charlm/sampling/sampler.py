"""Logits -> an id: temperature, top-k, top-p and min-p, and the random choice.

The temperature is applied first: p = softmax(logits / temperature). Each filter is then applied to p, independently of
the others. An id that all filters keep can be chosen; the probabilities of these ids are scaled to sum to 1.

Axes: B batch, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.network.rnn import Floats

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Sampler:
    """The settings of the choice; None = the filter is not applied.

    Raises:
        CharlmError: a value is out of range; the message names the option.

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
            raise CharlmError(f"--temperature {self.temperature}: must be a number, 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise CharlmError(f"--top-k {self.top_k}: must be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise CharlmError(f"--top-p {self.top_p}: must be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise CharlmError(f"--min-p {self.min_p}: must be from 0 to 1")


Chooser = Callable[[Floats, Any], Any]
"""(logits [V], number) -> int, or (logits [B, V], numbers [B]) -> int64 [B]; the numbers are from [0, 1)."""


def probabilities(logits: Floats, sampler: Sampler) -> NDArray[np.float64]:
    """Return the probabilities with which `choose` chooses each id.

    Args:
        logits: float32 [B, V]; minus infinity gives a probability of 0.
        sampler: Temperature and filters.

    Returns:
        float64 [B, V]; each row sums to 1.

    Raises:
        CharlmError: the largest logit of a row is not finite.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        weights = _weigher(sampler)(np.asarray(logits, np.float32)).astype(np.float64)
    total = weights.sum(-1, keepdims=True)
    _check_totals(total)
    return np.asarray(weights / total)


def choose(logits: Floats, sampler: Sampler, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Choose an id for each row by inverting the cumulative distribution.

    The choice is the first id for which the sum of the probabilities up to and including it exceeds `uniform`. An id of
    probability 0 is never chosen.

    Args:
        logits: float32 [B, V].
        sampler: Temperature and filters.
        uniform: Random numbers, float64 [B] in [0, 1).

    Returns:
        The ids, int64 [B].

    Raises:
        CharlmError: the largest logit of a row is not finite.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        chosen = make_chooser(sampler)(np.asarray(logits, np.float32), np.minimum(uniform, _BELOW_ONE))
    return np.asarray(chosen, np.int64)


def make_chooser(sampler: Sampler) -> Chooser:
    """Return `choose` for use in a loop, with the settings bound; it also takes logits without a batch axis."""
    if sampler.temperature == 0:
        return lambda logits, _: _most_likely(logits)
    weigh = _weigher(sampler)
    return lambda logits, uniform: _invert(weigh(logits), uniform)


def inverse_temperature(temperature: float) -> np.float32:
    """Return 1 / temperature, for a temperature above 0, as the nearest finite float32 above 0."""
    return np.float32(min(max(1 / temperature, _TINY), _HUGE))


def _most_likely(logits: Floats) -> Any:
    chosen = logits.argmax(-1)  # if a logit is NaN, the first such id
    is_finite = math.isfinite(logits[chosen]) if logits.ndim == 1 else np.isfinite(logits.max(-1)).all()
    if not is_finite:
        raise _not_finite()
    return chosen


def _weigher(sampler: Sampler) -> Callable[[Floats], Floats]:
    """Return a function from logits [..., V] to unscaled probabilities, of which the largest in a row is 1."""
    if sampler.temperature == 0:
        return lambda logits: np.where(np.arange(logits.shape[-1]) == _most_likely(logits)[..., None], 1, 0)
    is_tempered = sampler.temperature != 1
    is_filtered = sampler.top_k is not None or sampler.top_p is not None or sampler.min_p is not None
    scale = inverse_temperature(sampler.temperature)

    def weigh(logits: Floats) -> Floats:
        """Apply temperature and filters to logits [..., V]."""
        largest = logits[logits.argmax()] if logits.ndim == 1 else logits.max(-1, keepdims=True)
        weights: Floats = logits - largest
        if is_tempered:
            weights *= scale
        np.exp(weights, out=weights)
        if is_filtered:
            weights *= _kept(weights, sampler)
        return weights

    return weigh


def _kept(weights: Floats, sampler: Sampler) -> NDArray[np.bool_]:
    """Return which ids the filters keep, bool [..., V]."""
    kept = weights >= (sampler.min_p or 0)
    if sampler.top_k is None and sampler.top_p is None:
        return kept
    order = np.argsort(-weights, axis=-1, kind="stable")
    by_rank = order if order.ndim == 1 else (np.arange(len(order))[:, None], order)
    ranked = weights[by_rank]
    is_leading = np.ones_like(kept)
    if sampler.top_k is not None:
        is_leading[..., sampler.top_k :] = False
    if sampler.top_p is not None and sampler.top_p < 1:
        up_to = ranked.cumsum(-1, np.float64)
        is_leading &= up_to - ranked < sampler.top_p * up_to[..., -1:]
    kept[by_rank] &= is_leading
    return kept


def _invert(weights: Floats, uniform: Any) -> Any:
    up_to = np.add.accumulate(weights.astype(np.float64), -1)
    if weights.ndim == 1:
        total = up_to.item(-1)  # a float of Python is multiplied and looked up faster
        if not total >= 1:
            raise _not_finite()
        return int(up_to.searchsorted(uniform * total, "right"))
    totals = up_to[:, -1:]
    _check_totals(totals)
    return (up_to > uniform[:, None] * totals).argmax(-1)


def _check_totals(totals: NDArray[np.float64]) -> None:
    if not totals.min() >= 1:  # the largest weight is 1, or NaN
        raise _not_finite()


def _not_finite() -> CharlmError:
    return CharlmError("the weights are not finite: no character can be chosen; use an earlier checkpoint")
