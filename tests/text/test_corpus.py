"""A corpus on disk: its splits, its summary, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Corpus, count_ids, is_corpus, open_corpus, settle_corpus_settings, split_positions

# Splits


@pytest.mark.parametrize(
    ("size", "validation", "test", "expected"),
    [
        (1_115_394, 0.1, 0.0, [1_003_854, 111_540, 0]),
        (10, 0.1, 0.2, [7, 1, 2]),
        (1, 0.1, 0.8, [1, 0, 0]),
        (10**12, 0.1, 0.0, [9 * 10**11, 10**11, 0]),
    ],
)
def test_splits_have_the_sizes_of_the_decimal_fractions(
    size: int, validation: float, test: float, expected: list[int]
) -> None:
    config = CorpusConfig(validation_fraction=validation, test_fraction=test)
    splits = split_positions(size, config)
    assert list(splits) == ["train", "validation", "test"]
    assert [end - start for start, end in splits.values()] == expected


def test_a_corpus_has_a_summary_and_ids_that_are_mapped_and_cannot_be_changed_unnoticed(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", "c")
    assert corpus.summary == "3 characters, a vocabulary of 3, 2 documents: train 3, validation 1, test 0"
    assert [is_corpus(tmp_path / name) for name in ("out", "sources", "none")] == [True, False, False]
    assert isinstance(corpus.ids, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        corpus.ids[0] = 1
    assert count_ids(np.array([3, 1, 3], np.uint8), 5).tolist() == [0, 1, 0, 2, 0]


# Opening


def change_manifest(folder: Path, **values: Any) -> Corpus:
    """Change values of the corpus.json of a corpus, and open it again."""
    path = folder / "corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return open_corpus(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 1}, "format: found 1; Input should be 2"),
        ({"size": "3"}, "size: found '3'; Input should be a valid integer"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, r"validation_fraction \+ test_fraction must be less than"),
        ({"splits": {"rest": [0, 3]}}, "splits.rest.*did you mean test"),
        ({"splits": {"train": [0, 2], "test": [2, 3]}}, "splits: .* must have train, validation, test"),
    ],
)
def test_a_manifest_with_a_wrong_value_is_refused_with_its_key(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    make_corpus(tmp_path, "abc")
    with pytest.raises(CharlmError, match=rf"corpus\.json: not that of a corpus: .*{reason}"):
        change_manifest(tmp_path / "out", **change)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 1], r"damaged: not the 3 ids of uint8 that corpus\.json describes: tokenize the text again"),
        ([0, 1, 1], "damaged: .*tokenize the text again"),
        (None, "cannot be read: No such file"),
        (b"no array", "damaged: .*tokenize the text again"),
        (np.array([None] * 3), "damaged: .*tokenize the text again"),
    ],
)
def test_ids_that_are_not_those_of_the_corpus_are_refused(tmp_path: Path, ids: Any, message: str) -> None:
    path = make_corpus(tmp_path, "abc").folder / "ids.npy"
    path.unlink()
    if isinstance(ids, bytes):
        path.write_bytes(ids)
    elif ids is not None:
        np.save(path, ids if isinstance(ids, np.ndarray) else np.array(ids, np.uint8))
    with pytest.raises(CharlmError, match=rf"ids\.npy: {message}"):
        open_corpus(tmp_path / "out")


@pytest.mark.parametrize(("characters", "dtype"), [(255, "u1"), (257, "<u2"), (0x10001, "<i4")])
def test_ids_have_the_smallest_dtype(characters: int, dtype: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "".join(map(chr, range(0x40000, 0x40000 + characters))))
    assert corpus.ids.dtype == dtype


@pytest.mark.parametrize("made", [{}, {"encoding": "latin-1", "min_count": 2, "test_fraction": 0.25}], ids=str)
def test_settings_that_are_left_out_are_those_of_the_corpus(tmp_path: Path, made: dict[str, Any]) -> None:
    corpus = make_corpus(tmp_path, "abba" * 10, **made)
    expected = CorpusConfig(**{"min_count": 1, **made})
    assert settle_corpus_settings(corpus, CorpusConfig()) == expected
    assert settle_corpus_settings(corpus, CorpusConfig(min_count=None)) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            {"encoding": "no such"},
            "corpus.encoding: found 'no such', but .*out was made with 'utf-8'; leave the setting out, or",
        ),
        ({"min_count": 1}, "corpus.min_count: found 1, but .* with 2"),
        ({"validation_fraction": 0.1}, r"corpus.validation_fraction: found 0\.1, but .* with 0\.2"),
    ],
    ids=str,
)
def test_a_written_setting_that_is_not_the_one_of_the_corpus_is_refused_with_its_key(
    tmp_path: Path, written: dict[str, Any], message: str
) -> None:
    corpus = make_corpus(tmp_path, "abba" * 10, min_count=2, validation_fraction=0.2)
    with pytest.raises(CharlmError, match=f"^{message}"):
        settle_corpus_settings(corpus, CorpusConfig(**written))
