"""The corpus of a text that a network is to memorize."""

import hashlib
from pathlib import Path

import pytest
from corpora import make_corpus
from limits import file_size_limit
from run_folders import contents

from charlm.errors import CharlmError
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import memorize
from charlm.text.vocabulary import Vocabulary

TEXT = "abba\nbaab\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of ten characters; the last one is for validation."""
    return make_corpus(tmp_path, TEXT)


@pytest.fixture
def memorized(corpus: Corpus) -> Corpus:
    """Prepare the corpus for memorizing, in its folder."""
    return memorize(corpus, corpus.folder)


def test_the_text_has_an_end_on_both_sides(memorized: Corpus) -> None:
    assert memorized.vocabulary == Vocabulary(("\n", "a", "b", None), end_of_text_id=3)
    assert memorized.ids.tolist() == [3, 1, 2, 2, 1, 0, 2, 1, 1, 2, 0, 3]


def test_the_whole_text_is_training_text(memorized: Corpus) -> None:
    assert memorized.splits == {"train": (0, 12), "validation": (12, 12), "test": (12, 12)}


def test_the_text_keeps_its_source(memorized: Corpus) -> None:
    [source] = memorized.manifest.sources
    assert source.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert memorized.manifest.text_name == "00"


def test_the_corpus_passes_verification(memorized: Corpus) -> None:
    opened = open_corpus(memorized.folder, verify=True)
    assert opened.manifest == memorized.manifest
    assert opened.manifest.ids_sha256 == hashlib.sha256(bytes(memorized.ids)).hexdigest()


def test_the_recorded_settings_have_no_split(memorized: Corpus) -> None:
    assert memorized.manifest.validation_fraction == 0
    assert memorized.manifest.test_fraction == 0


def test_documents_stay_separate(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", "ba")
    end = corpus.vocabulary.end_of_text_id
    memorized = memorize(corpus, tmp_path / "memorized")
    assert memorized.vocabulary == corpus.vocabulary
    assert memorized.ids.tolist() == [end, 0, 1, end, 1, 0, end]


def test_a_corpus_behind_a_link_does_not_change(corpus: Corpus, tmp_path: Path) -> None:
    before = contents(corpus.folder)
    link = tmp_path / "link"
    link.symlink_to(corpus.folder, target_is_directory=True)
    memorized = memorize(open_corpus(link), link)
    assert not link.is_symlink()
    assert len(memorized.ids) == len(corpus.ids) + 2
    assert contents(corpus.folder) == before


def test_a_folder_that_cannot_be_written_is_named(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CharlmError, match=r"file/memorized: cannot be written: Not a directory$"):
        memorize(corpus, tmp_path / "file" / "memorized")


def test_a_full_disk_does_not_change_the_corpus(corpus: Corpus, tmp_path: Path) -> None:
    before = contents(tmp_path)
    with (
        file_size_limit(100),
        pytest.raises(CharlmError, match=r"out: cannot be written: File too large$"),
    ):
        memorize(corpus, corpus.folder)
    assert contents(tmp_path) == before
