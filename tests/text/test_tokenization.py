"""Text files -> a corpus on disk."""

import gzip
import hashlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus, text_of, write_texts
from hypothesis import given, settings
from hypothesis import strategies as st
from limits import file_size_limit, memory_limit
from numpy.typing import NDArray
from run_folders import names

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text.corpus import Rare, Split
from charlm.text.documents import Document
from charlm.text.rare_characters import settle_min_count
from charlm.text.tokenization import encode_text, tokenize
from charlm.text.vocabulary import Vocabulary

any_text = st.text(st.characters(exclude_categories=["Cs"]))


# Ids and vocabulary


@settings(max_examples=20)
@given(st.lists(any_text))
def test_several_documents_are_kept_with_the_end_of_text_id_between_them(texts: list[str]) -> None:
    texts = [text.removeprefix("\ufeff") for text in texts]
    kept = [text for text in texts if text]
    if not kept:
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = str(write_texts(Path(folder), *texts))
        corpus = tokenize([sources], Path(folder) / "out", CorpusConfig())
        end_of_text = corpus.vocabulary.end_of_text_id
        assert (end_of_text is not None) == (len(kept) > 1)
        parts = np.split(corpus.ids, np.flatnonzero(corpus.ids == (-1 if end_of_text is None else end_of_text)))
        assert [corpus.vocabulary.decode(part) for part in parts] == kept


def test_level_byte_keeps_any_bytes(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, bytes(range(256)), b"\xff\r\n", level="byte")
    assert corpus.ids.tolist() == [*range(256), 256, 255, 13, 10]


@pytest.mark.parametrize(
    "text",
    ["中文字符", "e\u0301👩🏽\u200d💻🇨🇭", "one\r\ntwo\r\n", "a\x00b", "x" * 3_000_001],
    ids=["Chinese", "emoji with marks", "CRLF", "NUL", "several blocks"],
)
def test_a_text_is_kept_as_it_is(tmp_path: Path, text: str) -> None:
    assert text_of(make_corpus(tmp_path, text)) == text


def test_characters_below_min_count_become_the_unknown_id(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "aabbc中", min_count=2)
    assert corpus.vocabulary.characters == ("a", "b", None)
    assert corpus.vocabulary.unknown_id == 2
    assert corpus.ids.tolist() == [0, 0, 1, 1, 2, 2]


def test_the_ids_of_a_known_vocabulary_are_taken_over_also_those_of_rare_characters(tmp_path: Path) -> None:
    known = Vocabulary("char", ("z", None, "b"), unknown_id=1)
    sources = [str(write_texts(tmp_path, "aabcc", "dd"))]
    corpus = tokenize(sources, tmp_path / "out", CorpusConfig(min_count=2), known=known)
    assert corpus.vocabulary == Vocabulary("char", ("z", None, "b", "a", "c", "d", None), 1, 6)
    assert corpus.ids.tolist() == [3, 3, 2, 4, 4, 6, 5, 5]


def test_a_min_count_that_no_character_reaches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^corpus\.min_count: found 9; no character occurs that often"):
        make_corpus(tmp_path, "ab", min_count=9)


def counted(*occurrences: tuple[int, int]) -> NDArray[np.int64]:
    """Return counts of code points from 1 on: of (characters, count), so many characters occur count times each."""
    counts = [count for characters, count in occurrences for _ in range(characters)]
    return np.array([0, *counts], np.int64)


@pytest.mark.parametrize(
    ("occurrences", "expected"),
    [
        ([(256, 10_000), (0, 1)], 1),  # no more than 256 characters
        ([(50, 100_000), (250, 1), (50, 4), (50, 5)], 5),  # 5,000,700 characters: 5 for each million
        ([(50, 20_000), (250, 1)], 1),  # 1,000,250 characters
        ([(3000, 300)], 1),  # 900,000 characters: none is rare
        ([(50, 100_000), (9000, 3)], 3),  # without those that occur 3 times, 0.54% of the text would be unknown
        ([(50, 100_000), (8000, 3)], 5),  # 0.48%
    ],
    ids=str,
)
def test_the_automatic_min_count_leaves_out_what_is_rare_in_a_large_text_of_many_characters(
    occurrences: list[tuple[int, int]], expected: int
) -> None:
    settled = settle_min_count(CorpusConfig(), counted(*occurrences))
    assert settled == CorpusConfig(min_count=expected)
    assert settle_min_count(CorpusConfig(min_count=7), counted(*occurrences)).min_count == 7


def test_the_settled_min_count_and_the_rare_characters_are_recorded(tmp_path: Path) -> None:
    accents = "".join(map(chr, range(0x100, 0x200)))
    corpus = make_corpus(tmp_path, "ab\n" * 700_000 + accents + "éé\x85")
    assert corpus.manifest.min_count == 2
    assert corpus.manifest.rare == Rare(distinct=257, occurrences=257, commonest="\x85" + accents[:9])
    assert corpus.vocabulary.characters == ("\n", "a", "b", "é", None)
    assert corpus.ids[-3:].tolist() == [3, 3, 4]


