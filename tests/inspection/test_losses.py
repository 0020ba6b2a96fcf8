"""The loss divided by classes: small texts counted by hand, and means that give the total."""

import statistics
from dataclasses import replace

import numpy as np
import pytest

from charlm.inspection.surprise import ClassLoss, divide_loss, loss_sentence
from charlm.text.vocabulary import Vocabulary

TEXT = "Ab 1\nc, Dé"
VOCABULARY = Vocabulary(characters=tuple(sorted(set(TEXT))))
IDS = VOCABULARY.encode(TEXT)
NATS = np.arange(1.0, len(TEXT))  # of "b" to "é"


def losses(table: tuple[ClassLoss, ...]) -> dict[str, tuple[int, float]]:
    return {row.name: (row.characters, row.nats_per_char) for row in table}


def test_each_character_is_counted_in_its_class() -> None:
    found = divide_loss(NATS, IDS, VOCABULARY)
    single = {"upper case": (1, 8), "digit": (1, 3), "line break": (1, 4), "punctuation": (1, 6)}
    assert losses(found.by_class) == {"lower case": (3, (1 + 5 + 9) / 3), "blank": (2, (2 + 7) / 2), **single}
    assert losses(found.by_word_place) == {"outside words": (5, 22 / 5), "letter 1": (2, 13 / 2), "letter 2": (2, 5)}


def test_a_letter_is_counted_at_its_place_in_the_word() -> None:
    vocabulary = Vocabulary(characters=(" ", "a"))
    table = divide_loss(np.arange(11.0), vocabulary.encode(" aaaaaaaaaa "), vocabulary).by_word_place
    singles = {f"letter {place}": (1, place - 1) for place in (1, 2, 3, 4)}
    assert losses(table) == {"outside words": (1, 10), **singles, "letters 5 to 7": (3, 5), "letters from 8": (3, 8)}


def test_the_n_gram_model_is_divided_in_the_same_way() -> None:
    found = divide_loss(NATS, IDS, VOCABULARY, ngram_nats=2 * NATS, ngram_order=5)
    assert found.ngram_order == 5
    assert found.ngram_nats_per_char == 10
    for row in (*found.by_class, *found.by_word_place):
        assert row.ngram_nats_per_char == pytest.approx(2 * row.nats_per_char)
    assert np.isnan(divide_loss(NATS, IDS, VOCABULARY).by_class[0].ngram_nats_per_char)


def test_means_weighted_by_counts_are_the_mean_over_the_text() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, len(VOCABULARY), 5000)
    nats = rng.random(4999).astype(np.float32)
    found = divide_loss(nats, ids, VOCABULARY)
    for table in (found.by_class, found.by_word_place):
        assert sum(row.characters for row in table) == len(found.positions) == 4999
        mean = sum(row.characters * row.nats_per_char for row in table) / 4999
        assert mean == pytest.approx(found.nats_per_char, rel=1e-9)
        assert sum(row.share_of_loss for row in table) == pytest.approx(1)
    assert found.nats_per_char == pytest.approx(float(nats.mean(dtype=np.float64)))


def test_the_errors_are_those_of_blocks_of_500_characters() -> None:
    rng = np.random.default_rng(0)
    ids = np.tile(VOCABULARY.encode("b\n"), 1001)[:2001]
    nats, by_ngrams = rng.random((2, 2000))
    found = divide_loss(nats, ids, VOCABULARY, ngram_nats=by_ngrams, ngram_order=5)
    blocks, gains = nats.reshape(4, 500), (by_ngrams - nats).reshape(4, 500).mean(1).tolist()
    assert found.standard_error == pytest.approx(statistics.stdev(blocks.mean(1).tolist()) / 2)
    assert found.ngram_gain == pytest.approx(by_ngrams.mean() - nats.mean())
    assert found.ngram_gain_standard_error == pytest.approx(statistics.stdev(gains) / 2)
    breaks = next(each for each in found.by_class if each.name == "line break")  # every other character
    assert breaks.standard_error == pytest.approx(statistics.stdev(blocks[:, ::2].mean(1).tolist()) / 2)
    ngram_blocks = by_ngrams.reshape(4, 500)[:, ::2].mean(1).tolist()
    assert breaks.ngram_standard_error == pytest.approx(statistics.stdev(ngram_blocks) / 2)
    scores = f"scores {nats.mean():.3f} \N{PLUS-MINUS SIGN} "
    assert loss_sentence(found).startswith(scores)
    assert loss_sentence(replace(found, ngram_gain=-0.5)).endswith(" worse than counting 5-grams, the best of 2 to 9")
    assert loss_sentence(replace(found, ngram_order=None)).endswith(" nats per character")
    assert loss_sentence(replace(found, ngram_gain_standard_error=None)).endswith(" nats per character")  # a short text


def test_a_text_that_is_predicted_perfectly_has_no_loss_to_share() -> None:
    found = divide_loss(np.zeros(9), IDS, VOCABULARY)
    assert found.nats_per_char == 0
    assert {row.share_of_loss for row in found.by_class} == {0}
