"""A small corpus for the tests of runs."""

from pathlib import Path

import pytest

from charlm.config.schema import CorpusConfig
from charlm.text.corpus import Corpus
from charlm.text.tokenization import tokenize


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Make a corpus of 20 characters from the file text.txt."""
    (tmp_path / "text.txt").write_text("abcd\n" * 4, encoding="utf-8")
    return tokenize([str(tmp_path / "text.txt")], tmp_path / "corpus", CorpusConfig())
