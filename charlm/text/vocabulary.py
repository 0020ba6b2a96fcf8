"""Characters <-> ids.

Axes: N characters; V size of the vocabulary.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.wording import counted

MAX_CODE_POINT = 0x10FFFF
MAX_NAMED = 10
"""How many characters a message names."""

UNKNOWN, END_OF_TEXT = "<|unknown|>", "<|endoftext|>"
"""What the reserved ids are called where an id has a name."""
UNKNOWN_GLYPH = "\N{REPLACEMENT CHARACTER}"
"""What the unknown id is decoded as."""

Ids = NDArray[np.integer[Any]]


MAX_MARKS = 1000
"""Runs of up to so many combining marks in a document are always accepted, runs of twice as many never."""
MAX_DECODED_MARKS = 4 * MAX_MARKS
"""Limit for a text that is already decoded; NFC can turn one mark into two."""


def has_too_many_marks(text: str, *, most: int = MAX_MARKS) -> bool:
    """Return whether about `most` combining marks follow each other: the time of NFC grows with their square."""
    parts = (text[start : start + most] for start in range(0, len(text), most))
    return any(len(part) == most and all(map(unicodedata.combining, part)) for part in parts)


def normalize(text: str) -> str:
    """Return a text in the normal form NFC; raises CharlmError if too many combining marks follow each other."""
    if has_too_many_marks(text, most=MAX_DECODED_MARKS):
        raise CharlmError(
            f"text: more than {MAX_DECODED_MARKS:,} combining marks in a row; leave some out"
        )
    return unicodedata.normalize("NFC", text)


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, in the order of their ids."""

    characters: tuple[str | None, ...]
    """The character (Unicode code point) of each id, None for a reserved id."""
    unknown_id: int | None = None
    """The reserved id of all characters that are too rare to have their own, or None."""
    end_of_text_id: int | None = None
    """The reserved id between two documents, or None."""

    def __len__(self) -> int:
        return len(self.characters)

    def extend(
        self, characters: Iterable[str], *, unknown: bool, end_of_text: bool
    ) -> "Vocabulary":
        """Return a vocabulary with further ids; those of this one stay as they are.

        Args:
            characters: Get ids in this order; a character that has one keeps it.
            unknown: Whether there is an unknown id, at least.
            end_of_text: Whether there is an end_of_text id, at least.

        """
        known = {*self.characters}
        extended = replace(
            self, characters=(*self.characters, *(c for c in characters if c not in known))
        )
        for name, is_needed in (("unknown_id", unknown), ("end_of_text_id", end_of_text)):
            if is_needed and getattr(self, name) is None:
                extended = replace(
                    extended, characters=(*extended.characters, None), **{name: len(extended)}
                )
        return extended

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8, uint16 and int32 that holds every id."""
        return np.dtype(
            np.uint8 if len(self) <= 1 << 8 else np.uint16 if len(self) <= 1 << 16 else np.int32
        )

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """The id of each code point, int64 [highest code point + 1]; -1 if it has none."""
        known = {ord(c): index for index, c in enumerate(self.characters) if c is not None}
        table = np.full(max(known, default=0) + 1, -1, np.int64)
        table[[*known]] = [*known.values()]
        return table

    def look_up(self, text: str) -> NDArray[np.int64]:
        """Return the id of each character, int64 [N]; -1 if it has none."""
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        known = code_points < len(self.table)
        return np.where(known, self.table[np.where(known, code_points, 0)], -1)

    def left_out(self, text: str) -> Counter[str]:
        """Return which characters of a text `encode` leaves out, and how often each occurs; raises what it raises."""
        if self.unknown_id is not None:
            return Counter()
        text = normalize(text)
        return Counter(text[place] for place in np.flatnonzero(self.look_up(text) < 0))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text in the Unicode normal form NFC, int64 [n].

        A character without an id becomes the unknown id; if there is none, it is left out.

        Raises:
            CharlmError: too many combining marks follow each other.

        """
        ids = self.look_up(normalize(text))
        missing = ids < 0
        if not missing.any():
            return ids
        return ids[~missing] if self.unknown_id is None else np.where(missing, self.unknown_id, ids)

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of ids [N], integers from 0 to V - 1.

        The unknown id becomes U+FFFD, the end_of_text id nothing.
        """
        return "".join([self.glyphs[index] for index in ids.tolist()])

    def spell(self, ids: NDArray[Any], *, end: str) -> str:
        """Return a text with one character for each id [N]; the unknown id becomes U+FFFD, the end_of_text id `end`."""
        code_points = np.array([ord(glyph or end) for glyph in self.glyphs], "<u4")
        return str(code_points[ids].tobytes(), "utf-32-le")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each id is called: its character, UNKNOWN or END_OF_TEXT."""
        reserved = {self.unknown_id: UNKNOWN, self.end_of_text_id: END_OF_TEXT}
        return tuple(
            reserved.get(index) or character or ""
            for index, character in enumerate(self.characters)
        )

    @cached_property
    def glyphs(self) -> tuple[str, ...]:
        """What each id is decoded as."""
        return tuple(
            UNKNOWN_GLYPH if index == self.unknown_id else character or ""
            for index, character in enumerate(self.characters)
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the vocabulary as an object for `json.dumps`."""
        reserved = {"unknown_id": self.unknown_id, "end_of_text_id": self.end_of_text_id}
        return {"characters": [*self.characters], **reserved}


def describe_left_out(left_out: Mapping[str, int], text: str) -> str:
    """Return the line that tells the user which characters of a text were left out.

    Args:
        left_out: How often each occurs, one or more.
        text: What the line calls the text.

    """
    commonest = sorted(left_out.items(), key=lambda item: -item[1])
    names = name_some(
        [
            f"{describe_character(character)} {counted(count, 'time')}"
            for character, count in commonest
        ]
    )
    return f"left out of {text}, since the model does not know them: {names}"


def name_some(names: Sequence[str], *, most: int = MAX_NAMED) -> str:
    """Return the first names of a list, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def describe_character(character: str) -> str:
    """Return a character with its code point, for instance 'x' (U+0078), or U+000A if it is not printable."""
    code_point = f"U+{ord(character):04X}"
    return f"{character!r} ({code_point})" if character.isprintable() else code_point


def vocabulary_of(fields: Any, *, origin: str) -> Vocabulary:
    """Return the vocabulary of an object that `Vocabulary.to_fields` returned.

    Args:
        fields: The object, as JSON has it.
        origin: What the message of an error starts with.

    Raises:
        CharlmError: a field is missing or not valid.

    """
    try:
        characters, unknown, end = (
            fields[name] for name in ("characters", "unknown_id", "end_of_text_id")
        )
        vocabulary = Vocabulary(tuple(characters), unknown, end)
        _check(vocabulary)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CharlmError(f"{origin}: not a vocabulary: {reason}") from None
    return vocabulary


def _check(vocabulary: Vocabulary) -> None:
    characters = [c for c in vocabulary.characters if c is not None]
    if not vocabulary.characters or len(vocabulary.characters) > MAX_CODE_POINT + 3:
        raise ValueError(f"{len(vocabulary.characters)} characters")
    if any(not isinstance(c, str) or len(c) != 1 or "\ud800" <= c <= "\udfff" for c in characters):
        raise ValueError("an entry of characters is not one character")
    if len(set(characters)) < len(characters):
        raise ValueError("a character occurs twice")
    reserved = {index for index, c in enumerate(vocabulary.characters) if c is None}
    named = {vocabulary.unknown_id, vocabulary.end_of_text_id} - {None}
    if reserved != named or any(type(index) is not int for index in named):
        raise ValueError(
            "unknown_id and end_of_text_id must be the ids that are null in characters"
        )
    if named and vocabulary.unknown_id == vocabulary.end_of_text_id:
        raise ValueError(f"unknown_id and end_of_text_id are both {vocabulary.unknown_id}")
