"""What others make of a text, in the figures and in what `charlm evaluate --baselines` prints."""

import bz2
import json
import lzma
import math
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from commands import charlm

from charlm import baselines
from charlm.baselines import compressed_nats, measure_baselines, unigram_nats
from charlm.corpus import open_corpus
from charlm.ngrams import count_ngrams, score_ngrams
from charlm.resources import DEFAULT_CORPUS
from charlm.vocabulary import Vocabulary

PLAYS = DEFAULT_CORPUS.read_text(encoding="utf-8")[:40_000]
LETTERS = Vocabulary("char", tuple(sorted({*PLAYS, "é"})))
BYTES = Vocabulary("byte", (*map(chr, range(256)), None), end_of_text_id=256)
TRAINING, TEXT = LETTERS.encode(PLAYS[:30_000]), LETTERS.encode(PLAYS[30_000:])
NAMES = {"zlib", "bz2", "lzma", "unigram", "5-gram"}


def nats_per_char(size: int, characters: int) -> float:
    return size * 8 * math.log(2) / characters


# Compressors


def test_a_compressor_costs_what_the_text_adds_to_what_comes_before() -> None:
    found = compressed_nats(TEXT, LETTERS, TRAINING)
    before, both = PLAYS[:30_001].encode(), PLAYS.encode()
    added = len(bz2.compress(both)) - len(bz2.compress(before))
    assert found["bz2"] == pytest.approx(nats_per_char(added, 9_999))
    added = len(lzma.compress(both, preset=9)) - len(lzma.compress(before, preset=9))
    assert found["lzma"] == pytest.approx(nats_per_char(added, 9_999), rel=0.02)
    added = len(zlib.compress(both, 9)) - len(zlib.compress(before, 9))  # 32 KB hold nearly all of it
    assert found["zlib"] == pytest.approx(nats_per_char(added, 9_999), rel=0.05)


def test_a_compressor_without_the_training_text_has_only_the_text() -> None:
    found = compressed_nats(TEXT, LETTERS, TRAINING[:0])
    assert found["bz2"] == pytest.approx(
        nats_per_char(len(bz2.compress(PLAYS[30_000:].encode())), 9_999), rel=0.02
    )


def test_a_text_that_stands_in_the_training_text_costs_next_to_nothing() -> None:
    known = compressed_nats(TRAINING[-5_000:], LETTERS, TRAINING)
    assert known["zlib"] < 0.1
    assert known["lzma"] < 0.1


def test_bytes_and_ends_of_texts_are_compressed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "BLOCK", 2)
    blocks = baselines._bytes(np.array([0xC3, 0xA9, 256, 0x41, 0xFF]), BYTES)
    assert list(blocks) == [b"\xc3\xa9", b"\0A", b"\xff"]


def test_unknown_characters_are_compressed_as_the_replacement_character(vocabulary: Vocabulary) -> None:
    assert b"".join(baselines._bytes(np.array([1, 3, 4]), vocabulary)) == "a\ufffd\0".encode()


# Counting


def test_a_unigram_counts_every_id_once_more() -> None:
    found = unigram_nats(np.array([2, 0, 1, 1]), np.array([0, 0, 1]), vocabulary_size=3)
    assert found == pytest.approx(-(math.log(3 / 6) + 2 * math.log(2 / 6)) / 3)


def test_the_5_gram_is_scored_over_the_same_characters() -> None:
    found = measure_baselines(TEXT, LETTERS, TRAINING).nats_per_char["5-gram"]
    nats = np.concatenate(list(score_ngrams(count_ngrams(TRAINING, vocabulary_size=len(LETTERS)), TEXT)))
    assert len(nats) == 9_999
    assert found == pytest.approx(nats.mean())


def test_the_more_is_known_the_better_the_figure() -> None:
    found = measure_baselines(TEXT, LETTERS, TRAINING).nats_per_char
    assert set(found) == NAMES
    assert found["5-gram"] < found["lzma"] < found["unigram"] < math.log(len(LETTERS))


def test_of_a_training_text_beyond_the_limit_the_last_part_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measure_baselines(TEXT, LETTERS, TRAINING[-1_000:]).nats_per_char
    monkeypatch.setattr(baselines, "MAX_TRAINING_CHARACTERS", 1_000)
    found = measure_baselines(TEXT, LETTERS, TRAINING)
    assert found.nats_per_char == expected
    assert (found.given_characters, found.training_characters) == (1_000, 30_000)


def test_the_shortest_text_has_figures() -> None:
    found = measure_baselines(np.array([65, 256]), BYTES, np.array([65]))
    assert set(found.nats_per_char) == NAMES
    assert np.isfinite(list(found.nats_per_char.values())).all()


# What is printed


def test_json_has_them_by_name(trained_run: Path) -> None:
    corpus = open_corpus(trained_run / "corpus")
    expected = measure_baselines(corpus.split("test"), corpus.vocabulary, corpus.split("train"))
    found = json.loads(charlm("evaluate", trained_run, "--split", "test", "--baselines", "--json").stdout)
    assert found["baselines"] == pytest.approx(expected.nats_per_char)
    assert found["baselines_given"] == {"characters": 16_000, "of": 16_000}


def test_they_are_measured_only_where_they_are_asked_for(trained_run: Path) -> None:
    assert "baselines" not in json.loads(charlm("evaluate", trained_run, "--json").stdout)


def test_a_person_reads_a_table_with_the_best_first_and_the_model_in_it(trained_run: Path) -> None:
    _, head, *rows, note = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()
    assert head.split() == ["nats", "bits", "perplexity"]
    assert {row[:12].strip() for row in rows} == {*NAMES, "this model"}
    figures = [tuple(map(float, row[12:].split())) for row in rows]
    assert figures == sorted(figures)
    for nats, bits, perplexity in figures:
        assert bits == pytest.approx(nats / math.log(2), abs=1e-3)
        assert perplexity == pytest.approx(math.exp(nats), rel=1e-3)
    assert note == "  the others were given the 16,000 characters of the training text"


def test_the_note_says_what_was_left_out_of_a_long_training_text(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "MAX_TRAINING_CHARACTERS", 1_000)
    note = charlm("evaluate", trained_run, "--baselines").stdout.splitlines()[-1]
    assert note == "  the others were given the last 1,000 of the 16,000 characters of the training text"


def test_a_bundle_by_itself_has_compressors_and_says_so(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    text = trained_run.parent / "text.txt"
    shown = charlm("evaluate", copy, text, "--baselines").stdout
    assert "the training text is not known" in shown
    assert "gram" not in shown
    found = json.loads(charlm("evaluate", copy, text, "--baselines", "--json").stdout)
    assert set(found["baselines"]) == {"zlib", "bz2", "lzma"}
    assert found["baselines_given"] == {"characters": 0, "of": 0}
