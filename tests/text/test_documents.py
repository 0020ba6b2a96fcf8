"""Sources named by the user -> documents -> text."""

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

from charlm.errors import CharlmError, escape_controls
from charlm.text import documents
from charlm.text.documents import Document, check_encoding, decode, find_documents, name_text


def find(*sources: str | Path) -> list[str]:
    """Return the last part of the name of each document that these sources name."""
    return [Path(document.name).name for document in find_documents([str(source) for source in sources])[0]]


# Finding


def test_a_folder_is_walked_in_sorted_order_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    own = ("runs/one/metrics.jsonl", "runs/one/config.yaml", "saved/corpus.json")
    for name in ("b.txt", "a/2.txt", "a/10.txt", "c/d/e.txt", ".hidden", ".git/config", "c/__pycache__/x.pyc", *own):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "c/up").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert find(tmp_path, tmp_path) == find(tmp_path) == ["10.txt", "2.txt", "b.txt", "e.txt"]  # once
    left_out = {Path(name).name: reason for name, reason in find_documents([str(tmp_path)])[1].items()}
    ours = dict.fromkeys(("one", "saved"), "a run or a corpus of charlm")
    assert left_out == {"up": "a link to a folder", "pipe": "not a regular file", **ours}


def test_a_source_that_is_missing_or_a_fifo_is_named_and_a_name_that_is_not_utf_8_shown_with_escapes() -> None:
    for source in ("none.txt", "", "none\0.txt", "none*.txt"):
        with pytest.raises(CharlmError, match=f"^{re.escape(f'{escape_controls(source)}: no such file or folder')}$"):
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
    whole = gzip.compress(b"text" * 1000)  # cut short, with a wrong checksum, or with damaged contents
    for data in (b"no gzip at all", whole[:-20], whole[:-8] + bytes(8), whole[:10] + b"\xff" * 20):
        path.write_bytes(data)
        with pytest.raises(CharlmError, match=r"^a\.GZ: not a complete gzip file: .+$"):
            Document("a.GZ", path).read()
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    assert Document("a.GZ", path).read() == b"onetwo"
    monkeypatch.setattr(documents, "memory_bytes", lambda: 16_000)
    path.write_bytes(gzip.compress(bytes(1000)))
    assert len(Document("a.GZ", path).read()) == 1000
    path.write_bytes(gzip.compress(bytes(1001)))
    with pytest.raises(CharlmError, match=r"^a\.GZ: more than 1,000 bytes, a sixteenth of the memory; cut it into"):
        Document("a.GZ", path).read()


# Decoding


@given(st.text(), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]))
def test_a_text_is_decoded_without_its_byte_order_mark_and_in_normal_form(text: str, encoding: str) -> None:
    data = f"\ufeffe\u0301{text}".encode(encoding)
    assert decode(data, encoding=encoding, name="x") == decode(f"é{text}".encode(encoding), encoding=encoding, name="x")


def test_an_invalid_byte_is_named_with_its_offset_and_what_would_do() -> None:
    for encoding, data, message in (
        (
            "utf-8",
            "\ufeff中文ab c".encode() + b"\xe9 and more",
            "x: not valid utf-8 at byte 13 (0xE9); name its encoding, ",
        ),
        ("utf-8", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "x: not valid utf-8 at byte 10 (0xE2); it is a PDF: extract its"),
        ("utf-16", b"\xff\xfea\x00\x00\xdcb\x00", "x: not valid utf-16 at byte 4 "),
        ("utf-8", ("e" + 1999 * "\u0301").encode(), "x: more than 1,000 combining marks in a row; leave some out"),
        ("cp1252", b"abc\x81", "x: not valid cp1252 at byte 3 (0x81); name its encoding, "),
        ("gb18030", "中文".encode("gb18030") + b"\xff", "x: not valid gb18030 at byte 4 "),
        ("utf-8", ("a" + 2000 * "\u0301").encode(), "x: more than 1,000 combining marks in a row; leave some out"),
    ):
        with pytest.raises(CharlmError, match=f"^{re.escape(message)}"):
            decode(data, encoding=encoding, name="x")
    assert len(decode(("e" + 1000 * "\u0301").encode(), encoding="utf-8", name="x")) == 1000


def test_an_encoding_that_is_unknown_or_not_one_of_text_files_is_refused_and_marks_are_kept() -> None:
    for encoding in ("utf-9", "", "rot13", "idna", "unicode_escape", "utf-7", "a\0"):
        with pytest.raises(CharlmError, match=r"^corpus\.encoding: found .*utf-8"):
            check_encoding(encoding)
    marks = "a" + 999 * "\u0302"
    assert decode(marks.encode(), encoding="utf-8", name="x") == "\u00e2" + marks[2:]


# The name of a text


def test_a_text_has_a_name_that_fits_into_the_name_of_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("letters.d/books/v1.2").mkdir(parents=True)
    monkeypatch.chdir("letters.d")
    for sources, name in (
        *((["my text.txt"], "my-text"), (["data/corpus.txt.gz"], "corpus"), (["books/v1.2"], "v1.2"), (["-"], "stdin")),
        *((["books"], "books"), (["books/a.txt", "books/sub/b.txt"], "books"), (["a.txt", "b.txt"], "a")),
        *((["/a.txt", "b.txt"], "a"), (["../a.txt", "../b.txt"], "a"), ([], "text"), (["(?).txt"], "text")),
        *((["../x/.-a (2).txt"], "a-2"), (["Фауст.txt"], "Фауст"), (["é" + "x" * 99], "é" + "x" * 49)),
        *((["o\u0308de\udcff\n<b>"], "öde-b"), (["."], "letters.d")),
    ):
        assert name_text(sources) == name
