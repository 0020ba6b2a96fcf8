"""A corpus on disk: its splits, its summary, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import count_ids, is_corpus, open_corpus, settle_corpus_settings, split_positions

# Splits


def test_splits_have_the_sizes_of_the_decimal_fractions() -> None:
    for size, validation, test, expected in (
        (1_115_394, 0.1, 0.0, [1_003_854, 111_540, 0]),
        (10, 0.1, 0.2, [7, 1, 2]),
        (1, 0.1, 0.8, [1, 0, 0]),
        (19, 0.1, 0.1, [15, 2, 2]),
        (10**12, 0.1, 0.0, [9 * 10**11, 10**11, 0]),
    ):
        config = CorpusConfig(validation_fraction=validation, test_fraction=test)
        splits = split_positions(size, config)
        assert list(splits) == ["train", "validation", "test"]
        assert [end - start for start, end in splits.values()] == expected


def test_a_corpus_has_a_summary_parts_and_ids_that_are_mapped_and_read_only(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", "c")
    assert corpus.summary == "3 characters, a vocabulary of 3, 2 documents: train 3, validation 1, test 0"
    assert [is_corpus(tmp_path / name) for name in ("out", "sources", "none")] == [True, False, False]
    parts = corpus.split("train"), corpus.split("validation"), corpus.split("test"), corpus.split("train", at_most=2)
    assert [part.tolist() for part in parts] == [[0, 1, 3], [2], [], [0, 1]]
    assert isinstance(corpus.ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1
    assert count_ids(np.array([3, 1, 3], np.uint8), 5).tolist() == [0, 1, 0, 2, 0]


# Opening


def test_a_manifest_with_a_wrong_value_is_refused_with_its_key(tmp_path: Path) -> None:
    path = make_corpus(tmp_path, "abc").folder / "corpus.json"
    whole, change = json.loads(path.read_text()), dict[str, Any]()
    for change, reason in (
        ({"format": 1}, "format: found 1; Input should be 2"),
        ({"size": "3"}, "size: found '3'; Input should be a valid integer"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, r"validation_fraction \+ test_fraction must be less than"),
        ({"splits": {"rest": [0, 3]}}, "splits.rest.*did you mean test"),
        ({"splits": {"train": [0, 2], "test": [2, 3]}}, "splits: .* must have train, validation, test"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(CharlmError, match=rf"corpus\.json: not that of a corpus: .*{reason}"):
            open_corpus(tmp_path / "out")


def test_ids_that_are_not_those_of_the_corpus_are_refused(tmp_path: Path) -> None:
    path = make_corpus(tmp_path, "abc").folder / "ids.npy"
    assert open_corpus(tmp_path / "out").ids.tolist() == [0, 1, 2]
    message = r"damaged: not the 3 ids of uint8 that corpus\.json describes: tokenize the text again"
    for ids in (np.zeros(2, np.uint8), np.zeros(3, np.uint8), np.arange(3), np.array([None] * 3), b"no array", None):
        path.unlink()
        if isinstance(ids, bytes):
            path.write_bytes(ids)
        elif ids is not None:
            np.save(path, ids)
        with pytest.raises(CharlmError, match=rf"ids\.npy: {'cannot be read: No such' if ids is None else message}"):
            open_corpus(tmp_path / "out")


def test_the_settings_of_a_corpus_are_taken_over_and_others_that_are_written_refused(tmp_path: Path) -> None:
    made: dict[str, Any] = {"encoding": "latin-1", "min_count": 2, "test_fraction": 0.25}
    written: dict[str, Any]
    corpus = make_corpus(tmp_path, "abba" * 10, **made)
    for written in ({}, {"min_count": None}, {"min_count": 2}):
        assert settle_corpus_settings(corpus, CorpusConfig(**written)) == CorpusConfig(**made)
    written = {"encoding": "no such", "min_count": 1, "validation_fraction": 0.2, "test_fraction": 0.0}
    for key, value in written.items():
        there = made.get(key, 0.1)
        message = rf"^corpus\.{key}: found {value!r}, but .*out was made with {there!r}; leave the setting out, or tok"
        with pytest.raises(CharlmError, match=message):
            settle_corpus_settings(corpus, CorpusConfig(**{key: value}))
