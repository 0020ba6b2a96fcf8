"""The check that sources still have the text of a corpus."""

import gzip
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from corpora import write_texts
from run_folders import contents

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Corpus
from charlm.text.identity import check_same_text
from charlm.text.tokenization import memorize, tokenize

RUN = Path("runs/x")
Change = Callable[[], object]


def make(*sources: str, **settings: Any) -> Corpus:
    """Tokenize sources as the corpus of the run."""
    return tokenize(sources, RUN / "corpus", CorpusConfig(**settings))


def check(corpus: Corpus, *sources: str) -> None:
    """Check that some sources have the text of a corpus."""
    check_same_text(sources, corpus, owner=RUN)


def difference(corpus: Corpus, *sources: str) -> str:
    """Return the difference that the error reports between sources and the text of a corpus."""
    with pytest.raises(CharlmError) as caught:
        check(corpus, *sources)
    message = str(caught.value)
    start = "runs/x: the text differs: "
    end = "; use the original text, or choose a new folder"
    assert message.startswith(start)
    assert message.endswith(end)
    return message.removeprefix(start).removesuffix(end)


@pytest.fixture
def texts() -> Path:
    """Write five files to a folder; 02.txt is empty, and 03.txt is not valid UTF-8."""
    write_texts(Path(), "abba\n", "baab\n", "", b"a\xe9", "aabb\n")
    return Path("sources")


# The same documents


@pytest.mark.parametrize(
    "sources",
    [
        pytest.param(["sources"], id="folder"),
        pytest.param(["sources/00.txt", "sources/01.txt", "sources/04.txt"], id="files"),
        pytest.param(["sources/00.txt", "sources"], id="file that is also in the folder"),
    ],
)
def test_the_sources_of_a_corpus_have_its_text(sources: list[str], texts: Path) -> None:
    check(make(str(texts)), *sources)


@dataclass
class Write:
    """A change to the contents of a file."""

    file: str
    contents: bytes

    def __call__(self) -> None:
        """Write the file."""
        Path("sources", self.file).write_bytes(self.contents)


def rename() -> None:
    """Give the folder of the texts another name."""
    Path("sources").rename("renamed")
    Path("sources").symlink_to("renamed")


def compress() -> None:
    """Compress one of the texts."""
    path = Path("sources/01.txt")
    Path("sources/01.txt.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def damage() -> None:
    """Add a damaged gzip file."""
    Path("sources/02.gz").write_bytes(b"no gzip at all")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(rename, id="renamed folder"),
        pytest.param(lambda: Path("sources/04.txt").rename("sources/05.txt"), id="renamed file"),
        pytest.param(compress, id="compressed file"),
        pytest.param(lambda: Path("sources/02.txt").unlink(), id="empty file removed"),
        pytest.param(Write("03.txt", b"\xe9"), id="other bytes that are no text"),
        pytest.param(lambda: Path("sources/001.txt").touch(), id="new empty file"),
        pytest.param(damage, id="new file that is no text"),
    ],
)
def test_only_texts_matter(change: Change, texts: Path) -> None:
    corpus = make(str(texts))
    change()
    check(corpus, "sources")


def test_a_text_is_the_same_by_another_path(texts: Path) -> None:
    check(make(str(texts)), str(texts.absolute()))


