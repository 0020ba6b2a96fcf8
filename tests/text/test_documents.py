"""Sources named by the user -> documents -> blocks of bytes -> text in pieces."""

import gzip
import io
import os
import random
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CharlmError, escape_controls
from charlm.text.documents import (
    Document,
    Form,
    check_encoding,
    decode,
    find_documents,
    normalize,
    order_marks,
    starts_anew,
)


def find(*sources: str | Path) -> list[str]:
    """Return the last part of the name of each document that these sources name."""
    documents = find_documents([str(source) for source in sources], spool=Path("not needed"))
    return [Path(document.name).name for document in documents]


def read(path: Path, *, block_bytes: int = 1000) -> bytes:
    return b"".join(Document(path.name, path).read(block_bytes=block_bytes))


# Finding


def test_a_folder_is_walked_in_sorted_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt", "c/d/e.txt", ".hidden", ".git/config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find(tmp_path) == ["10.txt", "2.txt", "b.txt", "e.txt"]


def test_what_matches_a_pattern_is_sorted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.txt", "c.txt"):
        (tmp_path / name).touch()
    matches = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: sorted(matches(path, pattern), reverse=True))
    assert find(tmp_path / "*.txt") == ["a.txt", "b.txt", "c.txt"]


def test_a_file_named_several_times_is_found_once(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    (tmp_path / "link.txt").symlink_to(file)
    assert find(file, tmp_path, file, tmp_path / "*.txt") == ["a.txt"]


def test_links_that_form_a_circle_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    assert find(tmp_path) == ["a.txt"]
    assert find(f"{tmp_path}/**/*.txt") == ["a.txt"]


def test_a_name_that_is_not_utf_8_is_shown_with_escapes(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    assert find(tmp_path) == ["caf\\xe9"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        *((missing, "no such file or folder") for missing in ("none.txt", "", "none\0.txt")),
        *((pattern, "no file or folder matches this pattern") for pattern in ("none*.txt", "none/[a")),
    ],
)
def test_a_missing_source_is_named(source: str, reason: str) -> None:
    with pytest.raises(CharlmError, match=f"^{re.escape(f'{escape_controls(source)}: {reason}')}$"):
        find(source)


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CharlmError, match="fifo: is not a regular file; use - for standard input"):
        find(tmp_path / "fifo")


def test_standard_input_is_copied_to_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1f\x8b not gzip")))
    [document] = find_documents(["-", "-"], spool=tmp_path / "spool")
    assert (document.name, read(document.path)) == ("-", b"\x1f\x8b not gzip")


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CharlmError, match=r"^-: standard input is closed"):
        find("-")


# Reading


def test_a_gz_file_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    assert read(path) == b"onetwo"


def test_progress_adds_up_to_the_size_of_the_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(random.Random(0).randbytes(3_000_000)))
    steps: list[int] = []
    blocks = list(Document("a", path).read(advance=steps.append, block_bytes=1_000_000))
    assert [len(block) for block in blocks] == [1_000_000] * 3
    assert len(steps) == 3
    assert sum(steps) == path.stat().st_size


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip at all",
        gzip.compress(b"text" * 1000)[:-20],
        gzip.compress(b"text")[:-8] + bytes(8),
        gzip.compress(b"")[:10] + b"\xff" * 20,
    ],
    ids=["other data", "cut short", "wrong checksum", "wrong data"],
)
def test_a_damaged_gz_file_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    with pytest.raises(CharlmError, match=r"^a\.gz: not a complete gzip file: .+$"):
        read(path)


any_character = st.characters(exclude_categories=["Cs"])
# marks, jamo and half-width marks, which combine with the character before them, and letters that they combine with
joining = st.sampled_from("aoe\u0300\u0323\u0301\u0344\u1100\u1161\u11a8가각ㅏ\uffa1\uffc2カ\uff9e\u09c7\u09beﬁ")


def decode_in_blocks(data: bytes, *, encoding: str = "utf-8", size: int = 3) -> str:
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    return "".join(decode(blocks, encoding=encoding, name="x"))


# Decoding


@given(
    st.text(any_character), st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]), st.integers(1, 9)
)
def test_decoding_in_blocks_gives_the_same_text_as_decoding_at_once(text: str, encoding: str, size: int) -> None:
    expected = text.removeprefix("\ufeff")
    assert decode_in_blocks(text.encode(encoding), encoding=encoding, size=size) == expected


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert decode_in_blocks("\ufeffa\ufeffb".encode(), size=1) == "a\ufeffb"


