"""Counting models: how far one gets by counting which character follows which, without any network.

Interpolated modified Kneser-Ney (Chen and Goodman 1998, "An empirical study of smoothing techniques for language
modeling", section 3), from p_0 = 1 / V up to the highest order; u is the ids before w, v is u without its first:

    p_k(w | u) = (c(uw) - D(c(uw))) / c(u) + sum_x D(c(ux)) / c(u) * p_{k-1}(w | v)

c counts, at the highest order, how often an n-gram stands in the text, and below it, how many different ids stand
before it; c(u) = sum_x c(ux). Where c(u) is 0, p_k is p_{k-1}.

An n-gram is known by its rank among those of its order, sorted by code = rank of all but its last id * V + last
id, so that no code grows with the order. Axes: V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]

BLOCK = 1 << 18  # ids scored at once
LEAST_DISCOUNT = 0.1  # so that whatever was never seen keeps a probability


@dataclass(frozen=True)
class Order:
    """The n-grams of one length."""

    codes: Counts
    """Sorted, [n-grams]."""
    shares: Values
    """(c(uw) - D(c(uw))) / c(u), [n-grams]."""
    rests: Values
    """What p_{k-1} is weighed with after each n-gram of the order below, [n-grams of the order below]."""


@dataclass(frozen=True)
class NGrams:
    """A model that predicts an id from the few before it."""

    vocabulary_size: int
    orders: tuple[Order, ...]
    """Those of 1 id, of 2 and so on."""


def count_ngrams(ids: Ids, *, vocabulary_size: int, order: int = 5) -> NGrams:
    """Return the model of a text: ids [n], 0 <= id < vocabulary_size; any n, even 0, will do."""
    below, size = np.zeros(len(ids) + 1, np.int64), 1  # the rank of the n-gram that begins at each position
    found, counts = [], []
    for length in range(1, order + 1):
        last = ids[length - 1 :]
        codes, ranks, raw_counts = np.unique(
            below[: len(last)] * vocabulary_size + last, return_inverse=True, return_counts=True
        )
        position = np.zeros(len(codes), np.int64)
        position[ranks] = np.arange(len(ranks))  # one of those where the n-gram stands
        counts.append(np.bincount(below[position + 1], minlength=size))  # what stands before those a size shorter
        found.append((codes, codes // vocabulary_size, size))
        below, size = ranks, len(codes)
    counts = [*counts[1:], raw_counts]
    orders = (_smooth(*grams, count) for grams, count in zip(found, counts, strict=True))
    return NGrams(vocabulary_size, tuple(orders))


def _smooth(codes: Counts, contexts: Counts, size: int, counts: Counts) -> Order:
    """Return an Order; `contexts` [n-grams] ranks all but the last id of each among `size`."""
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=size)
    lost = np.bincount(contexts, weights=discounts, minlength=size)
    rests = np.divide(lost, totals, out=np.ones(size), where=totals > 0)
    return Order(codes, (counts - discounts) / np.maximum(totals[contexts], 1), rests)


def _discounts(counts: Counts) -> Values:
    """Return D(0) = 0, D(1), D(2) and D(3 or more), by Chen and Goodman's equation (26).

    Where no n-gram has the count that an estimate divides by, it is n1 / (n1 + 2 n2), or 1/2 without any.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    base = n1 / (n1 + 2 * n2) if n1 else 0.5
    pairs = zip((1, 2, 3), (n1, n2, n3), (n2, n3, n4), strict=True)
    estimates = [k - (k + 1) * base * above / here if here else base for k, here, above in pairs]
    return np.array([0.0, *np.clip(estimates, LEAST_DISCOUNT, [1, 2, 3])])


def score_ngrams(model: NGrams, ids: Ids, *, block: int = BLOCK) -> Iterator[Values]:
    """Yield the nats of ids 1 to n - 1 of a text ids [n], float64 arrays in text order.

    Each is given the ids before it, as many as the model's order takes. The memory taken does not grow with n.
    """
    reach = len(model.orders) - 1
    for start in range(1, len(ids), block):
        begin = max(0, start - reach)
        yield _nats(model, ids[begin : start + block])[start - begin :]


def _nats(model: NGrams, ids: Ids) -> Values:
    """Return the nats [n] of ids [n], of which nothing before is known."""
    ranks = np.zeros(len(ids), np.int64)  # of the n-gram that begins at each position; -1 = never seen
    probabilities = np.full(len(ids), 1 / model.vocabulary_size)
    for before, order in enumerate(model.orders):
        if not len(order.codes):
            break
        last, shorter = ids[before:], probabilities[before:]
        contexts = ranks[: len(last)]
        wanted = contexts * model.vocabulary_size + last
        at = np.minimum(np.searchsorted(order.codes, wanted), len(order.codes) - 1)
        is_known = order.codes[at] == wanted
        longer = np.where(is_known, order.shares[at], 0) + order.rests[contexts] * shorter
        probabilities[before:] = np.where(contexts >= 0, longer, shorter)
        ranks = np.where(is_known, at, -1)
    return np.asarray(-np.log(probabilities))
