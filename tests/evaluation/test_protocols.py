"""The protocols of scoring, and the text that is scored."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.evaluation.protocols import Split, ids_to_score, score_ids
from charlm.evaluation.scoring import score_windows
from charlm.network.bundle import Bundle, read_bundle
from charlm.text.corpus import open_corpus
from charlm.text.tokenization import tokenize
from charlm.text.vocabulary import Vocabulary

IDS = np.array([1, 2, 0, 2, 1])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


# Protocols


def test_windows_are_scored_by_their_protocol(bundle: Bundle) -> None:
    scores = np.concatenate(list(score_ids(bundle.parameters, IDS, protocol="windows", window=2)))
    np.testing.assert_array_equal(scores, np.concatenate(list(score_windows(bundle.parameters, IDS, window=2))))


def test_loss_that_is_not_finite_is_refused(bundle: Bundle) -> None:
    bias = np.array([np.nan, 0, 0, 0, 0], np.float32)
    broken = replace(bundle.parameters, logits_bias=bias)
    with pytest.raises(CharlmError, match="the loss is nan: the weights are too large"):
        list(score_ids(broken, np.array([1, 2, 0]), protocol="stream", window=2))


# The text


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_text_of_the_run_is_scored_if_there_is_no_other(split: Split | None, trained_run: Path) -> None:
    bundle, found = read_bundle(trained_run / "best"), split or "validation"
    name, ids, _ = ids_to_score(trained_run / "best", bundle, None, split=split, unknown="error")
    assert name == f"{found} text of the run"
    np.testing.assert_array_equal(ids, open_corpus(trained_run / "corpus").split(found))


def test_bundle_without_its_run_needs_a_text(trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    with pytest.raises(CharlmError, match="copy: a bundle without its run: name the text to score after it"):
        ids_to_score(copy, read_bundle(copy), None, split=None, unknown="error")


def test_text_is_scored_whole_by_default(trained_run: Path) -> None:
    text = trained_run.parent / "text.txt"
    bundle = read_bundle(trained_run / "best")
    name, ids, _ = ids_to_score(trained_run / "best", bundle, text, split=None, unknown="error")
    assert (name, len(ids)) == (str(text), 20_000)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_text_is_divided_like_a_corpus_of_it(split: Split, trained_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(trained_run / "best", tmp_path / "copy")
    text = trained_run.parent / "text.txt"
    name, ids, _ = ids_to_score(copy, read_bundle(copy), text, split=split, unknown="error")
    assert name == f"{split} part of {text}"
    np.testing.assert_array_equal(ids, open_corpus(trained_run / "corpus").split(split))


def test_text_is_read_from_standard_input(bundle: Bundle, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"abba\n")))
    name, ids, _ = ids_to_score(bundle_folder, bundle, Path("-"), split=None, unknown="error")
    assert (name, ids.tolist()) == ("-", [1, 2, 2, 1, 0])


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Write a folder of three texts, the second of which is empty."""
    (tmp_path / "texts").mkdir()
    for name, text in {"1.txt": "ab", "2.txt": "", "3.txt": "b\nabba\n"}.items():
        write(tmp_path / "texts" / name, text)
    return tmp_path / "texts"


def test_between_the_files_of_a_folder_is_the_end_of_a_text(bundle: Bundle, bundle_folder: Path, texts: Path) -> None:
    _, ids, _ = ids_to_score(bundle_folder, bundle, texts, split=None, unknown="error")
    assert ids.tolist() == [1, 2, 4, 4, 2, 0, 1, 2, 2, 1, 0]
    without = Vocabulary("char", ("\n", "a", "b"))
    _, ids, _ = ids_to_score(bundle_folder, replace(bundle, vocabulary=without), texts, split=None, unknown="error")
    assert ids.tolist() == [1, 2, 2, 0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("split", [None, "train", "validation"])
def test_a_corpus_is_scored_as_its_texts_are(
    split: Split | None, bundle: Bundle, bundle_folder: Path, texts: Path, tmp_path: Path
) -> None:
    write(texts / "2.txt", "aaa")
    corpus = tokenize([str(texts)], tmp_path / "corpus", CorpusConfig())
    other = replace(bundle, vocabulary=Vocabulary("char", ("b", None, "a", "\n"), end_of_text_id=1))
    (_, expected, _), (name, found, _) = (
        ids_to_score(bundle_folder, other, path, split=split, unknown="error") for path in (texts, corpus.folder)
    )
    np.testing.assert_array_equal(found, expected)
    assert name.endswith(str(corpus.folder))


def test_a_character_of_a_corpus_that_the_model_does_not_know_is_named(
    bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    corpus = tokenize([str(write(tmp_path / "text.txt", "abXb"))], tmp_path / "corpus", CorpusConfig())
    other = replace(bundle, vocabulary=Vocabulary("char", ("a", "b")))
    with pytest.raises(CharlmError, match=r"character 3 of .*/corpus, 'X'"):
        ids_to_score(bundle_folder, other, corpus.folder, split=None, unknown="error")
    _, ids, skipped = ids_to_score(bundle_folder, other, corpus.folder, split=None, unknown="skip")
    assert (ids.tolist(), skipped) == ([0, 1, 1], 1)


def test_a_model_of_bytes_reads_a_text_and_a_corpus_of_bytes(
    bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    config = CorpusConfig(level="byte")
    corpus = tokenize([str(write(tmp_path / "text.txt", "é\n"))], tmp_path / "corpus", config)
    with pytest.raises(CharlmError, match=r"/corpus: level byte; must be char, that of the model"):
        ids_to_score(bundle_folder, bundle, corpus.folder, split=None, unknown="error")
    of_bytes = replace(
        bundle,
        vocabulary=Vocabulary("byte", tuple(map(chr, range(256)))),
        config=bundle.config.replace("level: char", "level: byte"),
    )
    for path in (corpus.folder, tmp_path / "text.txt"):
        assert bytes(ids_to_score(bundle_folder, of_bytes, path, split=None, unknown="error")[1]) == "é\n".encode()


def test_advice_about_a_text_does_not_name_settings_that_the_model_has_fixed(
    bundle: Bundle, bundle_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "latin.txt").write_bytes(b"abb\xe9")
    with pytest.raises(CharlmError, match=r"the model reads utf-8: convert the text, which may be cp1252 or latin-1$"):
        ids_to_score(bundle_folder, bundle, tmp_path / "latin.txt", split=None, unknown="error")


def test_unknown_character_is_refused_or_left_out(bundle: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    letters = replace(bundle, vocabulary=Vocabulary("char", tuple("abcde")))
    text = write(tmp_path / "text.txt", "ab€c")
    with pytest.raises(CharlmError, match=r"character 3 of .*text\.txt, '€' \(U\+20AC\)"):
        ids_to_score(bundle_folder, letters, text, split=None, unknown="error")
    _, ids, skipped = ids_to_score(bundle_folder, letters, text, split=None, unknown="skip")
    assert ids.tolist() == [0, 1, 2]
    assert skipped == 1
