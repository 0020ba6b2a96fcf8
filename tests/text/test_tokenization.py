"""Sources that the user names -> documents -> text -> a corpus on disk."""

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus, text_of, write_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import file_size_limit, memory_limit
from run_folders import contents, make_run, names

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.events import Event, TextProgress
from charlm.text import documents
from charlm.text.corpus import Corpus, Rare, Split, open_corpus
from charlm.text.documents import Document, check_encoding, decode, find_documents, name_text
from charlm.text.tokenization import encode_text, memorize, resolve_min_count, tokenize
from charlm.text.vocabulary import Vocabulary
from charlm.wording import escape_controls

any_text = st.text(st.characters(exclude_categories=["Cs"]))


# Ids and vocabulary


@settings(max_examples=20)
@given(st.lists(any_text))
def test_several_documents_are_kept_with_the_end_of_text_id_between_them(texts: list[str]) -> None:
    texts = [unicodedata.normalize("NFC", text.removeprefix("\ufeff")) for text in texts]
    kept = [text for text in texts if text]
    if not kept:
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = str(write_texts(Path(folder), *texts))
        corpus = tokenize([sources], Path(folder) / "out", CorpusConfig())
        end_of_text = corpus.vocabulary.end_of_text_id
        assert (end_of_text is not None) == (len(kept) > 1)
        parts = np.split(
            corpus.ids, np.flatnonzero(corpus.ids == (-1 if end_of_text is None else end_of_text))
        )
        assert [corpus.vocabulary.decode(part) for part in parts] == kept


def test_a_text_of_several_blocks_and_ids_of_two_bytes_is_kept_as_it_is(tmp_path: Path) -> None:
    text = "one\r\n\x00" + "x" * 3_000_001 + "".join(map(chr, range(0x4E00, 0x4E00 + 300)))
    corpus = make_corpus(tmp_path, text, min_count=1)
    assert corpus.ids.dtype == np.uint16
    assert text_of(corpus) == text


KNOWN = Vocabulary(("z", None, "b"), unknown_id=1)
RARE = Rare(distinct=2, occurrences=2, commonest="c中")


def test_rare_characters_become_the_unknown_id_unless_they_are_known(tmp_path: Path) -> None:
    for texts, known, expected in (
        (["aabbc中"], None, (Vocabulary(("a", "b", None), 2), [0, 0, 1, 1, 2, 2], RARE)),
        (
            ["aabcc", "dd"],
            KNOWN,
            (Vocabulary((*KNOWN.characters, *"acd", None), 1, 6), [3, 3, 2, 4, 4, 6, 5, 5], None),
        ),
    ):
        sources = [str(write_texts(tmp_path / texts[0], *texts))]
        corpus = tokenize(
            sources, tmp_path / texts[0] / "out", CorpusConfig(min_count=2), known=known
        )
        assert (corpus.vocabulary, corpus.ids.tolist(), corpus.manifest.rare) == expected
        with pytest.raises(
            CharlmError, match=r"^corpus\.min_count: found 9; no character occurs that often"
        ):
            tokenize(sources, tmp_path / texts[0] / "other", CorpusConfig(min_count=9))


def test_the_automatic_min_count_leaves_out_what_is_rare_in_a_large_text_of_many_characters() -> (
    None
):
    """Each pair is a number of characters, and how often each of them occurs."""
    for occurrences, expected in (
        ([(256, 10_000), (0, 1)], 1),  # no more than 256 characters
        (
            [(50, 100_000), (250, 1), (50, 4), (50, 5)],
            5,
        ),  # 5,000,700 characters: 5 for each million
        ([(50, 20_000), (250, 1)], 1),  # 1,000,250 characters
        ([(3000, 300)], 1),  # 900,000 characters: none is rare
        (
            [(50, 100_000), (8400, 3)],
            3,
        ),  # without those that occur 3 times, 0.501% of the text would be unknown
        ([(50, 100_000), (8350, 3)], 5),  # 0.499%
    ):
        counts = np.array(
            [0, *(count for characters, count in occurrences for _ in range(characters))], np.int64
        )
        assert resolve_min_count(CorpusConfig(), counts) == CorpusConfig(min_count=expected)
        assert resolve_min_count(CorpusConfig(min_count=7), counts).min_count == 7


