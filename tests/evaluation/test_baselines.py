"""The scores of a compressor and of n-gram models on a text."""

import lzma
import math

import numpy as np
import pytest

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.evaluation import baselines
from charlm.evaluation.baselines import baseline_nats, compressed_nats, text_bytes
from charlm.evaluation.ngrams import count_ngrams, score_ngrams
from charlm.text.vocabulary import Vocabulary

PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary(tuple(sorted({*PLAYS, "é"})))
TRAINING, TEXT = LETTERS.encode(PLAYS[:30_000]), LETTERS.encode(PLAYS[30_000:])


# The compressor


def test_score_of_the_compressor_is_what_the_text_adds_to_the_training_text() -> None:
    before, both = PLAYS[:30_001].encode(), PLAYS.encode()
    added = len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9))
    assert compressed_nats(TEXT, LETTERS, TRAINING) == pytest.approx(8 * math.log(2) * added / 9_999, rel=0.02)


@pytest.mark.parametrize(
    ("training", "text"),
    [(TRAINING, TEXT[:2]), (TRAINING, np.zeros(5_000, int)), (np.zeros(50_000, int), np.zeros(5_000, int))],
    ids=["short", "uniform", "as before"],
)
def test_a_text_too_short_or_too_uniform_for_the_compressor_has_no_score_of_it(
    training: np.ndarray, text: np.ndarray
) -> None:
    assert set(baseline_nats(text, LETTERS, training)) == {"uniform", "unigram", "5-gram"}


def test_an_end_of_text_is_compressed_as_a_zero_byte_and_an_unknown_character_as_the_replacement_character(
    vocabulary: Vocabulary,
) -> None:
    assert list(text_bytes(np.array([1, 3, 4, 2]), vocabulary, block=3)) == ["a\ufffd\0".encode(), b"b"]


# N-gram models


def test_every_baseline_has_its_score_on_all_characters_but_the_first() -> None:
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


def test_only_the_end_of_a_long_training_text_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = baseline_nats(TEXT, LETTERS, TRAINING[-1_000:])
    monkeypatch.setattr(baselines, "MAX_TRAINING_CHARACTERS", 1_000)
    assert baseline_nats(TEXT, LETTERS, TRAINING) == expected


def test_without_a_training_text_there_are_no_counts() -> None:
    assert baseline_nats(TEXT, LETTERS) == {
        "uniform": math.log(len(LETTERS)),
        "lzma": compressed_nats(TEXT, LETTERS, TRAINING[:0]),
    }
