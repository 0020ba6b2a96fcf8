"""Sources -> documents -> pieces of text."""

import gzip
import io
import os
import random
import re
import socket
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.documents import (
    LONGEST_RUN,
    Document,
    Form,
    check_encoding,
    decode,
    find_documents,
    normalize,
)
from charlm.errors import CharlmError, harmless

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)

any_character = st.characters(exclude_categories=["Cs"])
# marks, jamo and half-width marks, which join what stands before them, and letters they join
joining = st.sampled_from("aoe\u0300\u0323\u0301\u0344\u1100\u1161\u11a8가각ㅏ\uffa1\uffc2カ\uff9e\u09c7\u09beﬁ")


def find(*sources: str | Path) -> list[str]:
    documents = find_documents([str(source) for source in sources], spool=Path("not needed"))
    return [Path(document.name).name for document in documents]


def read(path: Path) -> bytes:
    return b"".join(Document(path.name, path).read(advance=lambda _: None))


def decode_in_pieces(data: bytes, *, encoding: str = "utf-8", size: int = 3) -> str:
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    return "".join(decode(blocks, encoding=encoding, name="x"))


# Finding


def test_a_folder_is_walked_in_sorted_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt", "c/d/e.txt", ".hidden", ".git/config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find(tmp_path) == ["10.txt", "2.txt", "b.txt", "e.txt"]


def test_sources_keep_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    assert find(tmp_path / "b", tmp_path / "a") == ["b", "a"]


def test_the_same_file_is_found_once(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    (tmp_path / "link.txt").symlink_to(file)
    assert find(file, tmp_path, file, tmp_path / "*.txt") == ["a.txt"]


def test_links_that_run_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    (tmp_path / "inner" / "again").symlink_to(tmp_path)
    assert find(tmp_path) == ["a.txt"]
    assert find(f"{tmp_path}/**/*.txt") == ["a.txt"]


def test_a_hidden_file_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / ".a").touch()
    assert find(tmp_path / ".a") == [".a"]


def test_a_pattern_finds_what_matches_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "a.md", ".c.txt"):
        (tmp_path / name).touch()
    assert find(f"{tmp_path}/*.txt") == ["a.txt", "b.txt"]


def test_two_stars_are_any_depth(tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "deep.txt").touch()
    (tmp_path / "top.txt").touch()
    assert find(f"{tmp_path}/**/*.txt") == ["top.txt", "deep.txt"]


def test_a_pattern_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert find("../*.txt") == ["a.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").touch()
    assert find(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_a_name_that_is_not_utf8_is_shown_escaped(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    assert find(tmp_path) == ["caf\\xe9"]


@pytest.mark.parametrize("source", ["none.txt", "", "none\0.txt"])
def test_a_missing_file_is_named(source: str) -> None:
    with pytest.raises(CharlmError, match=f"^{re.escape(harmless(source))}: no such file or folder$"):
        find(source)


@pytest.mark.parametrize("source", ["none*.txt", "none/[a"])
def test_a_pattern_without_matches_is_named(source: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="no file or folder matches this pattern"):
        find(tmp_path / source)


def test_a_dangling_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with pytest.raises(CharlmError, match="link: cannot be read: No such file"):
        find(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CharlmError, match="fifo: is not a regular file; use - for standard input"):
        find(tmp_path / "fifo")


def test_a_pipe_given_as_a_path_is_refused() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(CharlmError, match="is not a regular file; use - for standard input"):
            find(f"/dev/fd/{reader}")
    finally:
        os.close(reader)
        os.close(writer)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is limited to about 100 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(CharlmError, match=r"^socket: is not a regular file"):
            find("socket")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_a_device_is_refused() -> None:
    with pytest.raises(CharlmError, match="/dev/zero: is not a regular file"):
        find("/dev/zero")


def test_standard_input_is_copied_to_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1f\x8b not gzip")))
    [document] = find_documents(["-", "-"], spool=tmp_path / "spool")
    assert (document.name, read(document.path)) == ("-", b"\x1f\x8b not gzip")


def test_a_closed_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CharlmError, match=r"^-: standard input is closed"):
        find("-")


# Reading


def test_a_gz_file_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    assert read(path) == b"onetwo"


def test_progress_adds_up_to_the_size_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(random.Random(0).randbytes(3_000_000)))
    steps: list[int] = []
    blocks = list(Document("a", path).read(advance=steps.append))
    assert len(blocks) == len(steps) == 3
    assert sum(steps) == path.stat().st_size


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip at all",
        gzip.compress(b"text" * 1000)[:-20],
        gzip.compress(b"text")[:-8] + bytes(8),
        gzip.compress(b"text")[:10] + b"\xff" * 20,
    ],
    ids=["other data", "cut short", "wrong checksum", "broken inside"],
)
def test_a_corrupt_gz_file_is_one_clear_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    with pytest.raises(CharlmError, match=r"^a\.gz: not a whole gzip file: .+$"):
        read(path)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^gone: cannot be read: No such file"):
        read(tmp_path / "gone")


# Decoding


@SEEDED
@given(
    st.text(any_character),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]),
    st.integers(1, 9),
)
def test_decoding_in_blocks_is_decoding_at_once(text: str, encoding: str, size: int) -> None:
    expected = text.removeprefix("\ufeff")
    assert decode_in_pieces(text.encode(encoding), encoding=encoding, size=size) == expected


@pytest.mark.parametrize(
    "text", ["中文字符", "e\u0301👩🏽\u200d💻🇨🇭", "one\r\ntwo\rthree\n", "a\x00b\x00", "\u2028\x85"]
)
def test_text_is_left_as_it_is(text: str) -> None:
    assert decode_in_pieces(text.encode()) == text