def test_the_resolved_min_count_and_the_rare_characters_are_recorded(tmp_path: Path) -> None:
    accents = "".join(map(chr, range(0x100, 0x200)))
    corpus = make_corpus(tmp_path, "ab\n" * 700_000 + accents + "éé\x85")
    assert corpus.manifest.min_count == 2
    assert corpus.manifest.rare == Rare(
        distinct=257, occurrences=257, commonest="\x85" + accents[:9]
    )
    assert corpus.vocabulary.characters == ("\n", "a", "b", "é", None)
    assert corpus.ids[-3:].tolist() == [3, 3, 4]


# Sources


def test_sources_of_every_kind_make_one_corpus_in_an_empty_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("folder").mkdir()
    Path("folder/a.txt").write_text("a")
    Path("b.gz").write_bytes(gzip.compress(b"b"))
    Path("c1.txt").write_text("c")
    Path("out").mkdir()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d")))
    corpus = tokenize(["folder", "b.gz", "c1.txt", "-"], Path("out"), CorpusConfig())
    assert text_of(corpus) == "abcd"
    assert [source.name for source in corpus.manifest.sources] == [
        "folder/a.txt",
        "b.gz",
        "c1.txt",
        "-",
    ]
    assert names(Path("out")) == ["corpus.json", "ids.npy"]


def test_files_without_text_are_left_out_with_their_characters_and_only_these_are_an_error(
    tmp_path: Path,
) -> None:
    sources = write_texts(tmp_path, "ab", b"x" * 2000 + b"y\xe9", "", "ba")
    corpus = tokenize([str(sources)], tmp_path / "out", CorpusConfig())
    assert corpus.vocabulary == Vocabulary(("a", "b", None), end_of_text_id=2)
    assert corpus.ids.tolist() == [0, 1, 2, 1, 0]
    left_out = {"01.txt": "not valid utf-8 at byte 2,001 (0xE9)", "02.txt": "empty"}
    assert corpus.manifest.left_out == {
        f"{sources}/{name}": reason for name, reason in left_out.items()
    }
    for name in ("00.txt", "03.txt"):
        (sources / name).write_bytes(b"")
    other, bad = tmp_path / "other", sources / "01.txt"
    for source, message in (
        (
            bad,
            r"01\.txt: not valid utf-8 at byte 2,001 \(0xE9\); set its encoding, for instance .* an id$",
        ),
        (sources, r"01\.txt: not valid utf-8 at byte 2,001 .*; 3 other files without text$"),
        (sources / "02.txt", r"02\.txt: no text$"),
    ):
        with pytest.raises(CharlmError, match=message):
            tokenize([str(source)], other, CorpusConfig())
        assert not other.exists()


# The folder


def test_the_corpus_describes_itself_and_its_sources(tmp_path: Path) -> None:
    make_corpus(tmp_path, "abc", b"de", min_count=1)
    fields, ids = (
        json.loads((tmp_path / "out/corpus.json").read_text()),
        np.load(tmp_path / "out/ids.npy"),
    )
    assert (ids.dtype, ids.tolist()) == (np.uint8, [0, 1, 2, 5, 3, 4])
    digest = hashlib.sha256(b"de").hexdigest()
    source = {
        "name": str(tmp_path / "sources/01.txt"),
        "bytes": 2,
        "characters": 2,
        "sha256": digest,
    }
    assert fields["sources"][1] == source
    assert fields["ids_sha256"] == hashlib.sha256(ids.tobytes()).hexdigest()
    assert (fields["format"], fields["size"]) == (2, 6)
    assert fields["splits"] == {"train": [0, 5], "validation": [5, 6], "test": [6, 6]}
    assert fields["vocabulary"]["characters"] == [*"abcde", None]


