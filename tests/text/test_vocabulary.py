"""Characters <-> ids, and a vocabulary in JSON."""

import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.text.documents import decode
from charlm.text.vocabulary import Vocabulary, describe_left_out, vocabulary_of

ABC = Vocabulary(("a", "b", "c"))
RESERVED = Vocabulary(("a", "b", None, None), unknown_id=2, end_of_text_id=3)

characters = st.characters(exclude_categories=["Cs"])


@given(st.text(characters, min_size=1))
def test_an_encoded_text_is_decoded_to_its_normal_form(text: str) -> None:
    normal = unicodedata.normalize("NFC", text)
    vocabulary = Vocabulary(tuple(sorted(set(normal))))
    assert vocabulary.decode(vocabulary.encode(text)) == normal


def test_ids_have_the_smallest_dtype() -> None:
    sizes = {256: "u1", 257: "u2", 65536: "u2", 65537: "i4"}
    assert [Vocabulary((None,) * size).dtype for size in sizes] == [*sizes.values()]


def test_an_unknown_character_becomes_the_unknown_id_or_is_left_out_and_counted() -> None:
    assert RESERVED.encode("axb").tolist() == [0, 2, 1]
    assert ABC.encode("aéb\udce9").tolist() == [0, 1]
    assert ABC.left_out("axbxe\u0301") == {"x": 2, "é": 1}
    assert RESERVED.left_out("axb") == {}
    ids = np.array([0, 3, 2, 1])
    assert (RESERVED.decode(ids), RESERVED.spell(ids, end="|")) == ("a\ufffdb", "a|\ufffdb")
    assert RESERVED.names == ("a", "b", "<|unknown|>", "<|endoftext|>")


@pytest.mark.parametrize("read", [ABC.encode, ABC.left_out], ids=["encode", "left out"])
def test_a_long_row_of_combining_marks_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(
        CharlmError, match=r"^text: more than 4,000 combining marks in a row; remove some of them$"
    ):
        read("a" + 4000 * "\u0301\u0316")


@pytest.mark.parametrize("mark", ["\u0316", "\u0344"], ids=["one mark", "two marks in NFC"])
def test_a_document_with_as_many_combining_marks_as_are_allowed_can_be_encoded(mark: str) -> None:
    text = decode(("a" + 1998 * mark).encode(), encoding="utf-8", name="x")
    assert len(RESERVED.encode(text)) == len(text)


def test_what_is_left_out_is_named_with_how_often_the_commonest_first() -> None:
    line = describe_left_out({"\n": 1, "é": 2000, **dict.fromkeys("0123456789", 3)}, "book.txt")
    assert line.startswith(
        "left out of book.txt because the model does not know them: 'é' (U+00E9) 2,000 times, '0'"
    )
    assert line.endswith("'8' (U+0038) 3 times and 2 more")
    assert "U+000A 1 time" in describe_left_out({"\n": 1}, "x")


def test_a_vocabulary_with_a_wrong_field_is_refused() -> None:
    for change, reason in (
        ({"characters": []}, "0 characters"),
        ({"characters": 3}, "not iterable"),
        ({"unknown_id": "2"}, "unknown_id"),
        ({"characters": ["a", "bc"]}, "not one character"),
        ({"characters": ["a", "a"]}, "occurs twice"),
        ({"characters": ["a", "\ud800"]}, "not one character"),
        ({"unknown_id": 0}, "must be the ids that are null"),
        (
            {"characters": ["a", None], "unknown_id": 1, "end_of_text_id": 1},
            "unknown_id and end_of_text_id are both 1",
        ),
    ):
        fields = ABC.to_fields() | change
        with pytest.raises(CharlmError, match=f"^x: not a vocabulary: .*{reason}"):
            vocabulary_of(fields, origin="x")


def test_further_ids_come_after_those_that_there_are_with_reserved_ones_if_they_are_missing() -> (
    None
):
    extended = RESERVED.extend("bcd", unknown=True, end_of_text=True)
    assert extended == Vocabulary(("a", "b", None, None, "c", "d"), unknown_id=2, end_of_text_id=3)
    assert ABC.extend("d", unknown=False, end_of_text=True) == Vocabulary(
        ("a", "b", "c", "d", None), end_of_text_id=4
    )
    assert ABC.extend("", unknown=True, end_of_text=True) == Vocabulary(
        ("a", "b", "c", None, None), 3, 4
    )