@pytest.mark.parametrize(
    ("settings", "key"),
    [({"normalize": "NFC"}, "corpus.normalize: found NFC"), ({"min_count": 2}, "corpus.min_count: found 2")],
)
def test_settings_that_do_not_apply_at_level_byte_are_refused(
    tmp_path: Path, settings: dict[str, Any], key: str
) -> None:
    with pytest.raises(CharlmError, match=f"^{key}; at level byte"):
        make_corpus(tmp_path, "ab", level="byte", **settings)


# Sources


def test_sources_of_every_kind_make_one_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.txt").write_text("a")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"b"))
    (tmp_path / "c1.txt").write_text("c")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"d")))
    monkeypatch.chdir(tmp_path)
    corpus = tokenize(["folder", "b.gz", "c?.txt", "-"], Path("out"), CorpusConfig())
    assert text_of(corpus) == "abcd"
    assert [source.name for source in corpus.manifest.sources] == ["folder/a.txt", "b.gz", "c1.txt", "-"]


def test_a_corpus_as_a_source_is_refused(tmp_path: Path) -> None:
    make_corpus(tmp_path, "ab")
    with pytest.raises(CharlmError, match="out: is a corpus that charlm tokenize wrote, not text"):
        tokenize([str(tmp_path)], tmp_path / "again", CorpusConfig())


@pytest.mark.parametrize("text", ["abd", "abcabc", "", "中"])
def test_a_file_that_changes_between_the_passes_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Document.read

    def read_and_change(document: Document, **settings: Any) -> Iterator[bytes]:
        yield from read(document, **settings)
        document.path.write_text(text)

    monkeypatch.setattr(Document, "read", read_and_change)
    with pytest.raises(CharlmError, match=r"00\.txt: changed while it was read"):
        make_corpus(tmp_path, "abc")
    assert not (tmp_path / "out").exists()


LATIN = "café".encode("latin-1")


def test_all_files_that_cannot_be_decoded_are_named_with_what_would_do(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "good", *[LATIN] * 12)
    with pytest.raises(CharlmError) as caught:
        tokenize([str(sources)], tmp_path / "out", CorpusConfig())
    named = ", ".join(f"{sources}/{number:02}.txt (byte 3)" for number in range(1, 11))
    assert str(caught.value) == (
        f"12 of 13 files are not valid utf-8: {named} and 2 more; "
        "leave them out with --skip-undecodable, from Python skip_undecodable=True"
    )
    assert not (tmp_path / "out").exists()


def test_patterns_are_advised_if_names_tell_the_files_apart(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "good")
    (sources / "picture.png").write_bytes(b"\x89PNG")
    with pytest.raises(
        CharlmError, match=rf"^1 of 2 files is not valid .*, or name .* patterns: '{sources}/\*\*/\*.txt'$"
    ):
        tokenize([str(sources)], tmp_path / "out", CorpusConfig())
    assert text_of(tokenize([f"{sources}/**/*.txt"], tmp_path / "out", CorpusConfig())) == "good"


@pytest.mark.parametrize("skip", [False, True])
def test_another_encoding_is_advised_only_if_no_file_has_this_one(tmp_path: Path, skip: bool) -> None:
    sources = write_texts(tmp_path, LATIN, LATIN)
    with pytest.raises(CharlmError, match=r"^2 of 2 files are not .*try -s corpus\.encoding=cp1252 or latin-1"):
        tokenize([str(sources)], tmp_path / "out", CorpusConfig(), skip_undecodable=skip)


def test_undecodable_files_are_left_out_on_request_with_all_their_characters(tmp_path: Path) -> None:
    late = b"x" * (1 << 20) + b"y\xe9"  # its first block is counted before the invalid byte is found
    sources = write_texts(tmp_path, "ab", late, "", "ba")
    corpus = tokenize([str(sources)], tmp_path / "out", CorpusConfig(), skip_undecodable=True)
    assert corpus.vocabulary == Vocabulary("char", ("a", "b", None), end_of_text_id=2)
    assert corpus.ids.tolist() == [0, 1, 2, 1, 0]
    assert corpus.manifest.undecodable == (f"{sources}/01.txt",)
    assert corpus.manifest.empty == (f"{sources}/02.txt",)


# The folder


def test_a_current_folder_that_is_deleted_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write_texts(tmp_path, "abba")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(CharlmError, match=r"^out: cannot be written: No such file or directory$"):
        tokenize([str(sources)], Path("out"), CorpusConfig())


