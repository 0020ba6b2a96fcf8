"""N-gram models are those of their definition."""

import lzma
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.evaluation import baselines
from charlm.evaluation.baselines import (
    baseline_nats,
    compressed_nats,
    count_ngrams,
    predict_ngrams,
    score_ngrams,
)
from charlm.text.vocabulary import Vocabulary

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


@given(training=TEXTS, text=TEXTS, order=st.integers(1, 5), first=st.integers(0, 5), block=st.integers(1, 40))
def test_predictions_and_nats_are_those_of_the_definition(
    training: list[int], text: list[int], order: int, first: int, block: int
) -> None:
    definition, ids = Definition(training, 4, order), np.array(text, np.uint8)
    expected = [
        [definition.probability(tuple(text[max(0, i - order + 1) : i]), index) for index in range(4)]
        for i in range(len(text))
    ]
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    found = [row for rows in predict_ngrams(model, ids, first=first, block=block) for row in rows]
    np.testing.assert_allclose(found, expected[first:], rtol=1e-9)
    nats = [each for part in score_ngrams(model, ids, block=block) for each in part]
    chosen = [row[index] for row, index in zip(expected, text, strict=True)]
    np.testing.assert_allclose(nats, -np.log(chosen[1:]), rtol=1e-9)


def test_vocabulary_of_all_characters_does_not_overflow() -> None:
    size = 0x110000
    text = np.array([size - 1, size - 2, size - 1, size - 3] * 50, np.uint32)
    small = np.array([3, 2, 3, 1] * 50, np.uint8)
    large_nats, small_nats = (
        np.concatenate(list(score_ngrams(count_ngrams(ids, vocabulary_size=n), ids)))
        for ids, n in ((text, size), (small, 4))
    )
    assert large_nats[-100:] == pytest.approx(small_nats[-100:], abs=0.1)


PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary(tuple(sorted({*PLAYS, "é"})))
TRAINING, TEXT = LETTERS.encode(PLAYS[:30_000]), LETTERS.encode(PLAYS[30_000:])


# The compressor


def test_score_of_the_compressor_is_what_the_text_adds_to_the_training_text() -> None:
    before, both = PLAYS[:30_001].encode(), PLAYS.encode()
    added = len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9))
    assert compressed_nats(TEXT, LETTERS, TRAINING) == pytest.approx(8 * math.log(2) * added / 9_999, rel=0.02)
    for length, added in ((580, 180), (740, 232)):  # fewer than 200 bytes say little
        both = PLAYS[: 30_000 + length].encode()
        assert len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9)) == pytest.approx(added, abs=15)
        assert ("lzma" in baseline_nats(TEXT[:length], LETTERS, TRAINING)) == (added > 200)


def test_a_text_too_short_or_too_uniform_for_the_compressor_has_no_score_of_it() -> None:
    for training, text in (
        (TRAINING, TEXT[:2]),
        (TRAINING, np.zeros(5_000, int)),
        (np.zeros(50_000, int), np.zeros(5_000, int)),
    ):
        assert set(baseline_nats(text, LETTERS, training)) == {"uniform", "unigram", "5-gram"}


# N-gram models


def test_every_baseline_has_its_score_on_all_characters_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(LETTERS)
    counts = np.bincount(TRAINING, minlength=size) + 1
    five = np.concatenate(list(score_ngrams(count_ngrams(TRAINING, vocabulary_size=size, order=5), TEXT)))
    assert len(five) == 9_999
    assert baseline_nats(TEXT, LETTERS, TRAINING) == {
        "uniform": pytest.approx(math.log(size)),
        "unigram": pytest.approx(-np.log(counts / counts.sum())[TEXT[1:]].mean()),
        "5-gram": pytest.approx(five.mean()),
        "lzma": compressed_nats(TEXT, LETTERS, TRAINING),
    }
    alone = {"uniform": math.log(size), "lzma": compressed_nats(TEXT, LETTERS, TRAINING[:0])}
    assert baseline_nats(TEXT, LETTERS) == alone  # without a training text
    expected = baseline_nats(TEXT, LETTERS, TRAINING[-1_000:])
    monkeypatch.setattr(baselines, "MAX_TRAINING_CHARACTERS", 1_000)  # only the end of a long one is used
    assert baseline_nats(TEXT, LETTERS, TRAINING) == expected
