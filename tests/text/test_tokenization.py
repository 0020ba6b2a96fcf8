"""Documents become a corpus on disk, and the ids that a model has for a text."""

import errno
import gzip
import hashlib
import io
import json
import os
import stat
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus, text_of, write_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import file_size_limit
from run_folders import names

from charlm.config.schema import CorpusConfig
from charlm.core.vocabulary import Vocabulary
from charlm.errors import CharlmError
from charlm.events import Event, Progress
from charlm.text import documents
from charlm.text.corpus import Corpus, Rare, Split
from charlm.text.findings import find_omissions
from charlm.text.tokenization import (
    encode_text,
    read_lines,
    resolve_min_count,
    tokenize,
)

# Documents


def normalized(text: str) -> str:
    return unicodedata.normalize("NFC", text.removeprefix("\ufeff"))


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r")).map(normalized)


def documents_of(*texts: str) -> list[str]:
    """Return the documents of the corpus of some texts."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = make_corpus(Path(folder), *texts)
        end = corpus.vocabulary.end_of_text_id
        if end is None:
            return [text_of(corpus)]
        parts = np.split(corpus.ids, np.flatnonzero(corpus.ids == end))
        return [corpus.vocabulary.decode(part) for part in parts]


@settings(max_examples=20)
@given(st.lists(TEXTS).filter(any))
def test_an_end_of_text_id_separates_documents(texts: list[str]) -> None:
    assert documents_of(*texts) == [text for text in texts if text]


def test_a_text_of_several_blocks_does_not_change(tmp_path: Path) -> None:
    text = "one\n\x01" + "x" * 3_000_001 + "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    corpus = make_corpus(tmp_path, text, min_count=1)
    assert corpus.ids.dtype == np.uint16
    assert text_of(corpus) == text


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "a\nb\nc\n"), ("cp1252", "a\nb\nc\n"), ("latin-1", "a\r\nb\rc\n")],
)
def test_line_ends_are_read_as_python_reads_them(
    encoding: str, expected: str, tmp_path: Path
) -> None:
    """The bytes of latin-1 stay as they are."""
    corpus = make_corpus(tmp_path, "a\r\nb\rc\n", encoding=encoding)
    assert text_of(corpus) == expected
    ids, left_out = encode_text(tmp_path / "sources", corpus.vocabulary, corpus.manifest)
    assert ids.tolist() == corpus.ids.tolist()
    assert not left_out


# Rare characters


def test_rare_characters_become_the_unknown_id(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "aabbc中", min_count=2)
    assert corpus.vocabulary == Vocabulary(("a", "b", None), unknown_id=2)
    assert corpus.ids.tolist() == [0, 0, 1, 1, 2, 2]
    assert corpus.manifest.rare == Rare(distinct=2, occurrences=2)


def test_characters_that_a_model_knows_are_not_rare(tmp_path: Path) -> None:
    sources = str(write_texts(tmp_path, "aabecc", "dd"))
    known = Vocabulary(("z", "b"))
    corpus = tokenize([sources], tmp_path / "out", CorpusConfig(min_count=2), known=known)
    characters = ("z", "b", "a", "c", "d", None, None)
    assert corpus.vocabulary == Vocabulary(characters, unknown_id=5, end_of_text_id=6)
    assert corpus.ids.tolist() == [2, 2, 1, 5, 3, 3, 6, 4, 4]
    assert corpus.manifest.rare == Rare(distinct=1, occurrences=1)


@pytest.mark.parametrize("texts", [["aabbc中"], ["aabcc", "dd"]], ids=str)
def test_a_min_count_above_every_count_is_refused(texts: list[str], tmp_path: Path) -> None:
    message = r"^corpus\.min_count: found 9; no character occurs that often"
    with pytest.raises(CharlmError, match=message):
        make_corpus(tmp_path, *texts, min_count=9)


def counts_of(*groups: tuple[int, int]) -> Any:
    """Return the counts of groups of characters, each (number of characters, their count)."""
    sizes, counts = zip(*groups, strict=True)
    return np.append(0, np.repeat(counts, sizes)).astype(np.int64)


@pytest.mark.parametrize(
    ("counts", "min_count"),
    [
        pytest.param(counts_of((256, 10_000)), 1, id="only 256 characters"),
        pytest.param(
            counts_of((50, 100_000), (250, 1), (50, 4), (50, 5)), 5, id="5 million characters"
        ),
        pytest.param(
            counts_of((50, 100_000), (8400, 3)), 3, id="0.501% of the text would be unknown"
        ),
        pytest.param(
            counts_of((50, 100_000), (8350, 3)), 5, id="0.499% of the text would be unknown"
        ),
    ],
)
def test_the_automatic_min_count_depends_on_the_text(counts: Any, min_count: int) -> None:
    assert resolve_min_count(CorpusConfig(), counts) == CorpusConfig(min_count=min_count)


def test_the_automatic_min_count_is_recorded(tmp_path: Path) -> None:
    accents = "".join(map(chr, range(0x100, 0x200)))
    corpus = make_corpus(tmp_path, "ab\n" * 700_000 + accents + "éé\x85")
    assert corpus.manifest.min_count == 2
    assert corpus.manifest.rare == Rare(distinct=257, occurrences=257)
    assert corpus.vocabulary.characters == ("\n", "a", "b", "é", None)
    assert corpus.ids[-3:].tolist() == [3, 3, 4]


# Sources


def test_a_corpus_can_have_sources_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    Path("folder/a.txt").write_text("a")
    Path("b.gz").write_bytes(gzip.compress(b"b"))
    Path("c1.txt").write_text("c")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d")))
    corpus = tokenize(["folder", "b.gz", "c1.txt", "-"], Path("out"), CorpusConfig())
    sources = [source.name for source in corpus.manifest.sources]
    assert text_of(corpus) == "abcd"
    assert sources == ["folder/a.txt", "b.gz", "c1.txt", "-"]


BAD = b"x" * 2000 + b"y\xe9"


def test_files_without_text_are_left_out(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", BAD, "", "ba")
    sources = tmp_path / "sources"
    assert corpus.vocabulary == Vocabulary(("a", "b", None), end_of_text_id=2)
    assert corpus.ids.tolist() == [0, 1, 2, 1, 0]
    assert corpus.manifest.left_out == {
        f"{sources}/01.txt": "not valid utf-8 at byte 2,001 (0xE9)",
        f"{sources}/02.txt": "empty",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        pytest.param(
            "sources/01.txt",
            r"not valid utf-8 at byte 2,001 \(0xE9\); set its encoding for training, .* an id$",
            id="invalid",
        ),
        pytest.param("sources/02.txt", "no text$", id="empty"),
        pytest.param(
            "sources",
            "not valid utf-8 at byte 2,001 .*; 3 other files without text$",
            id="folder",
        ),
    ],
)
def test_sources_without_text_are_refused(source: str, message: str) -> None:
    write_texts(Path(), "", BAD, "", "")
    file = "sources/01.txt" if source == "sources" else source
    with pytest.raises(CharlmError, match=f"{file}: {message}"):
        tokenize([source], Path("out"), CorpusConfig())
    assert names(Path()) == ["sources"]


def test_a_corpus_is_refused_as_a_source(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abc")
    sources = [str(corpus.folder), str(tmp_path / "sources")]
    with pytest.raises(CharlmError, match="out: is a corpus, not text"):
        tokenize(sources, tmp_path / "again", CorpusConfig())


# The folder


@pytest.fixture
def two_documents(tmp_path: Path) -> Corpus:
    """Make a corpus of two documents."""
    return make_corpus(tmp_path, "abc", b"de", min_count=1)


def test_a_corpus_describes_itself(two_documents: Corpus) -> None:
    fields = json.loads((two_documents.folder / "corpus.json").read_text())
    ids = np.load(two_documents.folder / "ids.npy")
    assert (ids.dtype, ids.tolist()) == (np.uint8, [0, 1, 2, 5, 3, 4])
    assert fields["ids_sha256"] == hashlib.sha256(ids.tobytes()).hexdigest()
    assert (fields["format"], fields["size"]) == (3, 6)
    assert fields["splits"] == {"train": [0, 5], "validation": [5, 6], "test": [6, 6]}
    assert fields["vocabulary"]["characters"] == [*"abcde", None]


def test_a_corpus_describes_its_sources(two_documents: Corpus, tmp_path: Path) -> None:
    fields = json.loads((two_documents.folder / "corpus.json").read_text())
    assert fields["sources"][1] == {
        "name": str(tmp_path / "sources/01.txt"),
        "bytes": 2,
        "characters": 2,
        "sha256": hashlib.sha256(b"de").hexdigest(),
        "invalid": 0,
    }


# A text that can only be memorised

WHOLE = CorpusConfig(validation_fraction=0)


def test_a_text_without_a_validation_part_has_an_end_on_both_sides(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba", validation_fraction=0.0)
    assert corpus.vocabulary == Vocabulary(("a", "b", None), end_of_text_id=2)
    assert corpus.ids.tolist() == [2, 0, 1, 1, 0, 2]
    assert corpus.manifest.splits == {"train": (0, 6), "validation": (6, 6), "test": (6, 6)}
    several = make_corpus(tmp_path / "several", "ab", "ba", validation_fraction=0.0)
    assert several.ids.tolist() == [2, 0, 1, 2, 1, 0, 2]


@pytest.mark.parametrize(
    ("texts", "fraction"),
    [
        pytest.param(["a" * 1999], 0.0, id="short"),
        pytest.param(["a" * 2000], 0.1, id="long"),
        pytest.param(["a" * 999, "b" * 999], 0.1, id="two texts"),
    ],
)
def test_a_single_short_text_may_have_settings_of_its_own(
    texts: list[str],
    fraction: float,
) -> None:
    write_texts(Path(), *texts)
    corpus = tokenize(["sources"], Path("out"), CorpusConfig(), short=WHOLE)
    assert corpus.manifest.validation_fraction == fraction


def fail_for_folders(descriptor: int) -> None:
    """Fail to write a folder to disk."""
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.fixture(params=[False, True], ids=["new", "empty folder"])
def out_exists(request: pytest.FixtureRequest) -> bool:
    """Make the empty folder of a corpus, or leave it to charlm."""
    if request.param:
        Path("out").mkdir()
    return bool(request.param)


@pytest.mark.parametrize(
    ("change", "limit", "message"),
    [
        pytest.param(None, 1000, "out: cannot be written: File too large", id="full disk"),
        pytest.param(
            (os, "fsync", fail_for_folders),
            10_000,
            "out: cannot be written: Input/output error",
            id="broken disk",
        ),
    ],
)
def test_an_error_leaves_nothing_behind(
    change: Any,
    limit: int,
    message: str,
    out_exists: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_texts(Path(), "a" * 900, "a" * 900)
    if change:
        monkeypatch.setattr(*change)
    with file_size_limit(limit), pytest.raises(CharlmError, match=message):
        tokenize(["sources"], Path("out"), CorpusConfig())
    if out_exists:
        assert names(Path("out")) == []
        Path("out").rmdir()
    assert names(Path()) == ["sources"]


@pytest.mark.parametrize("text", ["abc", "ab"], ids=["longer", "as long"])
def test_a_text_that_changes_between_the_passes_is_refused(text: str) -> None:
    write_texts(Path(), "ba")

    def change(event: Event) -> None:
        if event == Progress("encoding characters", 0, 1, "file"):
            Path("sources/00.txt").write_text(text)

    with pytest.raises(CharlmError, match=r"00\.txt: changed while charlm was reading it"):
        tokenize(["sources"], Path("out"), CorpusConfig(), on_event=change)
    assert names(Path()) == ["sources"]


def test_each_pass_over_the_files_reports_its_progress() -> None:
    write_texts(Path(), "ab", "", "ba")
    events: list[Event] = []
    tokenize(["sources"], Path("out"), CorpusConfig(), on_event=events.append)
    assert events == [
        *(Progress("counting characters", done, 3, "file") for done in range(4)),
        *(Progress("encoding characters", done, 2, "file") for done in range(3)),
    ]


# The ids that a model has for a text

LETTERS = Vocabulary(("\n", "a", "b", None), end_of_text_id=3)


@pytest.fixture
def four_texts() -> Corpus:
    """Make a corpus of four files, two of them empty."""
    write_texts(Path(), "", "ab", "", "b\nabba\n")
    return tokenize(["sources"], Path("corpus"), CorpusConfig(test_fraction=0.2))


@pytest.mark.parametrize(
    ("split", "part"),
    [
        (None, slice(None)),
        ("train", slice(7)),
        ("validation", slice(7, 8)),
        ("test", slice(8, None)),
    ],
    ids=["whole text", "train", "validation", "test"],
)
@pytest.mark.parametrize("path", ["sources", "corpus"])
@pytest.mark.usefixtures("four_texts")
def test_a_corpus_has_the_same_ids_as_its_texts(
    path: str,
    split: Split | None,
    part: slice,
) -> None:
    vocabulary = Vocabulary(("b", None, "a", "\n"), end_of_text_id=1)
    config = CorpusConfig(test_fraction=0.2)
    encoded, _ = encode_text(Path(path), vocabulary, config, split=split)
    assert encoded.tolist() == [2, 0, 1, 0, 3, 2, 0, 0, 2, 3][part]


@pytest.mark.usefixtures("four_texts")
def test_without_an_end_of_text_id_documents_follow_each_other() -> None:
    encoded, _ = encode_text(Path("sources"), Vocabulary(("\n", "a", "b")), CorpusConfig())
    assert encoded.tolist() == [1, 2, 2, 0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("name", ["out", "sources"])
def test_a_character_that_the_model_does_not_know_is_left_out(name: str) -> None:
    make_corpus(Path(), "abXb")
    ids, left_out = encode_text(Path(name), Vocabulary(("a", "b")), CorpusConfig())
    assert ids.tolist() == [0, 1, 1]
    assert left_out == {"X": 1}


WESTERN = Vocabulary(tuple("abé"))


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        pytest.param("abé".encode("cp1252"), [0, 1, 2], id="the model's encoding"),
        pytest.param("abé".encode(), [0, 1, 2], id="UTF-8"),
        pytest.param(b"ab", [0, 1], id="ASCII"),
    ],
)
def test_a_text_is_read_as_utf_8_if_it_is_utf_8(data: bytes, ids: list[int]) -> None:
    Path("text.txt").write_bytes(data)
    found, left_out = encode_text(Path("text.txt"), WESTERN, CorpusConfig(encoding="cp1252"))
    assert found.tolist() == ids
    assert left_out == {}


def test_replaced_bytes_are_counted_and_reported() -> None:
    Path("texts").mkdir()
    for name, data in {"a": b"good\n", "b": 30 * b"x" + b"\xff\n\0", "c": b"\xff"}.items():
        Path("texts", name).write_bytes(data)
    corpus = tokenize(["texts"], Path("out"), CorpusConfig(errors="replace"))
    assert [source.invalid for source in corpus.manifest.sources] == [0, 2]
    reason, omitted = find_omissions(corpus)
    assert reason == "bytes not valid in utf-8: read as U+FFFD in texts/b (2 times)"
    assert "texts/c (more than 10% is not valid utf-8" in omitted


def lines_of(data: bytes, encoding: str = "utf-8") -> list[str]:
    """Return the lines of a file."""
    Path("lines.txt").write_bytes(data)
    blocks = read_lines(Path("lines.txt"), CorpusConfig(encoding=encoding))
    return [line for _, lines in blocks for line in lines]


@pytest.mark.parametrize("block", [50, 51, 52, 53, 1000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_lines_are_read_in_blocks(
    block: int, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", block)
    data = ("\ufeff" + 20 * "aé\r\n" + "\nb").encode(encoding)
    assert lines_of(data) == [*(20 * ["aé"]), "", "b"]


MARK = "\u0316"
"""A combining mark that NFC does not change."""


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"ab\n", ["ab"]),
        (f"a{2000 * MARK}\nb".encode(), [f"a{2000 * MARK}", "b"]),
        (b"ab\xe2", ["ab\ufffd"]),
        (b"ab\xff" + 30 * b"c" + b"\0\rb\r", [f"ab\ufffd{30 * 'c'}\0", "b"]),
    ],
)
def test_every_line_is_read(data: bytes, lines: list[str]) -> None:
    assert lines_of(data) == lines


def test_lines_are_read_as_utf_8_or_in_the_encoding_of_the_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 5)  # the first block ends inside a character
    assert lines_of("é\nb".encode("cp1252"), "cp1252") == ["é", "b"]
    assert lines_of("é\nbé".encode(), "cp1252") == ["é", "bé"]
    assert lines_of(b"%PDF\r\nb", "latin-1") == ["%PDF\r", "b"]


@pytest.mark.parametrize("source", ["lines.txt", "-"])
def test_lines_of_standard_input_are_read_like_those_of_a_file(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(data: bytes) -> list[tuple[str, list[str]]]:
        Path("lines.txt").write_bytes(data)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return [*read_lines(Path(source), CorpusConfig())]

    assert read(b"\xff\0\n") == [(source, ["\ufffd\0"])]
    with pytest.raises(CharlmError, match=f"^{source}: a PDF; extract its text first"):
        read(b"%PDF-1.4\n")


def test_a_line_of_more_than_100_000_characters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BLOCK_BYTES", 1000)
    line = 100_000 * b"x"
    assert [*map(len, lines_of(line + b"\n" + line))] == [100_000, 100_000]
    with pytest.raises(
        CharlmError, match=r"^lines\.txt: line 1,001: more than 100,000 characters; "
    ):
        lines_of(1000 * b"a\n" + line + b"x")


def test_a_text_that_the_model_cannot_decode_is_refused() -> None:
    path = Path("latin.txt")
    for data, advice in ((b"abb\xe9", r"\(0xE9\); convert it to utf-8"), (b"%PDF", "extract .*")):
        path.write_bytes(data)
        with pytest.raises(CharlmError, match=f"{advice}$"):
            encode_text(path, LETTERS, CorpusConfig())
