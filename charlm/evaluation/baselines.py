"""What a score is compared with: n-gram models of characters and a compressor on the same text.

N-grams also give the soft targets of small texts. A compressor that adds b bits for a text predicts it as well as a
model with a loss of b bits. Both may learn from the training text, as the model did.

The n-gram models are interpolated modified Kneser-Ney (Chen and Goodman 1998, "An empirical study of smoothing
techniques for language modeling", section 3), from p_0 = 1 / V up to the highest order; u is the ids before w, v is u
without its first id:

    p_k(w | u) = (c(uw) - D(c(uw))) / c(u) + sum_x D(c(ux)) / c(u) * p_{k-1}(w | v)

At the highest order, c counts how often an n-gram occurs in the text; below it, how many different ids precede the
n-gram. c(u) = sum_x c(ux). If c(u) is 0, p_k is p_{k-1}. An n-gram is identified by its rank among those of its order,
sorted by code = rank of all ids but the last * V + last id, so that no code grows with the order.

Axes: V vocabulary.
"""

import lzma
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.evaluation.scoring import Difference, Score, mean_score
from charlm.text.corpus import count_ids
from charlm.text.vocabulary import Vocabulary

Ids = NDArray[Any]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]

NGRAM_ORDER = 5
"""The length of the n-grams that a score is compared with."""
BLOCK = 1 << 18
"""How many ids are encoded or scored at once."""
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


def count_ngrams(ids: Ids, *, vocabulary_size: int, order: int = NGRAM_ORDER) -> NGrams:
    """Count the n-grams of a text.

    Args:
        ids: Integers [n], 0 to V - 1; n may be 0.
        vocabulary_size: V.
        order: The number of ids in the longest n-grams, 1 or more.

    Returns:
        The model of the text.

    """
    below, size = (
        np.zeros(len(ids) + 1, np.int64),
        1,
    )  # the rank of the n-gram that begins at each position
    found, counts = [], []
    for length in range(1, order + 1):
        last = ids[length - 1 :]
        codes, ranks, raw_counts = np.unique(
            below[: len(last)] * vocabulary_size + last, return_inverse=True, return_counts=True
        )
        position = np.zeros(len(codes), np.int64)
        position[ranks] = np.arange(len(ranks))  # a position of each n-gram
        counts.append(
            np.bincount(below[position + 1], minlength=size)
        )  # ids that precede the n-grams one id shorter
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
    for before, part in _blocks(model, ids, first=1, block=block):
        yield _nats(model, part)[before:]


