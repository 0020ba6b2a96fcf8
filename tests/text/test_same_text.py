"""The check that sources still have the text of a corpus."""

import gzip
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import write_texts

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Corpus
from charlm.text.tokenization import check_same_text, tokenize

RUN = Path("runs/x")
Change = Callable[[], object]


def make(*sources: str, folder: Path = RUN / "corpus") -> Corpus:
    """Tokenize sources as the corpus of the run."""
    return tokenize(sources, folder, CorpusConfig())


def check(corpus: Corpus, *sources: str) -> None:
    """Check that some sources have the text of a corpus."""
    check_same_text(sources, corpus.manifest, owner=RUN)


def check_differs(corpus: Corpus, *sources: str) -> None:
    """Check that some sources are refused because they have another text."""
    message = rf"^runs/x: began with a different text than {', '.join(sources)}; use the original"
    with pytest.raises(CharlmError, match=message):
        check(corpus, *sources)


def write(name: str, contents: bytes) -> Change:
    """Return a function that writes a file of the text."""
    return lambda: Path("sources", name).write_bytes(contents)


def move(name: str, new_name: str) -> Change:
    """Return a function that renames a file of the text."""
    return lambda: Path("sources", name).rename(Path("sources", new_name))


@pytest.fixture
def corpus() -> Corpus:
    """Make a corpus from five files, of which 02.txt is empty and 03.txt is not valid UTF-8."""
    write_texts(Path(), "abba\n", "baab\n", "", b"a\xe9", "aabb\n")
    return make("sources")


@pytest.mark.parametrize(
    "sources",
    [
        pytest.param(["sources"], id="folder"),
        pytest.param(["sources/00.txt", "sources/01.txt", "sources/04.txt"], id="files"),
        pytest.param(["sources/00.txt", "sources"], id="file that is also in the folder"),
    ],
)
def test_the_sources_of_a_corpus_have_its_text(sources: list[str], corpus: Corpus) -> None:
    check(corpus, *sources)


def compress() -> None:
    """Compress one of the texts."""
    path = Path("sources/01.txt")
    Path("sources/01.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(move("04.txt", "05.txt"), id="renamed file"),
        pytest.param(compress, id="compressed file"),
        pytest.param(write("03.txt", b"\xe9"), id="other bytes that are no text"),
    ],
)
def test_only_texts_matter(change: Change, corpus: Corpus) -> None:
    change()
    check(corpus, "sources")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(write("01.txt", b"baba\n"), id="other text of the same length"),
        pytest.param(write("01.txt", b""), id="file that is empty now"),
        pytest.param(lambda: Path("sources/01.txt").unlink(), id="missing file"),
        pytest.param(write("02.txt", b"b"), id="file that was empty"),
        pytest.param(write("05.txt", b"b"), id="new file"),
        pytest.param(move("00.txt", "05.txt"), id="other order"),
    ],
)
def test_a_text_that_has_changed_is_refused(change: Change, corpus: Corpus) -> None:
    change()
    check_differs(corpus, "sources")


def test_a_text_may_have_the_name_of_a_file_that_is_left_out() -> None:
    for package, text in (("a", ""), ("b", "import a")):
        Path("sources", package).mkdir(parents=True)
        Path("sources", package, "__init__.py").write_text(text)
    check(make("sources"), "sources")


@pytest.mark.parametrize(("text", "is_same"), [(b"abba\n", True), (b"abab\n", False)])
def test_standard_input_is_compared(
    text: bytes, is_same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("text.txt").write_bytes(b"abba\n")
    corpus = make("text.txt")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    (check if is_same else check_differs)(corpus, "-")


def test_a_source_that_is_missing_is_refused(corpus: Corpus) -> None:
    with pytest.raises(CharlmError, match=r"^none: no such file or folder$"):
        check(corpus, "none")


def test_a_corpus_of_the_same_text_has_its_text(corpus: Corpus) -> None:
    make("sources", folder=Path("other"))
    check(corpus, "other")


def test_a_corpus_of_another_text_is_refused(corpus: Corpus) -> None:
    make("sources/00.txt", folder=Path("other"))
    check_differs(corpus, "other")


def test_a_corpus_among_several_sources_is_refused(corpus: Corpus) -> None:
    make("sources", folder=Path("other"))
    check_differs(corpus, "other", "sources/00.txt")
