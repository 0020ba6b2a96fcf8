"""The ids of characters, and the fields of a vocabulary."""

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config.schema import CorpusConfig
from charlm.core.vocabulary import Vocabulary, describe_left_out, vocabulary_of
from charlm.errors import CharlmError
from charlm.text.documents import decode

ABC = Vocabulary(("a", "b", "c"))
RESERVED = Vocabulary(("a", "b", None, None), unknown_id=2, end_of_text_id=3)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_an_encoded_text_is_decoded_to_its_normal_form(text: str) -> None:
    normal = unicodedata.normalize("NFC", text)
    vocabulary = Vocabulary(tuple(sorted(set(normal))))
    assert vocabulary.decode(vocabulary.encode(text)) == normal


@pytest.mark.parametrize(
    ("size", "dtype"), [(256, "u1"), (257, "u2"), (65536, "u2"), (65537, "i4")]
)
def test_ids_have_the_smallest_dtype(size: int, dtype: str) -> None:
    assert Vocabulary((None,) * size).dtype == dtype


# Unknown characters


def test_an_unknown_character_becomes_the_unknown_id() -> None:
    ids, left_out = RESERVED.read("axb")
    assert (ids.tolist(), left_out) == ([0, 2, 1], {})


def test_without_an_unknown_id_an_unknown_character_is_left_out() -> None:
    assert ABC.encode("aéb\udce9\U0010ffff").tolist() == [0, 1]


def test_characters_that_are_left_out_are_counted() -> None:
    assert ABC.read("axbxe\u0301")[1] == {"x": 2, "é": 1}


def test_many_combining_marks_in_a_row_are_refused() -> None:
    message = r"^text: more than 4,000 combining marks in a row; remove some of them$"
    with pytest.raises(CharlmError, match=message):
        ABC.encode("a" + 4000 * "\u0301\u0316")


@pytest.mark.parametrize("mark", ["\u0316", "\u0344"], ids=["one mark", "two marks in NFC"])
def test_a_document_with_as_many_combining_marks_as_are_allowed_can_be_encoded(mark: str) -> None:
    text = decode(("a" + 1998 * mark).encode(), CorpusConfig(), name="x")
    assert len(RESERVED.encode(text)) == len(text)


def test_the_ten_most_frequent_characters_are_described() -> None:
    digits = dict.fromkeys("0123456789", 3)
    description = describe_left_out({"\n": 1, "é": 2000, **digits}, "book.txt")
    assert description.startswith(
        "left out of book.txt because the model does not know them: 'é' (U+00E9) 2,000 times, '0'"
    )
    assert description.endswith("'8' (U+0038) 3 times and 2 more")


def test_a_character_that_occurs_once_is_described() -> None:
    assert "U+000A 1 time" in describe_left_out({"\n": 1}, "x")


# Reserved ids


def test_reserved_ids_are_decoded() -> None:
    assert RESERVED.decode(np.array([0, 3, 2, 1])) == "a\ufffdb"


def test_a_list_of_ids_is_decoded() -> None:
    assert (ABC.decode([2, 0]), ABC.decode([])) == ("ca", "")


@pytest.mark.parametrize("ids", [[-1], [0, 3]], ids=str)
def test_ids_out_of_range_are_not_decoded(ids: list[int]) -> None:
    with pytest.raises(CharlmError, match=r"^ids: must be whole numbers from 0 to 2$"):
        ABC.decode(ids)


def test_the_end_of_text_can_be_spelled() -> None:
    assert RESERVED.spell(np.array([0, 3, 2, 1]), end="|") == "a|\ufffdb"


def test_reserved_ids_have_names() -> None:
    assert RESERVED.names == ("a", "b", "<|unknown|>", "<|endoftext|>")


# Fields


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"characters": []}, "0 characters"),
        ({"unknown_id": "2"}, "unknown_id"),
        ({"characters": ["a", "bc"]}, "not a single character"),
        ({"characters": ["a", "a"]}, "occurs twice"),
        ({"characters": ["a", "\ud800"]}, "not a single character"),
        ({"unknown_id": 0}, "must be the ids whose entry"),
        (
            {"characters": ["a", None], "unknown_id": 1, "end_of_text_id": 1},
            "unknown_id and end_of_text_id are both 1",
        ),
    ],
    ids=ascii,
)
def test_a_vocabulary_with_a_wrong_field_is_refused(change: dict[str, Any], reason: str) -> None:
    fields = ABC.to_fields() | change
    with pytest.raises(CharlmError, match=f"^x: not a vocabulary: .*{reason}"):
        vocabulary_of(fields, origin="x")


# More characters


@pytest.mark.parametrize(
    ("vocabulary", "characters", "unknown", "end_of_text", "expected"),
    [
        pytest.param(
            RESERVED,
            "bcd",
            True,
            True,
            Vocabulary(("a", "b", None, None, "c", "d"), unknown_id=2, end_of_text_id=3),
            id="it has reserved ids",
        ),
        pytest.param(
            ABC,
            "d",
            False,
            True,
            Vocabulary(("a", "b", "c", "d", None), end_of_text_id=4),
            id="a character, an end of text",
        ),
    ],
)
def test_new_ids_follow_the_existing_ids(
    vocabulary: Vocabulary, characters: str, unknown: bool, end_of_text: bool, expected: Vocabulary
) -> None:
    extended = vocabulary.extend(characters, unknown=unknown, end_of_text=end_of_text)
    assert extended == expected
