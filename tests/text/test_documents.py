"""The documents that a user's sources name: found, read and decoded, and their common name."""

import contextlib
import gzip
import io
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import make_run

from charlm.config.schema import CorpusConfig
from charlm.errors import CharlmError
from charlm.text import documents
from charlm.text.documents import Document, check_encoding, decode, find_documents, name_text
from charlm.text.tokenization import tokenize
from charlm.wording import escape_controls


def find(*sources: str | Path) -> list[str]:
    """Return the file name of each document of some sources."""
    documents, _ = find_documents([str(source) for source in sources])
    return [Path(document.name).name for document in documents]


# Finding


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder with texts, hidden files, runs, a corpus, a link and a pipe."""
    files = """
        b.txt
        a/2.txt
        a/10.txt
        c/d/e.txt
        .hidden
        .git/config
        c/__pycache__/x.pyc
        runs/one/metrics.jsonl
        runs/one/config.yaml
        saved/corpus.json
    """
    for name in files.split():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "c/up").symlink_to(tmp_path)
    (tmp_path / "c/to_b").symlink_to(tmp_path / "b.txt")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_the_files_of_a_folder_are_sorted(tree: Path) -> None:
    assert find(tree) == ["10.txt", "2.txt", "b.txt", "e.txt"]


def test_each_file_is_found_once(tree: Path) -> None:
    assert find(tree, tree / "b.txt", tree) == find(tree)


def test_sources_keep_their_order(tree: Path) -> None:
    assert find(tree / "b.txt", tree) == ["b.txt", "10.txt", "2.txt", "e.txt"]


def test_files_that_are_left_out_have_a_reason(tree: Path) -> None:
    _, left_out = find_documents([str(tree)])
    assert {Path(name).name: reason for name, reason in left_out.items()} == {
        "up": "a link to a folder",
        "pipe": "not a regular file",
        "one": "a run or a corpus of charlm",
        "saved": "a run or a corpus of charlm",
    }


def test_a_source_that_is_a_run_is_refused() -> None:
    make_run(Path("one"))
    with pytest.raises(CharlmError, match=r"^one: is a run, not a text; its text is one/corpus$"):
        find("one/")


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl"])
@pytest.mark.parametrize("source", ["texts", "texts/mine"], ids=["folder around it", "folder"])
def test_a_folder_with_a_single_file_of_a_run_is_a_text(source: str, name: str) -> None:
    Path("texts/mine").mkdir(parents=True)
    Path("texts/mine", name).touch()
    assert find(source) == [name]


@pytest.mark.parametrize("source", ["none.txt", "", "none\0.txt", "none*.txt"], ids=ascii)
def test_a_missing_source_is_refused(source: str) -> None:
    message = re.escape(f"{escape_controls(source)}: no such file or folder")
    with pytest.raises(CharlmError, match=f"^{message}$"):
        find(source)


def test_a_pipe_is_refused() -> None:
    os.mkfifo("pipe")
    with pytest.raises(CharlmError, match="pipe: not a regular file; use - for standard input"):
        find("pipe")


def test_a_file_name_that_is_not_utf_8_is_escaped() -> None:
    Path("names").mkdir()
    try:
        Path(os.fsdecode(b"names/caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system only allows UTF-8 names")
    assert find("names") == ["caf\\xe9"]


def test_an_unreadable_subfolder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "deep"
    folder.mkdir()
    with contextlib.chdir(folder):
        for _ in range(25):  # a name can have 255 bytes, but a path 4,095
            Path(200 * "d").mkdir()
            os.chdir(200 * "d")
    with pytest.raises(CharlmError, match=r"/ddd+: cannot be read: File name too long"):
        find_documents([str(folder)])


# Reading


def test_standard_input_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1f\x8b not gzip")))
    [document], _ = find_documents(["-", "-"])
    assert document.name == "-"
    assert document.read() == b"\x1f\x8b not gzip"
    assert document.read() == b"\x1f\x8b not gzip"


def gzip_document(data: bytes) -> Document:
    path = Path("a.GZ")
    path.write_bytes(data)
    return Document("a.GZ", path)


COMPRESSED = gzip.compress(b"text" * 1000)
DAMAGED = [
    pytest.param(b"no gzip at all", id="not gzip"),
    pytest.param(COMPRESSED[:-20], id="cut"),
    pytest.param(COMPRESSED[:-8] + bytes(8), id="wrong checksum"),
    pytest.param(COMPRESSED[:10] + b"\xff" * 20, id="damaged contents"),
]


def test_the_members_of_a_gzip_file_are_decompressed() -> None:
    document = gzip_document(gzip.compress(b"one") + gzip.compress(b"two"))
    assert document.read() == b"onetwo"


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_gzip_file_is_refused(data: bytes) -> None:
    with pytest.raises(CharlmError, match=r"^a\.GZ: not a complete gzip file: .+$"):
        gzip_document(data).read()


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_gzip_file_of_a_folder_is_left_out(data: bytes) -> None:
    gzip_document(data)
    Path("b.txt").write_text("text", encoding="utf-8")
    corpus = tokenize(["."], Path("out"), CorpusConfig())
    assert corpus.manifest.left_out.keys() == {"a.GZ"}


def test_a_gzip_file_can_have_a_sixteenth_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "memory_bytes", lambda: 16_000)
    assert len(gzip_document(gzip.compress(bytes(1000))).read()) == 1000
    message = r"^a\.GZ: larger than 1,000 bytes, a sixteenth of the memory; split it into"
    with pytest.raises(CharlmError, match=message):
        gzip_document(gzip.compress(bytes(1001))).read()


# Decoding


def decoded(data: bytes, encoding: str = "utf-8") -> str:
    return decode(data, CorpusConfig(encoding=encoding), name="x")


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]),
)
def test_a_text_is_decoded_to_its_normal_form_without_a_byte_order_mark(
    text: str, encoding: str
) -> None:
    data = f"\ufeffe\u0301{text}".encode(encoding)
    assert decoded(data, encoding) == decoded(f"é{text}".encode(encoding), encoding)


@pytest.mark.parametrize(
    ("encoding", "data", "message"),
    [
        pytest.param(
            "utf-8",
            "\ufeff中文ab c".encode() + b"\xe9 and more",
            "not valid utf-8 at byte 13 (0xE9); set its encoding ",
            id="UTF-8",
        ),
        pytest.param(
            "utf-16", b"\xff\xfea\x00\x00\xdcb\x00", "not valid utf-16 at byte 4 ", id="UTF-16"
        ),
        pytest.param(
            "cp1252",
            b"abc\x81",
            "not valid cp1252 at byte 3 (0x81); set its encoding ",
            id="Windows",
        ),
    ],
)
def test_an_invalid_byte_is_refused_with_its_offset(
    encoding: str, data: bytes, message: str
) -> None:
    with pytest.raises(CharlmError, match=f"^x: {re.escape(message)}"):
        decoded(data, encoding)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"PK\x03\x04", "a Word document or another ZIP archive; save it as"),
        (b"%PDF-1.4\n", "a PDF; extract its text first, for instance with"),
        (b"{\\rtf1}", "a document in rich text format; save it as"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\0\0", "an old Word or Excel document; save it as"),
        (
            b"ab\0",
            "has zero bytes, so it is not plain text; set its encoding for training, for",
        ),
    ],
)
def test_a_file_that_is_not_plain_text_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(CharlmError, match=f"^x: {re.escape(message)}"):
        decoded(data)
    assert decoded(data, "latin-1") == data.decode("latin-1")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        pytest.param("aé\xffb\0".encode("latin-1") + 40 * b".", f"a\ufffd\ufffdb\ufffd{40 * '.'}"),
        pytest.param(b"\xff\xfea\0\0\xdcb\0" + 40 * b".\0", f"a\ufffdb{40 * '.'}"),
    ],
    ids=["UTF-8", "UTF-16"],
)
def test_bytes_that_are_not_valid_can_be_replaced(data: bytes, text: str) -> None:
    assert decode(data, CorpusConfig(errors="replace"), name="x") == text


@pytest.mark.parametrize("data", [b"%PDF-1.4\n", 9 * b"a" + 2 * b"\0", bytes(range(256))])
def test_a_binary_file_is_refused_even_if_bytes_can_be_replaced(data: bytes) -> None:
    with pytest.raises(CharlmError, match=r"^x: (a PDF|more than 10% is not valid utf-8, so)"):
        decode(data, CorpusConfig(errors="replace"), name="x")


def test_an_old_word_document_is_no_utf_16() -> None:
    with pytest.raises(CharlmError, match=r"^x: an old Word or Excel document"):
        decoded(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "UTF-16LE")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_byte_order_mark_of_utf_16_is_heeded(encoding: str) -> None:
    assert decoded("\ufeff\ufffdé".encode(encoding)) == "\ufffdé"


@pytest.mark.parametrize("encoding", ["UTF-8", "utf8", "U8"])
def test_an_encoding_can_have_any_of_its_names(encoding: str) -> None:
    assert decoded(b"\xff\xfea\0", encoding) == "a"
    with pytest.raises(CharlmError, match="zero bytes"):
        decoded(b"a\0", encoding)


@pytest.mark.parametrize(
    "text",
    ["e" + 1999 * "\u0301", "a" + 2000 * "\u0301"],
    ids=["composed to a single letter", "decomposed"],
)
def test_many_combining_marks_are_refused(text: str) -> None:
    message = "^x: more than 1,000 combining marks in a row; remove some of them"
    with pytest.raises(CharlmError, match=message):
        decoded(text.encode())


def test_a_thousand_combining_marks_are_allowed() -> None:
    assert len(decoded(("e" + 1000 * "\u0301").encode())) == 1000


@pytest.mark.parametrize(
    "encoding", ["utf-9", "", "rot13", "idna", "unicode_escape", "utf-7", "a\0"], ids=ascii
)
def test_an_encoding_that_text_files_do_not_have_is_refused(encoding: str) -> None:
    with pytest.raises(CharlmError, match=r"^corpus\.encoding: found .*utf-8"):
        check_encoding(CorpusConfig(encoding=encoding).encoding)


# The name of a text


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["my text.txt"], "my-text"),
        (["books/v1.2"], "v1.2"),
        (["-"], "stdin"),
        (["books/a.txt", "books/sub/b.txt"], "books"),
        (["a.txt", "b.txt"], "a"),
        (["/a.txt", "b.txt"], "a"),
        ([], "text"),
        (["../x/.-a (2).txt"], "a-2"),
        (["é" + "x" * 99], "é" + "x" * 49),
        (["o\u0308de\udcff\n<b>"], "öde-b"),
        (["."], "letters.d"),
    ],
    ids=ascii,
)
def test_a_text_has_a_name_that_is_a_valid_folder_name(
    sources: list[str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("letters.d/books/v1.2").mkdir(parents=True)
    monkeypatch.chdir("letters.d")
    assert name_text(sources) == name
