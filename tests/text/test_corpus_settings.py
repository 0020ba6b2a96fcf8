"""The settings of a corpus on disk decide the section `corpus` of a config."""

import json
from pathlib import Path
from typing import Any

import pytest
from corpora import make_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Corpus, Manifest, open_corpus, split_positions
from charlm.text.corpus_settings import settle_corpus_settings

SEEDED = settings(derandomize=True, deadline=None, max_examples=300)


def change_manifest(corpus: Corpus, **values: Any) -> Corpus:
    """Change values of the manifest of a corpus, or remove those that are None, and open it again."""
    path = corpus.folder / "manifest.json"
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
    return open_corpus(corpus.folder)


def forget_fractions(corpus: Corpus) -> Corpus:
    """Make the manifest of a corpus like those of charlm 0.1.0."""
    return change_manifest(corpus, validation_fraction=None, test_fraction=None)


@pytest.mark.parametrize(
    "made",
    [
        {},
        {"level": "byte", "validation_fraction": 0.3},
        {"encoding": "latin-1", "normalize": "NFC", "min_count": 2, "test_fraction": 0.25},
    ],
    ids=str,
)
def test_settings_that_are_left_out_are_those_of_the_corpus(tmp_path: Path, made: dict[str, Any]) -> None:
    corpus = make_corpus(tmp_path, "abba" * 10, **made)
    assert settle_corpus_settings(corpus, CorpusConfig()) == CorpusConfig(**made)


def test_a_written_setting_that_is_the_one_of_the_corpus_is_accepted(tmp_path: Path) -> None:
    made = CorpusConfig(level="byte", validation_fraction=0.3)
    corpus = make_corpus(tmp_path, "abba" * 10, level="byte", validation_fraction=0.3)
    assert settle_corpus_settings(corpus, made) == made


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"level": "byte"}, "corpus.level: found 'byte', but .*out was made with 'char'; leave the setting out, or"),
        ({"encoding": "latin-1"}, "corpus.encoding: found 'latin-1', but .* with 'utf-8'"),
        ({"encoding": "no such"}, "corpus.encoding: found 'no such', but .* with 'utf-8'"),
        ({"normalize": "NFC"}, "corpus.normalize: found 'NFC', but .* with 'none'"),
        ({"min_count": 1}, "corpus.min_count: found 1, but .* with 2"),
        ({"validation_fraction": 0.1}, r"corpus.validation_fraction: found 0\.1, but .* with 0\.2"),
        ({"test_fraction": 0.5}, r"corpus.test_fraction: found 0\.5, but .* with 0\.0"),
    ],
    ids=str,
)
def test_a_written_setting_that_is_not_the_one_of_the_corpus_is_refused_with_its_key(
    tmp_path: Path, written: dict[str, Any], message: str
) -> None:
    corpus = make_corpus(tmp_path, "abba" * 10, min_count=2, validation_fraction=0.2)
    with pytest.raises(CharlmError, match=f"^{message}"):
        settle_corpus_settings(corpus, CorpusConfig(**written))


def test_another_name_of_the_same_encoding_is_accepted(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba")
    assert settle_corpus_settings(corpus, CorpusConfig(encoding="UTF8")).encoding == "utf-8"


def test_any_encoding_is_accepted_at_level_byte_where_none_is_used(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba", level="byte")
    assert settle_corpus_settings(corpus, CorpusConfig(encoding="cp1252")).encoding == "utf-8"


def test_an_encoding_in_the_manifest_that_python_does_not_have_is_refused(tmp_path: Path) -> None:
    corpus = change_manifest(make_corpus(tmp_path, "abba"), encoding="klingon")
    with pytest.raises(CharlmError, match=r"manifest\.json: encoding: found 'klingon', which is not a text encoding"):
        settle_corpus_settings(corpus, CorpusConfig())


# Corpora of charlm 0.1.0, whose manifest has no fractions


def test_an_older_corpus_has_the_shortest_fractions_with_its_splits(tmp_path: Path) -> None:
    corpus = forget_fractions(make_corpus(tmp_path, "abba" * 250, validation_fraction=0.05, test_fraction=0.2))
    made = settle_corpus_settings(corpus, CorpusConfig())
    assert (made.validation_fraction, made.test_fraction) == (0.05, 0.2)


def test_an_older_corpus_takes_written_fractions_with_the_same_splits(tmp_path: Path) -> None:
    corpus = forget_fractions(make_corpus(tmp_path, "abba", validation_fraction=0.25))
    written = CorpusConfig(validation_fraction=0.125, test_fraction=0.0)
    assert split_positions(4, written) == corpus.splits
    assert settle_corpus_settings(corpus, written) == written


def test_an_older_corpus_refuses_written_fractions_with_other_splits(tmp_path: Path) -> None:
    corpus = forget_fractions(make_corpus(tmp_path, "abba" * 250))
    with pytest.raises(CharlmError, match=r"corpus.validation_fraction: found 0\.2, but .* with 0\.1;"):
        settle_corpus_settings(corpus, CorpusConfig(validation_fraction=0.2))


@SEEDED
@given(
    size=st.integers(1, 10**13),
    validation=st.floats(0, 1, exclude_max=True),
    test=st.floats(0, 1, exclude_max=True),
)
def test_fractions_of_an_older_corpus_split_it_as_it_is_split(size: int, validation: float, test: float) -> None:
    if validation + test >= 1:
        validation, test = validation / 2, test / 2
    splits = split_positions(size, CorpusConfig(validation_fraction=validation, test_fraction=test))
    manifest = Manifest(
        format=1, charlm="0.1.0", level="byte", encoding="utf-8", normalize="none", min_count=1, sources=(),
        characters=size, dtype="uint8", size=size, ids_sha256="", splits=splits,
    )  # fmt: skip
    made = settle_corpus_settings(Corpus(Path(), None, None, manifest), CorpusConfig())  # type: ignore[arg-type]
    assert split_positions(size, made) == splits