def test_a_folder_that_is_not_empty_is_left_alone_and_a_corpus_is_no_source(tmp_path: Path) -> None:
    sources, message = (
        str(write_texts(tmp_path, "abc")),
        "exists already; name a new or an empty folder",
    )
    for occupied in ("file", "folder/file"):
        path = tmp_path / occupied
        path.parent.mkdir(exist_ok=True)
        path.write_text("precious")
        out = tmp_path / Path(occupied).parts[0]
        with pytest.raises(CharlmError, match=f"{out}: {message}"):
            tokenize([sources], tmp_path / Path(occupied).parts[0], CorpusConfig())
        assert path.read_text() == "precious"
    corpus = tokenize([sources], tmp_path / "corpus", CorpusConfig())
    with pytest.raises(CharlmError, match="corpus: is a corpus, not text"):
        tokenize([str(corpus.folder), sources], tmp_path / "again", CorpusConfig())


def fail_for_folders(descriptor: int) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def read_what_grows(
    document: Document, read: Callable[[Document], bytes | bytearray] = Document.read
) -> Any:
    data = read(document)
    assert document.path is not None
    document.path.write_bytes(data + b"z")
    return data


@pytest.mark.parametrize(
    "is_there", [pytest.param(False, id="new"), pytest.param(True, id="empty folder")]
)
@pytest.mark.parametrize(
    ("changes", "limit", "message"),
    [
        pytest.param((), 1000, r"out: cannot be written: File too large", id="full disk"),
        pytest.param(
            (os, "fsync", fail_for_folders),
            10_000,
            r"out: cannot be written: Input/output error",
            id="broken disk",
        ),
        pytest.param(
            (Document, "read", read_what_grows),
            10_000,
            r"00\.txt: changed while charlm was reading it",
            id="changed text",
        ),
    ],
)
def test_an_error_leaves_nothing(
    *, changes: Any, limit: int, message: str, is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, out = write_texts(Path(), *["a" * 900] * 2), Path("out")
    if is_there:
        out.mkdir()
    if changes:
        monkeypatch.setattr(*changes)
    with file_size_limit(limit), pytest.raises(CharlmError, match=message):
        tokenize([str(sources)], out, CorpusConfig())
    assert names(Path()) == [*["out"] * is_there, "sources"]
    assert not is_there or names(out) == []


def test_each_pass_over_the_files_reports_its_progress(tmp_path: Path) -> None:
    seen: list[Event] = []
    sources = write_texts(tmp_path, "ab", "", "ba")
    tokenize([str(sources)], tmp_path / "out", CorpusConfig(), on_event=seen.append)
    assert seen == [
        TextProgress("counting", done=0, total=3),
        TextProgress("counting", done=1, total=3),
        TextProgress("counting", done=2, total=3),
        TextProgress("counting", done=3, total=3),
        TextProgress("encoding", done=0, total=2),
        TextProgress("encoding", done=1, total=2),
        TextProgress("encoding", done=2, total=2),
    ]


@pytest.mark.parametrize(
    "is_there", [pytest.param(False, id="new"), pytest.param(True, id="empty folder")]
)
def test_nothing_is_in_the_folder_before_the_corpus_is_complete(
    *, is_there: bool, tmp_path: Path
) -> None:
    sources = write_texts(tmp_path, "ab", "ba")
    out = tmp_path / "out"
    if is_there:
        out.mkdir()
    found: list[object] = []

    def look(_event: Event) -> None:
        found.append(names(out) if out.exists() else None)

    tokenize([str(sources)], out, CorpusConfig(), on_event=look)
    assert found == [[] if is_there else None] * 6
    assert names(out) == ["corpus.json", "ids.npy"]


def test_a_callback_that_raises_leaves_nothing(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "ab", "ba")

    def stop(event: Event) -> None:
        if event == TextProgress("encoding", done=1, total=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize([str(sources)], tmp_path / "deep/out", CorpusConfig(), on_event=stop)
    assert names(tmp_path) == ["sources"]


def test_memory_is_that_of_the_largest_file(tmp_path: Path) -> None:
    text = "Тот же déjà vu 😀 ".encode()
    sources = write_texts(tmp_path, *[text * (4_000_000 // len(text))] * 8)
    with memory_limit(60_000_000):
        tokenize([str(sources)], tmp_path / "out", CorpusConfig())


# A text that is memorised


@pytest.fixture
def memorized(tmp_path: Path) -> Corpus:
    """Write a text of ten characters, of which one is for validation, so that it can be recited."""
    corpus = make_corpus(tmp_path, "abba\nbaab\n")
    return memorize(corpus, corpus.folder)


def test_a_memorised_text_has_an_end_before_its_first_character_as_after_its_last(
    memorized: Corpus,
) -> None:
    assert memorized.vocabulary == Vocabulary(("\n", "a", "b", None), end_of_text_id=3)
    assert memorized.ids.tolist() == [3, 1, 2, 2, 1, 0, 2, 1, 1, 2, 0, 3]


def test_all_of_a_memorised_text_is_training_text(memorized: Corpus) -> None:
    assert memorized.splits == {"train": (0, 12), "validation": (12, 12), "test": (12, 12)}


def test_a_memorised_text_keeps_its_source(memorized: Corpus) -> None:
    [source] = memorized.manifest.sources
    assert source.sha256 == hashlib.sha256(b"abba\nbaab\n").hexdigest()
    assert memorized.manifest.text_name == "00"


def test_a_memorised_text_passes_verification(memorized: Corpus) -> None:
    opened = open_corpus(memorized.folder, verify=True)
    assert opened.manifest == memorized.manifest
    assert opened.manifest.ids_sha256 == hashlib.sha256(bytes(memorized.ids)).hexdigest()


def test_the_settings_of_a_memorised_text_say_that_it_is_not_split(memorized: Corpus) -> None:
    assert memorized.manifest.validation_fraction == 0
    assert memorized.manifest.test_fraction == 0


def test_documents_of_a_memorised_text_stay_apart(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab", "ba")
    end = corpus.vocabulary.end_of_text_id
    found = memorize(corpus, tmp_path / "memorized")
    assert found.vocabulary == corpus.vocabulary
    assert found.ids.tolist() == [end, 0, 1, end, 1, 0, end]


def test_memorising_a_text_behind_a_link_leaves_the_text_as_it_was(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\nbaab\n")
    before = {path: path.read_bytes() for path in corpus.folder.iterdir()}
    link = tmp_path / "link"
    link.symlink_to(corpus.folder, target_is_directory=True)
    found = memorize(open_corpus(link), link)
    assert not link.is_symlink()
    assert len(found.ids) == len(corpus.ids) + 2
    assert {path: path.read_bytes() for path in corpus.folder.iterdir()} == before


def test_a_folder_in_which_a_memorised_text_cannot_be_written_is_named(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\nbaab\n")
    (tmp_path / "file").touch()
    with pytest.raises(CharlmError, match=r"file/memorized: cannot be written: Not a directory$"):
        memorize(corpus, tmp_path / "file" / "memorized")


def test_a_text_that_cannot_be_memorised_stays_as_it_was(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\nbaab\n")
    before = contents(tmp_path)
    with (
        file_size_limit(100),
        pytest.raises(CharlmError, match=r"out: cannot be written: File too large$"),
    ):
        memorize(corpus, corpus.folder)
    assert contents(tmp_path) == before


# The ids that a model has for a text

LETTERS = Vocabulary(("\n", "a", "b", None), end_of_text_id=3)


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_a_corpus_and_its_texts_have_the_same_ids_with_an_end_between_two(
    split: Split | None, tmp_path: Path
) -> None:
    sources, config = (
        write_texts(tmp_path, "", "ab", "", "b\nabba\n"),
        CorpusConfig(test_fraction=0.2),
    )
    corpus = tokenize([str(sources)], tmp_path / "corpus", config)
    part = {
        None: slice(None),
        "train": slice(7),
        "validation": slice(7, 8),
        "test": slice(8, None),
    }[split]
    for known, ids in (
        (LETTERS, [1, 2, 3, 2, 0, 1, 2, 2, 1, 0]),
        (Vocabulary(("b", None, "a", "\n"), end_of_text_id=1), [2, 0, 1, 0, 3, 2, 0, 0, 2, 3]),
    ):
        for path in (sources, corpus.folder):
            assert encode_text(path, known, config, split=split)[0].tolist() == ids[part]
    without = Vocabulary(("\n", "a", "b"))
    assert encode_text(sources, without, CorpusConfig())[0].tolist() == [1, 2, 2, 0, 1, 2, 2, 1, 0]


def test_a_character_that_the_model_does_not_know_is_left_out_and_what_it_cannot_read_refused(
    tmp_path: Path,
) -> None:
    corpus, letters = make_corpus(tmp_path, "abXb"), Vocabulary(("a", "b"))
    for path in (corpus.folder, tmp_path / "sources"):
        ids, left_out = encode_text(path, letters, CorpusConfig())
        assert (ids.tolist(), left_out) == ([0, 1, 1], {"X": 1})
    (tmp_path / "latin.txt").write_bytes(b"abb\xe9")
    with pytest.raises(
        CharlmError, match=r"the model reads utf-8: convert the text$"
    ):  # no setting that is fixed
        encode_text(tmp_path / "latin.txt", LETTERS, CorpusConfig())


def find(*sources: str | Path) -> list[str]:
    """Return the last part of the name of each document that these sources name."""
    return [
        Path(document.name).name
        for document in find_documents([str(source) for source in sources])[0]
    ]


# Finding


def test_a_folder_is_walked_in_sorted_order_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    own = ("runs/one/metrics.jsonl", "runs/one/config.yaml", "saved/corpus.json")
    for name in (
        "b.txt",
        "a/2.txt",
        "a/10.txt",
        "c/d/e.txt",
        ".hidden",
        ".git/config",
        "c/__pycache__/x.pyc",
        *own,
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "c/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert (
        find(tmp_path, tmp_path / "b.txt", tmp_path)
        == find(tmp_path)
        == ["10.txt", "2.txt", "b.txt", "e.txt"]
    )
    assert find(tmp_path / "b.txt", tmp_path) == ["b.txt", "10.txt", "2.txt", "e.txt"]  # each once
    left_out = {
        Path(name).name: reason for name, reason in find_documents([str(tmp_path)])[1].items()
    }
    ours = dict.fromkeys(("one", "saved"), "a run or a corpus of charlm")
    assert left_out == {"up": "a link to a folder", "pipe": "not a regular file", **ours}


@pytest.mark.parametrize(
    "source", [pytest.param("one", id="folder"), pytest.param("one/", id="with a slash")]
)
def test_a_source_that_is_a_run_is_refused(source: str) -> None:
    make_run(Path("one"))
    with pytest.raises(CharlmError, match=r"^one: is a run, not a text; its text is one/corpus$"):
        find(source)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl"])
def test_a_folder_with_one_file_of_a_run_is_a_text(name: str) -> None:
    Path("texts").mkdir()
    Path("texts", name).touch()
    assert find("texts") == [name]


def test_a_source_that_is_missing_or_a_fifo_is_named_and_a_name_that_is_not_utf_8_shown_with_escapes() -> (
    None
):
    for source in ("none.txt", "", "none\0.txt", "none*.txt"):
        with pytest.raises(
            CharlmError,
            match=f"^{re.escape(f'{escape_controls(source)}: no such file or folder')}$",
        ):
            find(source)
    os.mkfifo("fifo")
    with pytest.raises(CharlmError, match="fifo: is not a regular file; use - for standard input"):
        find("fifo")
    Path("names").mkdir()
    with contextlib.suppress(OSError):  # this file system allows only UTF-8 names
        Path(os.fsdecode(b"names/caf\xe9")).touch()
        assert find("names") == ["caf\\xe9"]


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1f\x8b not gzip")))
    [document] = find_documents(["-", "-"])[0]
    assert document.name == "-"
    assert document.read() == document.read() == b"\x1f\x8b not gzip"


# Reading


def test_a_gz_file_is_decompressed_or_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("a.GZ")
    whole = gzip.compress(
        b"text" * 1000
    )  # cut short, with a wrong checksum, or with damaged contents
    for data in (b"no gzip at all", whole[:-20], whole[:-8] + bytes(8), whole[:10] + b"\xff" * 20):
        path.write_bytes(data)
        with pytest.raises(CharlmError, match=r"^a\.GZ: not a complete gzip file: .+$"):
            Document("a.GZ", path).read()
    Path("b.txt").write_text("text", encoding="utf-8")
    assert tokenize(["."], Path("out"), CorpusConfig()).manifest.left_out.keys() == {"a.GZ"}
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    assert Document("a.GZ", path).read() == b"onetwo"
    monkeypatch.setattr(documents, "memory_bytes", lambda: 16_000)
    path.write_bytes(gzip.compress(bytes(1000)))
    assert len(Document("a.GZ", path).read()) == 1000
    path.write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(
        CharlmError,
        match=r"^a\.GZ: larger than 1,000 bytes, a sixteenth of the memory; split it into",
    ):
        Document("a.GZ", path).read()


# Decoding


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]))
def test_a_text_is_decoded_without_its_byte_order_mark_and_in_normal_form(
    text: str, encoding: str
) -> None:
    data = f"\ufeffe\u0301{text}".encode(encoding)
    assert decode(data, encoding=encoding, name="x") == decode(
        f"é{text}".encode(encoding), encoding=encoding, name="x"
    )


def test_an_invalid_byte_is_named_with_its_offset_and_what_would_do() -> None:
    for encoding, data, message in (
        (
            "utf-8",
            "\ufeff中文ab c".encode() + b"\xe9 and more",
            "x: not valid utf-8 at byte 13 (0xE9); set its encoding, ",
        ),
        (
            "utf-8",
            b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
            "x: not valid utf-8 at byte 10 (0xE2); it is a PDF: extract its",
        ),
        ("utf-16", b"\xff\xfea\x00\x00\xdcb\x00", "x: not valid utf-16 at byte 4 "),
        (
            "utf-8",
            ("e" + 1999 * "\u0301").encode(),
            "x: more than 1,000 combining marks in a row; remove some of them",
        ),
        ("cp1252", b"abc\x81", "x: not valid cp1252 at byte 3 (0x81); set its encoding, "),
        ("gb18030", "中文".encode("gb18030") + b"\xff", "x: not valid gb18030 at byte 4 "),
        (
            "utf-8",
            ("a" + 2000 * "\u0301").encode(),
            "x: more than 1,000 combining marks in a row; remove some of them",
        ),
    ):
        with pytest.raises(CharlmError, match=f"^{re.escape(message)}"):
            decode(data, encoding=encoding, name="x")
    assert len(decode(("e" + 1000 * "\u0301").encode(), encoding="utf-8", name="x")) == 1000


def test_an_encoding_that_is_unknown_or_not_one_of_text_files_is_refused_and_marks_are_kept() -> (
    None
):
    for encoding in ("utf-9", "", "rot13", "idna", "unicode_escape", "utf-7", "a\0"):
        with pytest.raises(CharlmError, match=r"^corpus\.encoding: found .*utf-8"):
            check_encoding(encoding)
    marks = "a" + 999 * "\u0302"
    assert decode(marks.encode(), encoding="utf-8", name="x") == "\u00e2" + marks[2:]


def test_a_source_whose_path_is_too_long_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    with contextlib.chdir(folder):
        for _ in range(25):  # each name may have 255 bytes, and a path 4,095
            Path(200 * "d").mkdir()
            os.chdir(200 * "d")
    with pytest.raises(CharlmError, match="cannot be read: File name too long"):
        find_documents([str(folder)])


# The name of a text


def test_a_text_has_a_name_that_fits_into_the_name_of_a_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("letters.d/books/v1.2").mkdir(parents=True)
    monkeypatch.chdir("letters.d")
    for sources, name in (
        *(
            (["my text.txt"], "my-text"),
            (["data/corpus.txt.gz"], "corpus"),
            (["books/v1.2"], "v1.2"),
            (["-"], "stdin"),
        ),
        *(
            (["books"], "books"),
            (["books/a.txt", "books/sub/b.txt"], "books"),
            (["a.txt", "b.txt"], "a"),
        ),
        *(
            (["/a.txt", "b.txt"], "a"),
            (["../a.txt", "../b.txt"], "a"),
            ([], "text"),
            (["(?).txt"], "text"),
        ),
        *(
            (["../x/.-a (2).txt"], "a-2"),
            (["Фауст.txt"], "Фауст"),
            (["é" + "x" * 99], "é" + "x" * 49),
        ),
        *((["o\u0308de\udcff\n<b>"], "öde-b"), (["."], "letters.d")),
    ):
        assert name_text(sources) == name
