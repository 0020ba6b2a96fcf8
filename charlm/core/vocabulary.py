"""Characters <-> ids.

Axes: N characters; V size of the vocabulary.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError
from charlm.wording import counted, name_some

MAX_CODE_POINT = 0x10FFFF

UNKNOWN = "<|unknown|>"
END_OF_TEXT = "<|endoftext|>"
UNKNOWN_GLYPH = "\N{REPLACEMENT CHARACTER}"
"""Text of the unknown id."""

Ids = NDArray[np.integer[Any]]

MAX_MARKS = 1000
"""Fewer combining marks in a row are always accepted, and twice as many always refused."""
MAX_DECODED_MARKS = 4 * MAX_MARKS
"""Limit for a decoded text; NFC can turn one mark into two."""


def has_too_many_marks(text: str, *, most: int = MAX_MARKS) -> bool:
    """Return whether a text has too many combining marks in a row.

    Fewer than `most` are never too many, and twice as many always are.

    The time of NFC grows with the square of the number of marks.
    """
    blocks = (text[start : start + most] for start in range(0, len(text), most))
    return any(len(block) == most and all(map(unicodedata.combining, block)) for block in blocks)


def unify_line_ends(text: str) -> str:
    r"""Replace \r\n and \r by \n, as Python does when it reads a text file."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, in the order of their ids."""

    characters: tuple[str | None, ...]
    """The character (Unicode code point) of each id, None for a reserved id."""
    unknown_id: int | None = None
    """The reserved id shared by all rare characters, or None."""
    end_of_text_id: int | None = None
    """The reserved id between two documents, or None."""

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def distinct(self) -> int:
        """Number of characters, without the reserved ids."""
        return len(self) - self.characters.count(None)

    def extend(
        self, characters: Iterable[str], *, unknown: bool, end_of_text: bool
    ) -> "Vocabulary":
        """Return a vocabulary with more ids after the existing ids.

        Args:
            characters: Characters that get ids in this order, unless they have an id.
            unknown: Whether to add an unknown id if there is none.
            end_of_text: Whether to add an end_of_text id if there is none.

        """
        known = {*self.characters}
        extended = [*self.characters, *(each for each in characters if each not in known)]
        unknown_id = self.unknown_id
        end_of_text_id = self.end_of_text_id
        if unknown and unknown_id is None:
            unknown_id = len(extended)
            extended.append(None)
        if end_of_text and end_of_text_id is None:
            end_of_text_id = len(extended)
            extended.append(None)
        return Vocabulary(tuple(extended), unknown_id, end_of_text_id)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8, uint16 and int32 that holds every id."""
        smallest = np.min_scalar_type(len(self) - 1)
        return smallest if smallest.itemsize <= 2 else np.dtype(np.int32)

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """The id of each code point, int64 [highest code point + 2]; -1 = no id, as at the end."""
        ids = {ord(c): index for index, c in enumerate(self.characters) if c is not None}
        table = np.full(max(ids, default=0) + 2, -1, np.int64)
        table[[*ids]] = [*ids.values()]
        return table

    def normalize(self, text: str) -> str:
        r"""Return a text in the normal form NFC, with \n at the end of lines.

        A vocabulary with \r was made from bytes, so line ends then stay as they are.

        Raises:
            CharlmError: There are too many combining marks in a row.

        """
        if has_too_many_marks(text, most=MAX_DECODED_MARKS):
            raise CharlmError(
                f"text: more than {MAX_DECODED_MARKS:,} combining marks in a row; remove some of "
                "them"
            )
        if "\r" not in self.characters:
            text = unify_line_ends(text)
        return unicodedata.normalize("NFC", text)

    def look_up(self, text: str) -> NDArray[np.int64]:
        """Return the id of each character, int64 [N]; -1 = no id."""
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return self.table[np.minimum(code_points, len(self.table) - 1)]

    def read(self, text: str) -> tuple[NDArray[np.int64], Counter[str]]:
        """Return the ids of a text, int64 [n], and the characters that were left out.

        A character without an id becomes the unknown id, or is left out if there is no unknown id.

        Returns:
            The ids; and the number of occurrences of each character that was left out.

        Raises:
            CharlmError: There are too many combining marks in a row.

        """
        text = self.normalize(text)
        ids = self.look_up(text)
        if self.unknown_id is not None:
            return np.where(ids < 0, self.unknown_id, ids), Counter()
        return ids[ids >= 0], Counter(text[index] for index in np.flatnonzero(ids < 0))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the ids of a text, int64 [n]; see `read`."""
        return self.read(text)[0]

    def decode(self, ids: Ids | Sequence[int]) -> str:
        """Return the text of ids [N]: U+FFFD for the unknown id, nothing for the end_of_text id.

        Raises:
            CharlmError: An id is not from 0 to V - 1.

        """
        ids = np.asarray(ids, np.int64)
        last = len(self) - 1
        if np.any(ids != ids.clip(0, last)):
            raise CharlmError(f"ids: must be whole numbers from 0 to {last}")
        return self.spell(ids[ids != self.end_of_text_id], end="\0")

    def spell(self, ids: Ids, *, end: str) -> str:
        """Return the text of ids [N], with the character `end` for the end_of_text id."""
        code_points = np.array([ord(glyph or end) for glyph in self.glyphs], "<u4")
        return str(code_points[ids].tobytes(), "utf-32-le")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each id: its character, UNKNOWN or END_OF_TEXT."""
        return self._with_reserved(UNKNOWN, END_OF_TEXT)

    @cached_property
    def glyphs(self) -> tuple[str, ...]:
        """The text of each id."""
        return self._with_reserved(UNKNOWN_GLYPH, "")

    def _with_reserved(self, unknown: str, end: str) -> tuple[str, ...]:
        texts = {self.unknown_id: unknown, self.end_of_text_id: end}
        return tuple(
            texts.get(index, "") if character is None else character
            for index, character in enumerate(self.characters)
        )

    def to_fields(self) -> dict[str, Any]:
        """Return the vocabulary as an object for `json.dumps`."""
        return {
            "characters": [*self.characters],
            "unknown_id": self.unknown_id,
            "end_of_text_id": self.end_of_text_id,
        }


def describe_left_out(left_out: Mapping[str, int], text: str) -> str:
    """Return a line for the user about the characters that were left out of a text.

    Args:
        left_out: The number of occurrences of each character, at least one character.
        text: The name of the text in the line.

    """
    names = [
        f"{_describe_character(character)} {counted(count, 'time')}"
        for character, count in Counter(left_out).most_common()
    ]
    return f"left out of {text} because the model does not know them: {name_some(names)}"


def _describe_character(character: str) -> str:
    """Return a character with its code point, 'x' (U+0078), or U+000A if it is not printable."""
    code_point = f"U+{ord(character):04X}"
    return f"{character!r} ({code_point})" if character.isprintable() else code_point


def vocabulary_of(fields: Any, *, origin: str) -> Vocabulary:
    """Return the vocabulary in an object that `Vocabulary.to_fields` returned.

    Args:
        fields: The object, read from JSON.
        origin: Start of error messages.

    Raises:
        CharlmError: A field is missing or not valid.

    """
    try:
        vocabulary = Vocabulary(
            tuple(fields["characters"]), fields.get("unknown_id"), fields.get("end_of_text_id")
        )
        _check(vocabulary)
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CharlmError(f"{origin}: not a vocabulary: {reason}") from None
    return vocabulary


def _check(vocabulary: Vocabulary) -> None:
    characters = [c for c in vocabulary.characters if c is not None]
    if not 0 < len(vocabulary) <= MAX_CODE_POINT + 3:
        raise ValueError(f"{len(vocabulary)} characters")
    if any(not isinstance(c, str) or len(c) != 1 or "\ud800" <= c <= "\udfff" for c in characters):
        raise ValueError("an entry of `characters` is not a single character")
    if len({*characters}) < len(characters):
        raise ValueError("a character occurs twice")
    reserved = {index for index, c in enumerate(vocabulary.characters) if c is None}
    named = {vocabulary.unknown_id, vocabulary.end_of_text_id} - {None}
    if reserved != named or any(type(index) is not int for index in named):
        raise ValueError(
            "unknown_id and end_of_text_id must be the ids whose entry in `characters` is null"
        )
    if named and vocabulary.unknown_id == vocabulary.end_of_text_id:
        raise ValueError(f"unknown_id and end_of_text_id are both {vocabulary.unknown_id}")
