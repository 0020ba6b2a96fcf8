"""Characters <-> ids, and the file vocabulary.json.

Axes: none; ids are one-dimensional arrays.
"""

import codecs
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, shorten
from charlm.intake import read_file

FORMAT = 1
MAX_CODE_POINT = 0x10FFFF
MAX_BYTES = 16 * MAX_CODE_POINT
"""Of a vocabulary.json: every character there is, as JSON with escapes."""

UNKNOWN_GLYPH = "\N{REPLACEMENT CHARACTER}"

Ids = NDArray[np.unsignedinteger[Any]]
Level = Literal["char", "byte"]


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, in id order.

    At level `byte` the characters U+0000 to U+00FF stand for the 256 byte values. Where `characters` is None
    the id is reserved: `unknown_id` for characters too rare for an id of their own, `end_of_text_id` for the
    border between two documents.
    """

    level: Level
    characters: tuple[str | None, ...]
    unknown_id: int | None = None
    end_of_text_id: int | None = None

    def __len__(self) -> int:
        return len(self.characters)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer that holds every id."""
        return smallest_dtype(len(self))

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """The id of each code point, int64 [highest code point + 1]; -1 where there is none."""
        code_points = [ord(c) if c is not None else -1 for c in self.characters]
        table = np.full(max([0, *code_points]) + 1, -1, np.int64)
        for index, code_point in enumerate(code_points):
            if code_point >= 0:
                table[code_point] = index
        return table

    def look_up(self, text: str) -> NDArray[np.int64]:
        """Return the id of each character (level byte: of each byte of its UTF-8), -1 where it has none."""
        if self.level == "byte":
            code_points = np.frombuffer(_utf8(text), np.uint8)
        else:
            code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        known = code_points < len(self.table)
        return np.where(known, self.table[np.where(known, code_points, 0)], -1)

    def encode(
        self, text: str, *, unknown: Literal["error", "skip"] = "error", name: str = "the text", start: int = 0
    ) -> NDArray[np.int64]:
        """Return the ids of a text, int64 [characters], or [bytes] at level byte.

        A character without an id becomes the unknown id if there is one; else it is left out (`skip`), or
        raises CharlmError naming it (`error`) as one of the text `name`, of which `start` characters came before.
        """
        ids = self.look_up(text)
        missing = ids < 0
        if not missing.any():
            return ids
        if self.unknown_id is not None:
            return np.where(missing, self.unknown_id, ids)
        if unknown == "skip":
            return ids[~missing]
        position = int(np.argmax(missing))
        raise CharlmError(
            f"character {start + position + 1:,} of {name}, {describe_character(text[position])}, was not in the "
            f"training text; --unknown skip leaves such characters out"
        )

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of some ids; the unknown id reads as U+FFFD, the end of a text as nothing.

        Bytes that are not UTF-8 (level byte) read as U+FFFD as well.
        """
        return self.decoder().decode(ids, final=True)

    def decoder(self) -> "Decoder":
        """Return a decoder for ids that arrive piece by piece."""
        return Decoder(self)

    @cached_property
    def glyphs(self) -> tuple[str, ...]:
        """What each id reads as; at level byte the characters U+0000 to U+00FF."""
        return tuple(
            UNKNOWN_GLYPH if index == self.unknown_id else character or ""
            for index, character in enumerate(self.characters)
        )

    def to_json(self) -> str:
        """Return the contents of vocabulary.json."""
        fields = {
            "format": FORMAT,
            "level": self.level,
            "characters": list(self.characters),
            "unknown_id": self.unknown_id,
            "end_of_text_id": self.end_of_text_id,
        }
        return json.dumps(fields, ensure_ascii=False, indent=None) + "\n"


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")  # an argument that is not UTF-8 is its own bytes
    except UnicodeEncodeError as error:
        found = describe_character(text[error.start])
        raise CharlmError(f"character {error.start + 1:,} of the text, {found}, is half of a pair") from None


class Decoder:
    """Ids -> text, piece by piece: a character whose bytes are not all there yet is held back."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace") if vocabulary.level == "byte" else None

    def decode(self, ids: NDArray[Any], *, final: bool = False) -> str:
        """Return the text that `ids` [n] complete; `final` ends it, so that nothing is held back."""
        glyphs = self._vocabulary.glyphs
        text = "".join([glyphs[index] for index in ids.tolist()])
        return text if self._utf8 is None else self._utf8.decode(text.encode("latin-1"), final)


def smallest_dtype(size: int) -> np.dtype[Any]:
    """Return uint8, uint16 or uint32: the smallest that holds the ids 0 to size - 1."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


def describe_character(character: str) -> str:
    """Name a character so that it can be told from its look-alikes, for instance 'x' (U+0078)."""
    shown = character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
    return f"{shown!r} (U+{ord(character):04X})" if character.isprintable() else f"U+{ord(character):04X}"


def parse_vocabulary(text: str, *, origin: str) -> Vocabulary:
    """Return the vocabulary that the contents of a vocabulary.json describe.

    Raises CharlmError, starting with `origin`, where they are not a vocabulary.
    """
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        if fields.get("format") != FORMAT:
            raise ValueError(
                f"format {shorten(fields.get('format'))}; this version of charlm reads format {FORMAT}"
            )
        vocabulary = Vocabulary(
            level=fields["level"],
            characters=tuple(fields["characters"]),
            unknown_id=fields["unknown_id"],
            end_of_text_id=fields["end_of_text_id"],
        )
        _check(vocabulary)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CharlmError(f"{origin}: not a vocabulary: {reason}") from None
    return vocabulary


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary.json.

    Raises CharlmError where there is none, or it is not a vocabulary.
    """
    try:
        text = read_file(path, limit=MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise CharlmError(f"{path}: cannot be read: not UTF-8") from None
    return parse_vocabulary(text, origin=str(path))


def _check(vocabulary: Vocabulary) -> None:
    if vocabulary.level not in {"char", "byte"}:
        raise ValueError(f"level {shorten(vocabulary.level)}; there are char and byte")
    characters = [c for c in vocabulary.characters if c is not None]
    if not vocabulary.characters or len(vocabulary.characters) > MAX_CODE_POINT + 3:
        raise ValueError(f"{len(vocabulary.characters)} characters")
    if any(not isinstance(c, str) or len(c) != 1 for c in characters):
        raise ValueError("an entry of characters is not one character")
    if any("\ud800" <= c <= "\udfff" for c in characters):
        raise ValueError("an entry of characters is half of a surrogate pair")
    if len(set(characters)) < len(characters):
        raise ValueError("a character stands twice")
    if vocabulary.level == "byte" and characters != [chr(value) for value in range(256)]:
        raise ValueError("level byte has the characters U+0000 to U+00FF, in this order")
    if vocabulary.level == "byte" and vocabulary.unknown_id is not None:
        raise ValueError("unknown_id should be null at level byte, where every byte is known")
    reserved = {index for index, c in enumerate(vocabulary.characters) if c is None}
    named = {vocabulary.unknown_id, vocabulary.end_of_text_id} - {None}
    if reserved != named or any(type(index) is not int for index in named):
        raise ValueError("unknown_id and end_of_text_id should be the ids that are null in characters")
