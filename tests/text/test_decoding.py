"""The bytes of a document -> text in pieces, decoded and normalised."""

import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.text.decoding import Form, check_encoding, decode, normalize

SEEDED = settings(derandomize=True, deadline=None, max_examples=200)

any_character = st.characters(exclude_categories=["Cs"])
# marks, jamo and half-width marks, which combine with the character before them, and letters that they combine with
joining = st.sampled_from("aoe\u0300\u0323\u0301\u0344\u1100\u1161\u11a8가각ㅏ\uffa1\uffc2カ\uff9e\u09c7\u09beﬁ")


def decode_in_blocks(data: bytes, *, encoding: str = "utf-8", size: int = 3) -> str:
    blocks = [data[start : start + size] for start in range(0, len(data), size)]
    return "".join(decode(blocks, encoding=encoding, name="x"))


# Decoding


@SEEDED
@given(
    st.text(any_character),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-be", "gb18030"]),
    st.integers(1, 9),
)
def test_decoding_in_blocks_gives_the_same_text_as_decoding_at_once(text: str, encoding: str, size: int) -> None:
    expected = text.removeprefix("\ufeff")
    assert decode_in_blocks(text.encode(encoding), encoding=encoding, size=size) == expected


def test_a_byte_order_mark_is_dropped_at_the_start_only() -> None:
    assert decode_in_blocks("\ufeffa\ufeffb".encode(), size=1) == "a\ufeffb"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_an_invalid_byte_is_named_with_its_offset_and_other_settings(size: int) -> None:
    message = (
        "x: not valid utf-8 at byte 13 (0xE9); if the text is in another encoding, try "
        "-s corpus.encoding=cp1252 or latin-1; for data that is not text, -s corpus.level=byte"
    )
    with pytest.raises(CharlmError, match=f"^{re.escape(message)}$"):
        decode_in_blocks("\ufeff中文ab c".encode() + b"\xe9 and more", size=size)


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
@SEEDED
@given(st.lists(st.text(joining | any_character, min_size=1, max_size=6)))
def test_normalising_in_pieces_gives_the_same_text_as_normalising_the_whole(form: Form, pieces: Sequence[str]) -> None:
    expected = unicodedata.normalize(form, "".join(pieces))
    assert "".join(normalize(pieces, form=form)) == expected