def test_a_link_that_leads_nowhere_leads_to_the_corpus_afterwards(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("place")
    make_corpus(tmp_path, "abc")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "place/ids.bin").is_file()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_corpus_is_on_the_disk(is_there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, place = set[tuple[int, int]](), tmp_path / "out"
    monkeypatch.setattr(os, "fsync", lambda file: synced.add((os.fstat(file).st_ino, os.fstat(file).st_size)))
    (tmp_path / "text.txt").write_text("abc", encoding="utf-8")
    if is_there:
        place.mkdir()
    tokenize([str(tmp_path / "text.txt")], place, CorpusConfig())
    found = [path.stat() for path in (*place.iterdir(), place if is_there else tmp_path)]
    assert len(found) == 4
    assert {(facts.st_ino, facts.st_size) for facts in found} <= synced


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = write_texts(tmp_path, "abba")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert text_of(tokenize([str(sources)], Path(), CorpusConfig())) == "abba"
    assert names(Path.cwd()) == ["ids.bin", "manifest.json", "vocabulary.json"]


def test_the_manifest_describes_the_corpus_and_its_sources(tmp_path: Path) -> None:
    make_corpus(tmp_path, "abc", b"de", min_count=1)
    fields = json.loads((tmp_path / "out" / "manifest.json").read_text())
    ids = (tmp_path / "out" / "ids.bin").read_bytes()
    assert ids == bytes([0, 1, 2, 5, 3, 4])
    assert fields["ids_sha256"] == hashlib.sha256(ids).hexdigest()
    assert fields["sources"][1] == {
        "name": str(tmp_path / "sources" / "01.txt"),
        "bytes": 2,
        "characters": 2,
        "sha256": hashlib.sha256(b"de").hexdigest(),
    }
    assert (fields["format"], fields["characters"], fields["size"], fields["dtype"]) == (1, 5, 6, "uint8")
    assert fields["splits"] == {"train": [0, 5], "validation": [5, 6], "test": [6, 6]}


@pytest.mark.parametrize("occupied", ["out", "out/file"])
def test_an_existing_file_or_folder_is_left_alone(tmp_path: Path, occupied: str) -> None:
    path = tmp_path / occupied
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(CharlmError, match="out: exists already; give a new or an empty folder"):
        make_corpus(tmp_path, "abc")
    assert path.read_text() == "precious"


def test_a_full_disk_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    with file_size_limit(1000), pytest.raises(CharlmError, match="out: cannot be written: File too large"):
        make_corpus(tmp_path, *["a" * 900] * 2)
    assert names(tmp_path) == ["sources"]


def test_memory_stays_flat_for_a_line_of_64_mb(tmp_path: Path) -> None:
    path, text = tmp_path / "a.txt", "Тот же déjà vu 😀 ".encode()
    path.write_bytes(text * (64_000_000 // len(text)))
    with memory_limit(60_000_000):
        tokenize([str(path)], tmp_path / "out", CorpusConfig())


# The ids that a model has for a text

LETTERS = Vocabulary("char", ("\n", "a", "b", None), end_of_text_id=3)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Write a folder of texts, two of which are empty."""
    return write_texts(tmp_path, "", "ab", "", "b\nabba\n")


def test_between_the_texts_of_a_folder_is_the_end_of_a_text(sources: Path) -> None:
    assert encode_text(sources, LETTERS, CorpusConfig())[0].tolist() == [1, 2, 3, 2, 0, 1, 2, 2, 1, 0]
    without = Vocabulary("char", ("\n", "a", "b"))
    assert encode_text(sources, without, CorpusConfig())[0].tolist() == [1, 2, 2, 0, 1, 2, 2, 1, 0]


@pytest.mark.parametrize("split", [None, "train", "validation", "test"])
def test_a_corpus_and_its_texts_have_the_same_ids(split: Split | None, sources: Path, tmp_path: Path) -> None:
    config = CorpusConfig(test_fraction=0.2)
    corpus = tokenize([str(sources)], tmp_path / "corpus", config)
    other = Vocabulary("char", ("b", None, "a", "\n"), end_of_text_id=1)
    expected, found = (encode_text(path, other, config, split=split)[0] for path in (sources, corpus.folder))
    np.testing.assert_array_equal(found, expected)


def test_a_character_of_a_corpus_that_the_model_does_not_know_is_refused_or_skipped(tmp_path: Path) -> None:
    folder, letters = make_corpus(tmp_path, "abXb").folder, Vocabulary("char", ("a", "b"))
    with pytest.raises(CharlmError, match=r"character 3 of .*/out, 'X'"):
        encode_text(folder, letters, CorpusConfig())
    ids, skipped = encode_text(folder, letters, CorpusConfig(), unknown="skip")
    assert (ids.tolist(), skipped) == ([0, 1, 1], 1)


def test_a_model_of_bytes_reads_a_text_and_a_corpus_of_bytes(tmp_path: Path) -> None:
    config, every = CorpusConfig(level="byte"), Vocabulary("byte", tuple(map(chr, range(256))))
    corpus = make_corpus(tmp_path, "é\n", level="byte")
    for path in (corpus.folder, tmp_path / "sources"):
        assert bytes(encode_text(path, every, config)[0]) == "é\n".encode()
    with pytest.raises(CharlmError, match=r"/out: level byte; must be char, that of the model"):
        encode_text(corpus.folder, LETTERS, config)


def test_advice_about_a_text_does_not_name_settings_that_the_model_has_fixed(tmp_path: Path) -> None:
    latin = write_texts(tmp_path, b"abb\xe9")
    with pytest.raises(CharlmError, match=r"the model reads utf-8: convert the text, which may be cp1252 or latin-1$"):
        encode_text(latin, LETTERS, CorpusConfig())