def test_a_byte_order_mark_is_dropped_at_the_start_alone() -> None:
    assert decode_in_pieces("\ufeffa\ufeffb".encode(), size=1) == "a\ufeffb"


def test_a_byte_order_mark_alone_is_an_empty_text() -> None:
    assert decode_in_pieces(b"\xef\xbb\xbf") == ""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf16_with_a_byte_order_mark_is_read(encoding: str) -> None:
    assert decode_in_pieces(b"\xff\xfe" + "h中😀".encode("utf-16-le"), encoding=encoding) == "h中😀"


def test_latin1_is_read() -> None:
    assert decode_in_pieces(b"caf\xe9", encoding="latin-1") == "café"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_an_invalid_byte_is_named_with_its_offset_and_what_would_do(size: int) -> None:
    message = (
        "x: not valid utf-8 at byte 13 (0xE9); if the text is in another encoding, try "
        "-s corpus.encoding=cp1252 or latin-1; for data that is not text, -s corpus.level=byte"
    )
    with pytest.raises(CharlmError, match=f"^{re.escape(message)}$"):
        decode_in_pieces("\ufeff中文ab c".encode() + b"\xe9 and more", size=size)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_character_cut_off_at_the_end_is_named_with_its_offset(size: int) -> None:
    with pytest.raises(CharlmError, match=r"not valid utf-8 at byte 2 \(0xE4\)"):
        decode_in_pieces(b"ab" + "中".encode()[:2], size=size)


@pytest.mark.parametrize(
    ("encoding", "data", "offset"),
    [
        ("utf-16", b"\xff\xfea\x00\x00\xdcb\x00", 4),
        ("cp1252", b"abc\x81", 3),
        ("gb18030", "中文".encode("gb18030") + b"\xff", 4),
        ("ascii", b"a\x80", 1),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 50])
def test_the_offset_is_right_in_other_encodings(encoding: str, data: bytes, offset: int, size: int) -> None:
    with pytest.raises(CharlmError, match=rf"not valid {encoding} at byte {offset} "):
        decode_in_pieces(data, encoding=encoding, size=size)


@pytest.mark.parametrize(
    ("encoding", "data", "others"),
    [
        ("utf-8", "hé".encode("utf-16"), "utf-16 or utf-16-le or utf-16-be"),
        ("utf-8", "hé".encode("utf-32"), "utf-32 or utf-32-le or utf-32-be"),
        ("utf-8", "hello, é".encode("utf-16-le"), "utf-16-le or utf-16-be"),
        ("utf-8", "hello, é".encode("utf-16-be"), "utf-16-be or utf-16-le"),
        ("utf-16", "hello".encode("utf-16-le"), "utf-16-le or utf-16-be"),
        ("cp1252", b"\x81", "utf-8 or latin-1"),
        ("utf-8", bytes(100) + b"\xff", "cp1252 or latin-1"),
    ],
)
def test_the_encodings_to_try_are_sensible(encoding: str, data: bytes, others: str) -> None:
    with pytest.raises(CharlmError, match=f"corpus.encoding={others}; for data that is not text"):
        decode_in_pieces(data, encoding=encoding, size=1000)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "latin-1", "cp1252", "utf-16", "gb18030", "shift_jis"])
def test_an_encoding_of_text_files_is_accepted(encoding: str) -> None:
    check_encoding(encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-9", "", "rot13", "base64", "zip", "idna", "undefined", "unicode_escape", "utf-7", "a\0"]
)
def test_an_encoding_that_is_unknown_or_no_text_is_refused(encoding: str) -> None:
    with pytest.raises(CharlmError, match=r"^corpus\.encoding: found .*utf-8"):
        check_encoding(encoding)


# Normalising


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
@SEEDED
@given(st.lists(st.text(joining | any_character, min_size=1, max_size=6)))
def test_normalising_in_pieces_is_normalising_the_whole(form: Form, pieces: Sequence[str]) -> None:
    expected = unicodedata.normalize(form, "".join(pieces))
    assert "".join(normalize(pieces, form=form, name="x")) == expected


@pytest.mark.parametrize("form", ["NFC", "NFKC"])
def test_normalising_one_character_at_a_time_is_normalising_the_whole(form: Form) -> None:
    composed = [c for c in map(chr, range(0x110000)) if unicodedata.decomposition(c)]
    parts = [unicodedata.normalize(other, c) for c in [*composed, "가각힣"] for other in ("NFD", "NFKD", "NFC")]
    whole = "".join(parts)
    assert "".join(normalize(whole, form=form, name="x")) == unicodedata.normalize(form, whole)


def test_text_is_passed_on_up_to_the_last_safe_cut() -> None:
    pieces = normalize(iter(["abc", "\u0301d"]), form="NFC", name="x")
    assert list(pieces) == ["ab", "ć", "d"]


def test_the_longest_run_of_marks_that_is_taken_is_composed() -> None:
    run = "e" + "\u0301" * LONGEST_RUN
    assert "".join(normalize([run[:9], run[9:]], form="NFC", name="x")) == "é" + "\u0301" * (LONGEST_RUN - 1)


@pytest.mark.parametrize("size", [100, 10**6], ids=["in pieces", "at once"])
def test_a_longer_run_of_marks_is_refused(size: int) -> None:
    run = "e" + "\u0301" * (LONGEST_RUN + 1)
    pieces = [run[start : start + size] for start in range(0, len(run), size)]
    with pytest.raises(CharlmError, match=r"^x: more than 4,096 combining .*normalize=none"):
        list(normalize(pieces, form="NFC", name="x"))
