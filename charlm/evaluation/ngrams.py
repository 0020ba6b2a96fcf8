"""N-gram models: prediction by counting which character follows which others, without a network.

Interpolated modified Kneser-Ney (Chen and Goodman 1998, "An empirical study of smoothing techniques for language
modeling", section 3), from p_0 = 1 / V up to the highest order; u is the ids before w, v is u without its first id:

    p_k(w | u) = (c(uw) - D(c(uw))) / c(u) + sum_x D(c(ux)) / c(u) * p_{k-1}(w | v)

At the highest order, c counts how often an n-gram occurs in the text; below it, how many different ids precede the
n-gram. c(u) = sum_x c(ux). If c(u) is 0, p_k is p_{k-1}.

An n-gram is identified by its rank among those of its order, sorted by code = rank of all ids but the last * V + last
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

BLOCK = 1 << 18
MIN_DISCOUNT = 0.1  # above 0, so that an n-gram that was never seen has a probability


@dataclass(frozen=True)
class Order:
    """The n-grams of one length."""

    codes: Counts
    """The codes, sorted: int64 [n-grams]."""
    shares: Values
    """(c(uw) - D(c(uw))) / c(u), float64 [n-grams]."""
    rests: Values
    """The factor of p_{k-1} after each n-gram of the order below, float64 [n-grams of the order below]."""


@dataclass(frozen=True)
class NGrams:
    """An n-gram model: it predicts an id from the ids just before it."""

    vocabulary_size: int
    orders: tuple[Order, ...]
    """The n-grams of 1 id, of 2 ids and so on."""


def count_ngrams(ids: Ids, *, vocabulary_size: int, order: int = 5) -> NGrams:
    """Count the n-grams of a text.

    Args:
        ids: Integers [n], 0 to V - 1; n may be 0.
        vocabulary_size: V.
        order: The number of ids in the longest n-grams, 1 or more.

    Returns:
        The model of the text.

    """
    below, size = np.zeros(len(ids) + 1, np.int64), 1  # the rank of the n-gram that begins at each position
    found, counts = [], []
    for length in range(1, order + 1):
        last = ids[length - 1 :]
        codes, ranks, raw_counts = np.unique(
            below[: len(last)] * vocabulary_size + last, return_inverse=True, return_counts=True
        )
        position = np.zeros(len(codes), np.int64)
        position[ranks] = np.arange(len(ranks))  # a position of each n-gram
        counts.append(np.bincount(below[position + 1], minlength=size))  # ids that precede the n-grams one id shorter
        found.append((codes, codes // vocabulary_size, size))
        below, size = ranks, len(codes)
    counts = [*counts[1:], raw_counts]
    orders = (_smooth(*grams, count) for grams, count in zip(found, counts, strict=True))
    return NGrams(vocabulary_size, tuple(orders))


def _smooth(codes: Counts, contexts: Counts, size: int, counts: Counts) -> Order:
    """Return an Order; `contexts` [n-grams] has the rank of all ids but the last, among `size` n-grams."""
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=size)
    lost = np.bincount(contexts, weights=discounts, minlength=size)
    rests = np.divide(lost, totals, out=np.ones(size), where=totals > 0)
    return Order(codes, (counts - discounts) / np.maximum(totals[contexts], 1), rests)


def _discounts(counts: Counts) -> Values:
    """Return D(0) = 0, D(1), D(2) and D(3 or more), by Chen and Goodman's equation (26).

    An estimate that would divide by zero is n1 / (n1 + 2 n2) instead, or 1/2 if n1 is zero too.
    """
    n1, n2, n3, n4 = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    base = n1 / (n1 + 2 * n2) if n1 else 0.5
    pairs = zip((1, 2, 3), (n1, n2, n3), (n2, n3, n4), strict=True)
    estimates = [k - (k + 1) * base * above / here if here else base for k, here, above in pairs]
    return np.array([0.0, *np.clip(estimates, MIN_DISCOUNT, [1, 2, 3])])


def score_ngrams(model: NGrams, ids: Ids, *, block: int = BLOCK) -> Iterator[Values]:
    """Score a text with an n-gram model; the memory taken does not grow with n.

    Args:
        model: The model.
        ids: Integers [n], 0 to V - 1.
        block: How many ids to score at once, 1 or more.

    Yields:
        The nats of ids 1 to n - 1, float64 arrays in text order.

    """
    reach = len(model.orders) - 1
    for start in range(1, len(ids), block):
        begin = max(0, start - reach)
        yield _nats(model, ids[begin : start + block])[start - begin :]


def _nats(model: NGrams, ids: Ids) -> Values:
    """Return the nats [n] of ids [n], without any ids before them."""
    ranks = np.zeros(len(ids), np.int64)  # of the n-gram that begins at each position; -1 = not in the model
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
