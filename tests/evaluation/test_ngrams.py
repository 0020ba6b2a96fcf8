"""N-gram models are those of their definition."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.evaluation.ngrams import count_ngrams, predict_ngrams, score_ngrams

TEXTS = st.lists(st.integers(0, 3), max_size=60)


class Definition:
    """Interpolated modified Kneser-Ney, computed as Chen and Goodman define it, one probability at a time."""

    def __init__(self, text: list[int], size: int, order: int) -> None:
        self.size = size
        self.counts: list[dict[tuple[int, ...], int]] = []
        for length in range(1, order + 1):
            grams = [tuple(text[i : i + length]) for i in range(len(text) - length + 1)]
            if length == order:
                self.counts.append(Counter(grams))
                continue
            before = defaultdict(set)
            for i in range(1, len(text) - length + 1):
                before[tuple(text[i : i + length])].add(text[i - 1])
            self.counts.append({gram: len(ids) for gram, ids in before.items()})

    def discount(self, order: int, count: int) -> float:
        """Return D(count)."""
        n = Counter(self.counts[order - 1].values())
        base = n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5
        k = min(count, 3)
        if k == 0:
            return 0
        wanted = k - (k + 1) * base * n[k + 1] / n[k] if n[k] else base
        return min(max(wanted, 0.1), k)

    def probability(self, context: tuple[int, ...], index: int) -> float:
        """Return p(index | context)."""
        order = len(context) + 1
        counts = [self.counts[order - 1].get((*context, other), 0) for other in range(self.size)]
        below = self.probability(context[1:], index) if context else 1 / self.size
        if sum(counts) == 0:
            return below
        lost = sum(self.discount(order, count) for count in counts)
        kept = counts[index] - self.discount(order, counts[index])
        return (kept + lost * below) / sum(counts)


@given(training=TEXTS, text=TEXTS, order=st.integers(1, 5))
def test_nats_are_those_of_the_definition(training: list[int], text: list[int], order: int) -> None:
    definition = Definition(training, 4, order)
    expected = [
        -np.log(definition.probability(tuple(text[max(0, i - order + 1) : i]), text[i])) for i in range(1, len(text))
    ]
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    found = [nats for block in score_ngrams(model, np.array(text, np.uint8), block=7) for nats in block]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(training=TEXTS, text=TEXTS, order=st.integers(1, 5), first=st.integers(0, 5), block=st.integers(1, 40))
def test_what_is_predicted_is_by_the_definition(
    training: list[int], text: list[int], order: int, first: int, block: int
) -> None:
    definition = Definition(training, 4, order)
    expected = [
        [definition.probability(tuple(text[max(0, i - order + 1) : i]), index) for index in range(4)]
        for i in range(first, len(text))
    ]
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    found = [row for rows in predict_ngrams(model, np.array(text, np.uint8), first=first, block=block) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_vocabulary_of_all_characters_does_not_overflow() -> None:
    size = 0x110000
    text = np.array([size - 1, size - 2, size - 1, size - 3] * 50, np.uint32)
    small = np.array([3, 2, 3, 1] * 50, np.uint8)
    large_nats, small_nats = (
        np.concatenate(list(score_ngrams(count_ngrams(ids, vocabulary_size=n), ids)))
        for ids, n in ((text, size), (small, 4))
    )
    assert large_nats[-100:] == pytest.approx(small_nats[-100:], abs=0.1)