def test_a_text_from_standard_input_has_its_text(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make(str(texts / "00.txt"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abba\n")))
    check(corpus, "-")


def test_a_text_in_another_encoding_is_decoded_as_it_was(texts: Path) -> None:
    corpus = make(str(texts), encoding="latin-1")
    assert [source.name for source in corpus.manifest.sources][2] == "sources/03.txt"
    (texts / "03.txt").write_bytes(b"a\xe8")
    assert difference(corpus, "sources") == "sources/03.txt has changed since the run began"


def test_a_memorized_text_has_the_text_of_its_file(texts: Path) -> None:
    corpus = make(str(texts / "00.txt"))
    check(memorize(corpus, corpus.folder), "sources/00.txt")


def test_nothing_is_written(texts: Path) -> None:
    corpus = make(str(texts))
    before = contents(Path())
    check(corpus, "sources")
    assert contents(Path()) == before


# Other documents


def swap() -> None:
    """Exchange two texts."""
    Path("sources/00.txt").rename("first")
    Path("sources/01.txt").rename("sources/00.txt")
    Path("first").rename("sources/01.txt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            Write("01.txt", b"baba\n"),
            "sources/01.txt has changed since the run began",
            id="other text of the same length",
        ),
        pytest.param(
            Write("01.txt", b""),
            "sources/01.txt has changed since the run began",
            id="file that is empty now",
        ),
        pytest.param(
            Write("01.txt", b"\xe9"),
            "sources/01.txt has changed since the run began",
            id="file that is no text now",
        ),
        pytest.param(
            lambda: Path("sources/01.txt").unlink(), "sources/01.txt is missing", id="missing file"
        ),
        pytest.param(Write("05.txt", b"b"), "sources/05.txt is new", id="new file"),
        pytest.param(Write("02.txt", b"b"), "sources/02.txt is new", id="file that was empty"),
        pytest.param(Write("03.txt", b"b"), "sources/03.txt is new", id="file that was no text"),
        pytest.param(Write("05.txt", b"aabb\n"), "sources/05.txt is new", id="copy of a file"),
        pytest.param(
            swap, "the order of the files has changed since the run began", id="other order"
        ),
    ],
)
def test_the_file_that_differs_is_named(change: Change, message: str, texts: Path) -> None:
    corpus = make(str(texts))
    change()
    assert difference(corpus, "sources") == message


def test_a_memorized_text_that_has_changed_is_refused(texts: Path) -> None:
    corpus = make(str(texts / "00.txt"))
    corpus = memorize(corpus, corpus.folder)
    (texts / "00.txt").write_text("abab\n")
    assert difference(corpus, "sources/00.txt") == "sources/00.txt has changed since the run began"


def test_another_text_from_standard_input_is_named(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make(str(texts / "00.txt"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"abab\n")))
    assert difference(corpus, "-") == (
        "found standard input; the run was started with sources/00.txt"
    )


def test_another_file_is_named_with_the_one_of_the_run(texts: Path) -> None:
    corpus = make(str(texts / "00.txt"))
    Path("other.txt").write_text("abab\n")
    assert difference(corpus, "other.txt") == (
        "found other.txt; the run was started with sources/00.txt"
    )


def test_a_source_that_is_missing_is_refused(texts: Path) -> None:
    corpus = make(str(texts))
    with pytest.raises(CharlmError, match=r"^none: no such file or folder$"):
        check(corpus, "none")


# A corpus as the source


@pytest.fixture
def corpus() -> Corpus:
    """Make the corpus of the run from one text."""
    Path("text.txt").write_text("ababab\n")
    return make("text.txt")


def make_other(text: str = "ababab\n", **settings: Any) -> Corpus:
    """Tokenize a text as the corpus `other`."""
    Path("other.txt").write_text(text)
    return tokenize(["other.txt"], Path("other"), CorpusConfig(**settings))


def test_a_corpus_of_the_same_text_has_its_text(corpus: Corpus) -> None:
    make_other()
    check(corpus, "other")


def test_a_corpus_that_the_run_links_to_has_its_text(corpus: Corpus) -> None:
    (RUN / "link").symlink_to("corpus")
    check(corpus, str(RUN / "link"))


def test_a_corpus_has_the_text_of_a_run_that_has_memorized_it(corpus: Corpus) -> None:
    make_other()
    check(memorize(corpus, corpus.folder), "other")


def test_two_memorized_corpora_have_the_same_text(corpus: Corpus) -> None:
    other = make_other()
    memorize(other, other.folder)
    check(memorize(corpus, corpus.folder), "other")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        pytest.param(
            "cdcdcd\n",
            {},
            "the vocabulary of other has changed since the run began",
            id="same ids, other characters",
        ),
        pytest.param(
            "bababa\n",
            {},
            "the text of other has changed since the run began",
            id="same characters, other ids",
        ),
        pytest.param(
            "ababab\n",
            {"validation_fraction": 0.5},
            "the split of other has changed since the run began",
            id="same ids, other splits",
        ),
    ],
)
def test_another_corpus_is_refused(
    text: str, settings: dict[str, Any], message: str, corpus: Corpus
) -> None:
    make_other(text, **settings)
    assert difference(corpus, "other") == message


def test_another_corpus_than_the_memorized_one_is_refused(corpus: Corpus) -> None:
    make_other("bababa\n")
    memorized = memorize(corpus, corpus.folder)
    message = "the text of other has changed since the run began"
    assert difference(memorized, "other") == message


def test_a_corpus_among_several_sources_is_refused(corpus: Corpus) -> None:
    make_other()
    assert difference(corpus, "text.txt", "other") == "other/corpus.json is new"