@pytest.mark.parametrize("size", [1, 7, 100])
def test_an_invalid_byte_is_named_with_its_offset_and_other_settings(size: int) -> None:
    message = (
        "x: not valid utf-8 at byte 13 (0xE9); if the text is in another encoding, try "
        "-s corpus.encoding=cp1252 or latin-1; for data that is not text, -s corpus.level=byte"
    )
    with pytest.raises(CharlmError, match=f"^{re.escape(message)}$"):
        decode_in_blocks("\ufeff中文ab c".encode() + b"\xe9 and more", size=size)


def test_a_pdf_is_named() -> None:
    with pytest.raises(CharlmError, match=r"^x: not valid utf-8 .*; it is a PDF: extract its text first, for instance"):
        decode_in_blocks(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", size=100)


@pytest.mark.parametrize(
    ("encoding", "data", "offset"),
    [
        ("utf-16", b"\xff\xfea\x00\x00\xdcb\x00", 4),
        ("cp1252", b"abc\x81", 3),
        ("gb18030", "中文".encode("gb18030") + b"\xff", 4),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 50])
def test_the_offset_is_right_in_other_encodings(encoding: str, data: bytes, offset: int, size: int) -> None:
    with pytest.raises(CharlmError, match=rf"not valid {encoding} at byte {offset} "):
        decode_in_blocks(data, encoding=encoding, size=size)


@pytest.mark.parametrize(
    ("encoding", "data", "others"),
    [
        ("utf-8", "hé".encode("utf-16"), "utf-16 or utf-16-le or utf-16-be"),
        ("utf-8", "hé".encode("utf-32"), "utf-32 or utf-32-le or utf-32-be"),
        ("utf-8", "hello, é".encode("utf-16-be"), "utf-16-be or utf-16-le"),
        ("utf-16", "hello".encode("utf-16-le"), "utf-16-le or utf-16-be"),
        ("cp1252", b"\x81", "utf-8 or latin-1"),
        ("utf-8", bytes(100) + b"\xff", "cp1252 or latin-1"),
    ],
)
def test_the_suggested_encodings_fit_the_first_bytes(encoding: str, data: bytes, others: str) -> None:
    with pytest.raises(CharlmError, match=f"corpus.encoding={others}; for data that is not text"):
        decode_in_blocks(data, encoding=encoding, size=1000)


@pytest.mark.parametrize("encoding", ["utf-9", "", "rot13", "idna", "unicode_escape", "utf-7", "a\0"])
def test_an_encoding_that_is_unknown_or_not_one_of_text_files_is_refused(encoding: str) -> None:
    with pytest.raises(CharlmError, match=r"^corpus\.encoding: found .*utf-8"):
        check_encoding(encoding)


# Normalising


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@given(st.lists(st.text(joining | any_character, min_size=1, max_size=6)))
def test_normalising_in_pieces_gives_the_same_text_as_normalising_the_whole(form: Form, pieces: Sequence[str]) -> None:
    expected = unicodedata.normalize(form, "".join(pieces))
    assert "".join(normalize(pieces, form=form)) == expected


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_a_long_run_of_marks_is_normalised_as_the_definition_says(form: Form) -> None:
    marks = [mark for mark in map(chr, range(0x300, 0x370)) if unicodedata.combining(mark)]
    text = "e" + "".join(random.Random(1).choices(marks, k=999)) + "x\u0301" + "\u0344" * 40
    assert "".join(normalize([text], form=form)) == unicodedata.normalize(form, text)
    assert order_marks("a" + "\u0301\u0316" * 500) == "a" + "\u0316" * 500 + "\u0301" * 500
    assert order_marks("a\u0301\u0316b") == "a\u0301\u0316b"


def test_a_character_that_can_combine_with_one_before_it_does_not_start_anew() -> None:
    decomposed = [unicodedata.decomposition(chr(code_point)).split() for code_point in range(0x20000)]
    seconds = {chr(int(parts[1], 16)) for parts in decomposed if len(parts) == 2 and parts[0][0] != "<"}
    assert len(seconds) > 60
    assert not any(map(starts_anew, seconds))
    assert not any(map(starts_anew, "\u1161\u1175\u11a8\u11c2\uff9e"))
    assert all(map(starts_anew, "a\n漢カ한тéЖא"))
