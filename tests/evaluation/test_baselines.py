"""The scores of compressors and n-gram models on a text."""

import bz2
import lzma
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.evaluation.baselines import (
    compressed_nats,
    count_ngrams,
    measure_baselines,
    score_ngrams,
    text_bytes,
    unigram_nats,
)
from charlm.text.vocabulary import Vocabulary

PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary("char", tuple(sorted({*PLAYS, "é"})))
BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)
TRAINING, TEXT = LETTERS.encode(PLAYS[:30_000]), LETTERS.encode(PLAYS[30_000:])
NAMES = {"bz2", "lzma", "unigram", "5-gram"}


def nats_per_char(size: int, characters: int) -> float:
    return size * 8 * math.log(2) / characters


# Compressors


def test_score_of_a_compressor_is_what_the_text_adds_to_the_training_text() -> None:
    found = compressed_nats(TEXT, LETTERS, TRAINING)
    before, both = PLAYS[:30_001].encode(), PLAYS.encode()
    added = len(bz2.compress(both)) - len(bz2.compress(before))
    assert found["bz2"] == pytest.approx(nats_per_char(added, 9_999))
    added = len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9))
    assert found["lzma"] == pytest.approx(nats_per_char(added, 9_999), rel=0.02)


@pytest.mark.parametrize(
    ("training", "text"),
    [(TRAINING, TEXT[:2]), (TRAINING, np.zeros(5_000, int)), (np.zeros(50_000, int), np.zeros(5_000, int))],
    ids=["short", "uniform", "as before"],
)
def test_a_text_too_short_or_too_uniform_for_a_compressor_is_not_below_zero_and_uncertain(
    training: np.ndarray, text: np.ndarray
) -> None:
    found = measure_baselines(text, LETTERS, training)
    assert found.uncertain == ("bz2", "lzma")
    assert min(found.nats_per_char.values()) >= 0
    assert measure_baselines(TEXT, LETTERS, TRAINING).uncertain == ()


def test_a_compressor_that_takes_less_for_more_text_adds_nothing() -> None:
    given = (LETTERS.encode(PLAYS[:length]) for length in range(100, 400))
    assert min(compressed_nats(TEXT[:2], LETTERS, ids, names=("bz2",))["bz2"] for ids in given) == 0


def test_text_of_bytes_is_compressed_unchanged_with_a_zero_byte_for_each_end_of_text() -> None:
    blocks = text_bytes(np.array([0xC3, 0xA9, 256, 0x41, 0xFF]), BYTES, block=2)
    assert list(blocks) == [b"\xc3\xa9", b"\0A", b"\xff"]


def test_unknown_characters_are_compressed_as_the_replacement_character(vocabulary: Vocabulary) -> None:
    assert b"".join(text_bytes(np.array([1, 3, 4]), vocabulary)) == "a\ufffd\0".encode()


# N-gram models


def test_unigram_model_adds_one_to_each_count() -> None:
    found = unigram_nats(np.array([2, 0, 1, 1]), np.array([0, 0, 1]), vocabulary_size=3)
    assert found == pytest.approx(-(math.log(3 / 6) + 2 * math.log(2 / 6)) / 3)


def test_5_gram_model_scores_all_characters_but_the_first() -> None:
    found = measure_baselines(TEXT, LETTERS, TRAINING).nats_per_char["5-gram"]
    nats = np.concatenate(list(score_ngrams(count_ngrams(TRAINING, vocabulary_size=len(LETTERS)), TEXT)))
    assert len(nats) == 9_999
    assert found == pytest.approx(nats.mean())


def test_only_the_end_of_a_long_training_text_is_used() -> None:
    expected = measure_baselines(TEXT, LETTERS, TRAINING[-1_000:]).nats_per_char
    found = measure_baselines(TEXT, LETTERS, TRAINING, max_training_characters=1_000)
    assert found.nats_per_char == expected
    assert (found.given_characters, found.training_characters) == (1_000, 30_000)


def test_without_a_training_text_there_are_only_compressors() -> None:
    found = measure_baselines(TEXT, LETTERS)
    assert found.nats_per_char == compressed_nats(TEXT, LETTERS, TRAINING[:0])
    assert (found.given_characters, found.training_characters) == (0, 0)


def test_text_of_two_characters_has_scores() -> None:
    found = measure_baselines(np.array([65, 256]), BYTES, np.array([65]))
    assert set(found.nats_per_char) == NAMES
    assert np.isfinite(list(found.nats_per_char.values())).all()


SEEDED = settings(derandomize=True, deadline=None)
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


@SEEDED
@given(training=TEXTS, text=TEXTS, order=st.integers(1, 5))
def test_nats_are_those_of_the_definition(training: list[int], text: list[int], order: int) -> None:
    definition = Definition(training, 4, order)
    expected = [
        -np.log(definition.probability(tuple(text[max(0, i - order + 1) : i]), text[i])) for i in range(1, len(text))
    ]
    model = count_ngrams(np.array(training, np.uint8), vocabulary_size=4, order=order)
    found = [nats for block in score_ngrams(model, np.array(text, np.uint8), block=7) for nats in block]
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
