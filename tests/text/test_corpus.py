"""A corpus on disk: its splits, its summary, its settings, and the refusal of damaged files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import (
    Corpus,
    count_ids,
    open_corpus,
    resolve_corpus_settings,
    split_positions,
)

# Splits


def test_ids_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.text.corpus.BLOCK", 2)
    assert count_ids(np.array([0, 2, 2, 2, 0]), 4).tolist() == [2, 0, 3, 0]


@pytest.mark.parametrize(
    ("size", "validation", "test", "sizes"),
    [
        pytest.param(1_115_394, 0.1, 0.0, [1_003_854, 111_540, 0], id="the default"),
        pytest.param(10, 0.1, 0.2, [7, 1, 2], id="three splits"),
        pytest.param(19, 0.1, 0.1, [15, 2, 2], id="rounded"),
    ],
)
def test_a_split_has_the_size_of_its_fraction(
    size: int, validation: float, test: float, sizes: list[int]
) -> None:
    config = CorpusConfig(validation_fraction=validation, test_fraction=test)
    splits = split_positions(size, config)
    assert list(splits) == ["train", "validation", "test"]
    assert [end - start for start, end in splits.values()] == sizes


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Return a corpus of two documents."""
    return make_corpus(tmp_path, "ab", "c")


def test_a_corpus_has_a_summary(corpus: Corpus) -> None:
    assert corpus.summary == "3 characters, a vocabulary of 3, 2 documents"


def test_a_corpus_has_three_splits(corpus: Corpus) -> None:
    assert corpus.split("train").tolist() == [0, 1, 3]
    assert corpus.split("validation").tolist() == [2]
    assert corpus.split("test").tolist() == []


def test_the_ids_are_read_only(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1


# Damaged files

SPLITS = r"splits: must be {'train': \(0, 2\), 'validation': \(2, 3\), 'test': \(3, 3\)}"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 1}, "format: found 1; must be 3"),
        ({"size": "3"}, "size: found '3'; must be a valid integer"),
        (
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            r"validation_fraction \+ test_fraction must be less than",
        ),
        ({"splits": {"rest": [0, 3]}}, "splits.rest.*did you mean test"),
        ({"splits": {"train": [0, 3], "validation": [2, 3], "test": [3, 3]}}, SPLITS),
        ({"min_count": -1}, "min_count: found -1; must be"),
        ({"name": ""}, "name: found ''; must"),
    ],
    ids=str,
)
def test_a_wrong_value_in_the_manifest_is_refused(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    manifest = make_corpus(tmp_path, "abc").folder / "corpus.json"
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(fields | change))
    with pytest.raises(CharlmError, match=rf"corpus\.json: not a valid corpus: .*{reason}"):
        open_corpus(tmp_path / "out")


def save(ids: Any) -> Callable[[Path], object]:
    """Return a function that writes other ids."""
    return lambda path: np.save(path, ids)


DAMAGED = (
    r"damaged; expected the 3 ids of type uint8 that corpus\.json describes; "
    r"tokenize the text again"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(save(np.zeros(3, np.uint8)), DAMAGED, id="other ids"),
        pytest.param(save(np.array([None] * 3)), DAMAGED, id="objects"),
        pytest.param(lambda path: path.write_bytes(b"no array"), DAMAGED, id="not an array"),
        pytest.param(Path.unlink, "cannot be read: No such", id="missing"),
    ],
)
def test_ids_that_are_not_the_ids_of_the_corpus_are_refused(
    change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    change(make_corpus(tmp_path, "abc").folder / "ids.npy")
    with pytest.raises(CharlmError, match=rf"ids\.npy: {message}"):
        open_corpus(tmp_path / "out")


@pytest.mark.parametrize("letters", ["abc", "".join(map(chr, range(0x4E00, 0x4F00)))])
def test_ids_without_a_character_are_refused(letters: str, tmp_path: Path) -> None:
    """The compiled kernel would read and write outside of its arrays."""
    corpus = make_corpus(tmp_path, letters * 2)
    manifest = corpus.folder / "corpus.json"
    fields = json.loads(manifest.read_text())
    fields["vocabulary"]["characters"].pop()
    manifest.write_text(json.dumps(fields))
    with pytest.raises(CharlmError, match=r"ids\.npy: damaged; expected"):
        open_corpus(corpus.folder)


# Settings

SETTINGS: dict[str, Any] = {"encoding": "cp1252", "min_count": 2, "test_fraction": 0.25}


@pytest.fixture
def with_settings(tmp_path: Path) -> Corpus:
    """Return a corpus with other settings than the defaults."""
    return make_corpus(tmp_path, "abba" * 10, **SETTINGS)


@pytest.mark.parametrize("written", [{}, {"min_count": None}, {"min_count": 2}], ids=str)
def test_a_config_gets_the_settings_of_its_corpus(
    written: dict[str, Any], with_settings: Corpus
) -> None:
    resolved = resolve_corpus_settings(with_settings, CorpusConfig(**written))
    assert resolved == CorpusConfig(**SETTINGS)


def test_an_encoding_by_another_name_is_the_same(corpus: Corpus) -> None:
    resolved = resolve_corpus_settings(corpus, CorpusConfig(encoding="UTF-8"))
    assert resolved.encoding == "utf-8"


@pytest.mark.parametrize(
    ("key", "written", "recorded"),
    [
        ("encoding", "no such", "cp1252"),
        ("min_count", 1, 2),
        ("validation_fraction", 0.2, 0.1),
        ("test_fraction", 0.0, 0.25),
    ],
)
def test_another_setting_than_the_one_of_the_corpus_is_refused(
    key: str, written: Any, recorded: Any, with_settings: Corpus
) -> None:
    problem = f"found {written!r}, but .*out was made with {recorded!r}"
    message = rf"^corpus\.{key}: {problem}; leave the setting out, or tok"
    with pytest.raises(CharlmError, match=message):
        resolve_corpus_settings(with_settings, CorpusConfig(**{key: written}))
