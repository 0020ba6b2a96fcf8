"""Characters <-> ids, and vocabulary.json."""

import json
import os
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.errors import CharlmError
from charlm.text.vocabulary import Vocabulary, parse_vocabulary

ABC = Vocabulary(level="char", characters=("a", "b", "c"))
RESERVED = Vocabulary(level="char", characters=("a", "b", None, None), unknown_id=2, end_of_text_id=3)
BYTES = Vocabulary(level="byte", characters=tuple(chr(value) for value in range(256)))

characters = st.characters(exclude_categories=["Cs"])


@given(st.text(characters, min_size=1))
def test_an_encoded_text_is_decoded_to_the_same_text(text: str) -> None:
    vocabulary = Vocabulary(level="char", characters=tuple(sorted(set(text))))
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(st.binary())
def test_at_level_byte_the_ids_of_an_argument_are_its_bytes_even_if_they_are_not_utf_8(argument: bytes) -> None:
    assert BYTES.encode(os.fsdecode(argument)).tolist() == [*argument]


def test_an_unknown_character_is_named_with_its_position() -> None:
    with pytest.raises(CharlmError, match=r"character 3 of the text, 'é' \(U\+00E9\).*--unknown skip"):
        ABC.encode("abé")


def test_an_unknown_character_becomes_the_unknown_id_or_is_left_out_and_counted() -> None:
    assert RESERVED.encode("axb").tolist() == [0, 2, 1]
    assert ABC.encode("aéb", unknown="skip").tolist() == [0, 1]
    assert [vocabulary.count_skipped("axbx€") for vocabulary in (ABC, RESERVED, BYTES)] == [3, 0, 0]


def test_decoding_piece_by_piece_gives_the_same_text_as_decoding_at_once() -> None:
    ids = np.frombuffer(random.Random(0).randbytes(2000), np.uint8)
    decoder = BYTES.decoder()
    pieces = [decoder.decode(part) for part in np.array_split(ids, 300)]
    assert "".join(pieces) + decoder.decode(ids[:0], final=True) == ids.tobytes().decode("utf-8", "replace")


@given(st.sets(characters, min_size=1, max_size=20))
def test_a_vocabulary_reads_back_from_json(found: set[str]) -> None:
    size = len(found)
    vocabulary = Vocabulary("char", (*sorted(found), None, None), unknown_id=size, end_of_text_id=size + 1)
    assert parse_vocabulary(vocabulary.to_json(), origin="x") == vocabulary


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 2; this version of charlm reads format 1"),
        *(
            ({"level": "word"}, "level 'word'"),
            ({"characters": []}, "0 characters"),
            ({"characters": 3}, "not iterable"),
            ({"unknown_id": "2"}, "unknown_id"),
        ),
        *(({"characters": ["a", "bc"]}, "not one character"), ({"characters": ["a", "a"]}, "occurs twice")),
        ({"characters": ["a", "\ud800"]}, "not one character"),
        ({"format": "x" * 10_000}, r"format 'x+\.\.\.x+'; this"),
        ({"unknown_id": 0}, "must be the ids that are null"),
        ({"characters": ["a", None], "unknown_id": 1, "end_of_text_id": 1}, "unknown_id and end_of_text_id are both 1"),
        ({"level": "byte"}, r"U\+0000 to U\+00FF"),
        ({"level": "byte", "characters": [*BYTES.characters, None], "unknown_id": 256}, "and no unknown_id"),
    ],
)
def test_a_vocabulary_with_a_wrong_field_is_refused(change: dict[str, object], reason: str) -> None:
    fields = json.loads(ABC.to_json()) | change
    with pytest.raises(CharlmError, match=f"^x: not a vocabulary: .*{reason}"):
        parse_vocabulary(json.dumps(fields), origin="x")


# extend


def test_further_ids_come_after_those_that_there_are() -> None:
    extended = RESERVED.extend("bcd", unknown=True, end_of_text=True)
    assert extended.characters == ("a", "b", None, None, "c", "d")
    assert (extended.unknown_id, extended.end_of_text_id) == (2, 3)


def test_reserved_ids_are_added_if_they_are_needed_and_missing() -> None:
    assert ABC.extend("d", unknown=False, end_of_text=True) == Vocabulary(
        "char", ("a", "b", "c", "d", None), end_of_text_id=4
    )
    both = ABC.extend("", unknown=True, end_of_text=True)
    assert (both.unknown_id, both.end_of_text_id, len(both)) == (3, 4, 5)