def predict_ngrams(model: NGrams, ids: Ids, *, first: int, block: int = BLOCK) -> Iterator[Values]:
    """Return what an n-gram model predicts at each place of a text.

    Args:
        model: The model.
        ids: Integers [n], 0 to V - 1.
        first: The first id that is predicted.
        block: How many probabilities to compute at once.

    Yields:
        The probabilities of ids `first` to n - 1 given the ids before each, float64 arrays [places, V] in text order.

    """
    for before, part in _blocks(
        model, ids, first=first, block=max(1, block // model.vocabulary_size)
    ):
        yield _probabilities(model, part)[before:]


def _blocks(model: NGrams, ids: Ids, *, first: int, block: int) -> Iterator[tuple[int, Ids]]:
    """Yield each block of a text from an id on, after as many ids as the model looks back, and how many those are."""
    reach = len(model.orders) - 1
    for start in range(first, len(ids), block):
        begin = max(0, start - reach)
        yield start - begin, ids[begin : start + block]


def _matches(model: NGrams, ids: Ids) -> Iterator[tuple[Order, Counts, Counts, NDArray[np.bool_]]]:
    """Find the n-grams of a text in a model, length by length, without any ids before them.

    Yields:
        For the n-grams of k + 1 ids, which end at ids k to n - 1: their order; the rank of the k ids before each, -1 if
        these are not in the model; where each may be in the order; and whether it is there.

    """
    ranks = np.zeros(len(ids), np.int64)  # of the n-gram that begins at each position
    for before, order in enumerate(model.orders):
        if not len(order.codes):
            break
        last = ids[before:]
        contexts = ranks[: len(last)]
        wanted = contexts * model.vocabulary_size + last
        at = np.minimum(np.searchsorted(order.codes, wanted), len(order.codes) - 1)
        is_known = order.codes[at] == wanted
        yield order, contexts, at, is_known
        ranks = np.where(is_known, at, -1)


def _nats(model: NGrams, ids: Ids) -> Values:
    """Return the nats [n] of ids [n], without any ids before them."""
    probabilities = np.full(len(ids), 1 / model.vocabulary_size)
    for before, (order, contexts, at, is_known) in enumerate(_matches(model, ids)):
        shorter = probabilities[before:]
        longer = np.where(is_known, order.shares[at], 0) + order.rests[contexts] * shorter
        probabilities[before:] = np.where(contexts >= 0, longer, shorter)
    return np.asarray(-np.log(probabilities))


def _probabilities(model: NGrams, ids: Ids) -> Values:
    """Return the probabilities of every id at the places of ids [n], without any ids before them: [n, V]."""
    size = model.vocabulary_size
    probabilities = np.full((len(ids), size), 1 / size)
    for before, (order, contexts, _, _) in enumerate(_matches(model, ids)):
        places = before + np.flatnonzero(contexts >= 0)
        known = contexts[contexts >= 0]
        probabilities[places] *= order.rests[known, None]
        first, end = (np.searchsorted(order.codes, (known + after) * size) for after in (0, 1))
        rows = np.repeat(np.arange(len(known)), end - first)
        followers = np.arange(len(rows)) - np.repeat(np.cumsum(end - first) - end, end - first)
        probabilities[places[rows], order.codes[followers] % size] += order.shares[followers]
    return probabilities


MAX_TRAINING_CHARACTERS = 1_000_000
"""How much of the end of a training text the baselines learn from, in ids, wherever they are shown."""
UNIFORM, UNIGRAM, NGRAM, COMPRESSOR = "uniform", "unigram", f"{NGRAM_ORDER}-gram", "lzma"
BASELINES = (UNIFORM, COMPRESSOR, UNIGRAM, NGRAM)
"""The names of the baselines."""
MIN_ADDED_BYTES = 200
"""What a compressor adds is a whole number of bytes, and a few more or less by the headers of its blocks: the score of
a text that adds less would be chance."""
MAX_DICTIONARY_BYTES = 1 << 26
"""As xz -9; the encoder takes about eleven times as much memory."""


def baseline_scores(
    ids: Ids,
    vocabulary: Vocabulary,
    training: Ids | None = None,
    *,
    names: Collection[str] = BASELINES,
) -> dict[str, Score]:
    """Score a text with simple models, each of which has read the end of the training text before.

    It takes about three seconds if the training text has MAX_TRAINING_CHARACTERS ids or more.

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; None = it is not known. Only its last MAX_TRAINING_CHARACTERS ids are
            used.
        names: The models to score.

    Returns:
        The scores by name: `uniform`, ln V; `lzma`, see `compressed_nats`, unless the text is too short or too uniform
        for it; and, with a training text, `unigram` and `5-gram`. Only the 5-gram's has block means.

    """
    known = ids[:0] if training is None else training[-MAX_TRAINING_CHARACTERS:]
    size = len(vocabulary)
    characters = len(ids) - 1
    scores: dict[str, Score] = {}
    if UNIFORM in names:
        scores[UNIFORM] = Score(math.log(size), characters)
    compressed = compressed_nats(ids, vocabulary, known) if COMPRESSOR in names else None
    if compressed is not None:
        scores[COMPRESSOR] = Score(compressed, characters)
    if len(known) and UNIGRAM in names:
        scores[UNIGRAM] = Score(unigram_nats(ids, known, vocabulary_size=size), characters)
    if len(known) and NGRAM in names:
        scores[NGRAM] = mean_score(score_ngrams(count_ngrams(known, vocabulary_size=size), ids))
    return scores


Verdict = Literal["better", "worse", "no clear difference", "not compared"]


@dataclass(frozen=True)
class Comparison:
    """A model's score compared with that of the 5-gram model on the same characters.

    The 5-gram model is counted on the last MAX_TRAINING_CHARACTERS of the training text.
    """

    ngram_nats_per_char: float
    """Score of the 5-gram model."""
    margin_nats: float
    """The 5-gram model's score minus the model's, in nats per character; above 0, the model is better."""
    standard_error: float | None
    """Standard error of the margin, from the differences block by block; None for fewer than 2,400 characters."""
    characters: int
    """Number of characters that both models scored."""

    @classmethod
    def of(cls, score: Score, ngram: Score) -> "Comparison":
        """Compare the score of a model with that of the 5-gram model on the same text."""
        margin = ngram.minus(score)
        return cls(ngram.nats_per_char, margin.nats, margin.standard_error, ngram.characters)

    @property
    def verdict(self) -> Verdict:
        """Whether the model is better than the 5-gram model, as far as three standard errors can tell."""
        if self.standard_error is None:
            return "not compared"
        if not Difference(self.margin_nats, self.standard_error).is_clear:
            return "no clear difference"
        return "better" if self.margin_nats > 0 else "worse"

    def __str__(self) -> str:
        """Return the comparison as text that can stand alone or follow "The model scores ..., "."""
        ngram = f"a {NGRAM} model ({self.ngram_nats_per_char:.4f})"
        if self.standard_error is None:
            return f"not compared with {ngram}: {self.characters:,} characters are too few to know the error"
        margin = f"{Difference(self.margin_nats, self.standard_error)} per character"
        side = "better" if self.margin_nats > 0 else "worse"
        characters = f"on {self.characters:,} characters"
        if self.verdict == "no clear difference":
            return f"not clearly different from {ngram}: {margin} {side}, {characters}"
        return f"{margin} {side} than {ngram}, {characters}"


def unigram_nats(ids: Ids, training: Ids, *, vocabulary_size: int) -> float:
    """Score a text with a unigram model, p(id) = (count of the id in the training text + 1) / (m + V).

    Args:
        ids: The text, integers [n], n >= 2.
        training: The training text, integers [m].
        vocabulary_size: V.

    Returns:
        The mean nats of ids 1 to n - 1.

    """
    counts, wanted = (count_ids(part, vocabulary_size) for part in (training, ids[1:]))
    return float(wanted @ -np.log((counts + 1) / (len(training) + vocabulary_size))) / (
        len(ids) - 1
    )


def compressed_nats(ids: Ids, vocabulary: Vocabulary, training: Ids) -> float | None:
    """Score a text with a compressor: ln 2 times the bits that the text adds, divided by the number of ids.

    What is compressed is UTF-8, with a zero byte for each end-of-text id. The
    training text and the first id of the text come before the ids that are scored. The compressor is LZMA at level 9,
    whose dictionary holds both texts, up to 64 MiB. (bz2 sorts blocks of 900,000 bytes independently: what it adds
    depends on where the block of the text happens to begin.)

    Args:
        ids: The text, integers [n], n >= 2; ids 1 to n - 1 are scored.
        vocabulary: The characters by id.
        training: The training text, integers [m]; m may be 0.

    Returns:
        The mean nats; None if the text is too short or too uniform: it adds less than MIN_ADDED_BYTES.

    """
    before, after = (
        vocabulary.spell(part, end="\0").encode()
        for part in (np.concatenate([training, ids[:1]]), ids[1:])
    )
    dictionary = min(max(len(before) + len(after), 4096), MAX_DICTIONARY_BYTES)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": dictionary}]
    added = len(lzma.compress(before + after, filters=filters)) - len(
        lzma.compress(before, filters=filters)
    )
    return None if added < MIN_ADDED_BYTES else 8 * math.log(2) / (len(ids) - 1) * added
