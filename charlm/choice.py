"""From logits to an id: temperature, top-k, top-p and min-p, and the draw itself.

Temperature comes first and makes the distribution p = softmax(logits / temperature). Each filter is applied
to this p, whatever the others do: an id stays if all of them keep it, and what stays is scaled to sum to one.

Axes: B batch, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.rnn import Floats

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_BELOW_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Choice:
    """How a character is chosen; raises CharlmError, naming the option, for a value out of range."""

    temperature: float = 1.0
    """0 or more: 0 always chooses the most likely id, below 1 is tamer than the model, above 1 wilder."""
    top_k: int | None = None
    """1 or more: keeps the k most likely ids (of equally likely ones, the lowest)."""
    top_p: float | None = None
    """Above 0, at most 1: keeps the fewest, most likely ids that reach this sum together (Holtzman 2020)."""
    min_p: float | None = None
    """0 to 1: keeps the ids at least this share as likely as the most likely one (Nguyen 2024)."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise CharlmError(f"--temperature {self.temperature}: should be a number, 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise CharlmError(f"--top-k {self.top_k}: should be 1 or more")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise CharlmError(f"--top-p {self.top_p}: should be above 0 and at most 1")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise CharlmError(f"--min-p {self.min_p}: should be from 0 to 1")


Chooser = Callable[[Floats, Any], Any]
"""([V] logits, a number) -> int, or ([B, V] logits, [B] numbers) -> int64 [B]; the numbers are in [0, 1)."""


def probabilities(logits: Floats, choice: Choice) -> NDArray[np.float64]:
    """Return what `choose` draws from: logits float32 [B, V] -> float64 [B, V], each row of sum 1.

    A logit of minus infinity is a probability of 0. Raises CharlmError if the largest of a row is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        weights = _weigher(choice)(np.asarray(logits, np.float32)).astype(np.float64)
    total = weights.sum(-1, keepdims=True)
    _check_totals(total)
    return np.asarray(weights / total)


def choose(logits: Floats, choice: Choice, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an id for each row: logits float32 [B, V], uniform float64 [B] in [0, 1) -> int64 [B].

    The inverse of the cumulative distribution at `uniform`: the first id at which the sum of the
    probabilities up to it exceeds the number. An id of probability 0 is never chosen. Raises CharlmError if
    the largest logit of a row is not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        chosen = chooser(choice)(np.asarray(logits, np.float32), np.minimum(uniform, _BELOW_ONE))
    return np.asarray(chosen, np.int64)


def chooser(choice: Choice) -> Chooser:
    """Return `choose` for the inside of a loop: it takes one stream without a batch axis, too."""
    if choice.temperature == 0:
        return lambda logits, _: _most_likely(logits)
    weigh = _weigher(choice)
    return lambda logits, uniform: _invert(weigh(logits), uniform)


def _most_likely(logits: Floats) -> Any:
    chosen = logits.argmax(-1)  # the first that is not a number, if there is one
    is_finite = math.isfinite(logits[chosen]) if logits.ndim == 1 else np.isfinite(logits.max(-1)).all()
    if not is_finite:
        raise _not_finite()
    return chosen


def _weigher(choice: Choice) -> Callable[[Floats], Floats]:
    """Return a function from logits [..., V] to unscaled probabilities: the largest of a row is 1."""
    if choice.temperature == 0:
        return lambda logits: np.where(np.arange(logits.shape[-1]) == _most_likely(logits)[..., None], 1, 0)
    is_tempered = choice.temperature != 1
    is_filtered = choice.top_k is not None or choice.top_p is not None or choice.min_p is not None
    scale = np.float32(min(max(1 / choice.temperature, _TINY), _HUGE))

    def weigh(logits: Floats) -> Floats:
        """Temper and filter logits [..., V]."""
        largest = logits[logits.argmax()] if logits.ndim == 1 else logits.max(-1, keepdims=True)
        weights: Floats = logits - largest
        if is_tempered:
            weights *= scale
        np.exp(weights, out=weights)
        if is_filtered:
            weights *= _kept(weights, choice)
        return weights

    return weigh


def _kept(weights: Floats, choice: Choice) -> NDArray[np.bool_]:
    """Return which ids the filters keep, bool [..., V]."""
    kept = weights >= (choice.min_p or 0)
    if choice.top_k is None and choice.top_p is None:
        return kept
    order = np.argsort(-weights, axis=-1, kind="stable")
    by_rank = order if order.ndim == 1 else (np.arange(len(order))[:, None], order)
    ranked = weights[by_rank]
    is_leading = np.ones_like(kept)
    if choice.top_k is not None:
        is_leading[..., choice.top_k :] = False
    if choice.top_p is not None and choice.top_p < 1:
        up_to = ranked.cumsum(-1, np.float64)
        is_leading &= up_to - ranked < choice.top_p * up_to[..., -1:]
    kept[by_rank] &= is_leading
    return kept


def _invert(weights: Floats, uniform: Any) -> Any:
    up_to = np.add.accumulate(weights.astype(np.float64), -1)
    if weights.ndim == 1:
        total = up_to[-1]
        if not total >= 1:
            raise _not_finite()
        return int(up_to.searchsorted(uniform * total, "right"))
    totals = up_to[:, -1:]
    _check_totals(totals)
    return (up_to > uniform[:, None] * totals).argmax(-1)


def _check_totals(totals: NDArray[np.float64]) -> None:
    if not (totals >= 1).all():  # the largest weight is 1, or not a number
        raise _not_finite()


def _not_finite() -> CharlmError:
    return CharlmError("the weights are not finite: there is nothing to choose from; use an earlier checkpoint")
