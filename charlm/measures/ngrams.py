"""N-gram models of characters, to compare scores with and to train small texts with.

They are interpolated modified Kneser-Ney models (Chen and Goodman 1998, "An empirical study of
smoothing techniques for language modeling", section 3), from p_0 = 1 / V up to the highest order.
With the ids u before w, and v = u without its first id:

    p_k(w | u) = (c(uw) - D(c(uw))) / c(u) + sum_x D(c(ux)) / c(u) * p_{k-1}(w | v)

At the highest order, c counts the occurrences of an n-gram in the text; below it, c counts the
different ids before the n-gram. c(u) = sum_x c(ux). If c(u) is 0, p_k is p_{k-1}. The code of an
n-gram is the rank of all its ids except the last, times V, plus the last id. The rank is the index
among the sorted codes of its order, so codes do not grow with the order.

Axes: V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.core.rnn import Values
from charlm.core.vocabulary import Ids

Counts = NDArray[np.int64]
NGRAM_ORDER = 8
"""Length of the n-grams that a score is compared with."""
BLOCK = 1 << 18
"""Number of losses or probabilities that are computed at a time."""
MIN_DISCOUNT = 0.1  # above 0, so that unseen n-grams have a probability


@dataclass(frozen=True)
class Order:
    """The n-grams of one length."""

    codes: Counts
    """Sorted codes, int64 [n-grams]."""
    shares: Values
    """(c(uw) - D(c(uw))) / c(u), float64 [n-grams]."""
    rests: Values
    """Factor of p_{k-1} after each n-gram of the order below, float64 [n-grams of that order]."""


@dataclass(frozen=True)
class NGrams:
    """An n-gram model: it predicts an id from the ids just before it."""

    vocabulary_size: int
    orders: tuple[Order, ...]
    """The n-grams of 1 id, of 2 ids and so on."""


def count_ngrams(ids: Ids, *, vocabulary_size: int, order: int = NGRAM_ORDER) -> NGrams:
    """Return the n-gram model of a text, see `count_orders`; `order` is its longest length."""
    return count_orders(ids, vocabulary_size=vocabulary_size, orders=[order])[order]


def count_orders(ids: Ids, *, vocabulary_size: int, orders: Sequence[int]) -> dict[int, NGrams]:
    """Return several n-gram models of a text by their longest length; they are counted together.

    Args:
        ids: Integers [n], 0 to V - 1; n may be 0.
        vocabulary_size: V.
        orders: Length of the longest n-grams of each model, 1 or more.

    """
    ranks = np.zeros(len(ids) + 1, np.int64)  # of the n-gram that begins at each position
    size = 1
    grams: list[tuple[Counts, Counts, int]] = []
    lower: list[Order] = []
    models: dict[int, NGrams] = {}
    for length in range(1, max(orders) + 1):
        last = ids[length - 1 :]
        codes, longer_ranks, occurrences = np.unique(
            ranks[: len(last)] * vocabulary_size + last, return_inverse=True, return_counts=True
        )
        if length > 1:
            position = np.zeros(len(codes), np.int64)
            position[longer_ranks] = np.arange(len(longer_ranks))  # a position of each n-gram
            # number of different ids before each n-gram of the order below
            before = np.bincount(ranks[position + 1], minlength=size)
            lower.append(_smooth(*grams[-1], before))
        grams.append((codes, codes // vocabulary_size, size))
        if length in orders:
            models[length] = NGrams(vocabulary_size, (*lower, _smooth(*grams[-1], occurrences)))
        ranks = longer_ranks
        size = len(codes)
    return models


def _smooth(codes: Counts, contexts: Counts, size: int, counts: Counts) -> Order:
    """Return an Order; `contexts` has the rank of all ids except the last, below `size`."""
    discounts = _discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(contexts, weights=counts, minlength=size)
    lost = np.bincount(contexts, weights=discounts, minlength=size)
    rests = np.divide(lost, totals, out=np.ones(size), where=totals > 0)
    return Order(codes, (counts - discounts) / np.maximum(totals[contexts], 1), rests)


def _discounts(counts: Counts) -> Values:
    """Return D(0) = 0, D(1), D(2) and D(3 or more), by Chen and Goodman's equation (26).

    An estimate that would divide by zero is replaced with n1 / (n1 + 2 n2), or with 1/2 if n1 is
    zero too.
    """
    n = np.bincount(np.minimum(counts, 5), minlength=6).tolist()
    base = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
    estimates = [k - (k + 1) * base * n[k + 1] / n[k] if n[k] else base for k in (1, 2, 3)]
    return np.array([0.0, *np.clip(estimates, MIN_DISCOUNT, [1, 2, 3])])


def score_ngrams(model: NGrams, ids: Ids) -> Iterator[Values]:
    """Score a text with an n-gram model; the memory does not grow with n.

    Args:
        model: The model.
        ids: Integers [n], 0 to V - 1.

    Yields:
        The nats of ids 1 to n - 1, float64 arrays in text order.

    """
    for before, part in _blocks(model, ids, first=1, block=BLOCK):
        yield _nats(model, part)[before:]


def predict_ngrams(model: NGrams, ids: Ids, *, first: int) -> Iterator[Values]:
    """Predict the ids of a text with an n-gram model.

    Args:
        model: The model.
        ids: Integers [n], 0 to V - 1.
        first: Position of the first id to predict.

    Yields:
        The probabilities of ids `first` to n - 1 given the ids before each of them, float64 arrays
        [positions, V] in text order.

    """
    block = max(1, BLOCK // model.vocabulary_size)
    for before, part in _blocks(model, ids, first=first, block=block):
        yield _probabilities(model, part)[before:]


def _blocks(model: NGrams, ids: Ids, *, first: int, block: int) -> Iterator[tuple[int, Ids]]:
    """Yield the length of the context before each block of a text, and context and block."""
    context = len(model.orders) - 1
    for start in range(first, len(ids), block):
        begin = max(0, start - context)
        yield start - begin, ids[begin : start + block]


def _matches(model: NGrams, ids: Ids) -> Iterator[tuple[Order, Counts, Counts, NDArray[np.bool_]]]:
    """Look up the n-grams of a text in a model, length by length.

    The text has no context before its first id. A rank is a position in the sorted codes.

    Yields:
        For each length k + 1, with an entry for each id from k on, where such an n-gram ends: the
        `Order` of this length; the ranks of the first k ids, -1 if unknown; the ranks of the whole
        n-grams, if known; and whether they are known.

    """
    contexts = np.zeros(len(ids), np.int64)  # the rank of the n-gram that begins at each position
    for before, order in enumerate(model.orders):
        if not len(order.codes):
            break
        last = ids[before:]
        contexts = contexts[: len(last)]
        codes = contexts * model.vocabulary_size + last
        ranks = np.minimum(np.searchsorted(order.codes, codes), len(order.codes) - 1)
        is_known = order.codes[ranks] == codes
        yield order, contexts, ranks, is_known
        contexts = np.where(is_known, ranks, -1)


def _nats(model: NGrams, ids: Ids) -> Values:
    """Return the nats [n] of ids [n], without any ids before them."""
    probabilities = np.full(len(ids), 1 / model.vocabulary_size)
    for before, (order, contexts, ranks, is_known) in enumerate(_matches(model, ids)):
        shorter = probabilities[before:]
        longer = np.where(is_known, order.shares[ranks], 0) + order.rests[contexts] * shorter
        probabilities[before:] = np.where(contexts >= 0, longer, shorter)
    return np.asarray(-np.log(probabilities))


def _probabilities(model: NGrams, ids: Ids) -> Values:
    """Return the probabilities of all ids at the positions of ids [n], [n, V]; see `_nats`."""
    size = model.vocabulary_size
    probabilities = np.full((len(ids), size), 1 / size)
    for before, (order, contexts, _, _) in enumerate(_matches(model, ids)):
        positions = before + np.flatnonzero(contexts >= 0)
        known = contexts[contexts >= 0]
        probabilities[positions] *= order.rests[known, None]
        # The n-grams that begin with a context are order.codes[first:end].
        first = np.searchsorted(order.codes, known * size)
        end = np.searchsorted(order.codes, (known + 1) * size)
        rows = np.repeat(np.arange(len(known)), end - first)
        followers = np.arange(len(rows)) - np.repeat(np.cumsum(end - first) - end, end - first)
        probabilities[positions[rows], order.codes[followers] % size] += order.shares[followers]
    return probabilities
