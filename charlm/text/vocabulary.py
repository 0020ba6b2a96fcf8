"""Characters <-> ids, and the file vocabulary.json.

Axes: N ids, that is characters, or bytes at level byte; V size of the vocabulary.
"""

import codecs
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from charlm.errors import CharlmError, short_repr
from charlm.storage.files import read_file

FORMAT = 1
MAX_CODE_POINT = 0x10FFFF
MAX_BYTES = 16 * MAX_CODE_POINT
"""Of vocabulary.json: enough for every character of Unicode, written with escapes."""

UNKNOWN_GLYPH = "\N{REPLACEMENT CHARACTER}"
"""What the unknown id is decoded as."""

Ids = NDArray[np.unsignedinteger[Any]]
Level = Literal["char", "byte"]
"""What has an id: a character (Unicode code point) or a byte value."""
Unknown = Literal["error", "skip"]
"""What to do with a character without an id: raise an error or leave it out."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, in the order of their ids."""

    level: Level
    characters: tuple[str | None, ...]
    """The character of each id, None for a reserved id. At level byte, U+0000 to U+00FF are the 256 byte values."""
    unknown_id: int | None = None
    """The reserved id of all characters that are too rare to have their own, or None."""
    end_of_text_id: int | None = None
    """The reserved id between two documents, or None."""

    def __len__(self) -> int:
        return len(self.characters)

    def extend(self, characters: Iterable[str], *, unknown: bool, end_of_text: bool) -> "Vocabulary":
        """Return a vocabulary with further ids; those of this one stay as they are.

        Args:
            characters: Get ids in this order; a character that has one keeps it.
            unknown: Whether there is an unknown id, at least.
            end_of_text: Whether there is an end_of_text id, at least.

        """
        known = {*self.characters}
        extended = replace(self, characters=(*self.characters, *(c for c in characters if c not in known)))
        if unknown and self.unknown_id is None:
            extended = replace(extended, characters=(*extended.characters, None), unknown_id=len(extended))
        if end_of_text and self.end_of_text_id is None:
            extended = replace(extended, characters=(*extended.characters, None), end_of_text_id=len(extended))
        return extended

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint8, uint16 and uint32 that holds every id."""
        return np.dtype(np.uint8 if len(self) <= 1 << 8 else np.uint16 if len(self) <= 1 << 16 else np.uint32)

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """The id of each code point, int64 [highest code point + 1]; -1 if it has none."""
        known = {ord(c): index for index, c in enumerate(self.characters) if c is not None}
        table = np.full(max(known, default=0) + 1, -1, np.int64)
        table[[*known]] = [*known.values()]
        return table

    def look_up(self, text: str) -> NDArray[np.int64]:
        """Return the id of each character, at level byte of each byte of its UTF-8, int64 [N]; -1 if it has none."""
        if self.level == "byte":
            code_points = np.frombuffer(_utf8(text), np.uint8)
        elif self.level == "char":
            code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        else:
            assert_never(self.level)
        known = code_points < len(self.table)
        return np.where(known, self.table[np.where(known, code_points, 0)], -1)

    def count_skipped(self, text: str) -> int:
        """Return how many characters of a text `encode` leaves out with unknown="skip"."""
        return 0 if self.unknown_id is not None else int((self.look_up(text) < 0).sum())

    def encode(
        self, text: str, *, unknown: Unknown = "error", name: str = "the text", start: int = 0
    ) -> NDArray[np.int64]:
        """Return the ids of a text. A character without an id becomes the unknown id if there is one.

        Args:
            text: Any text. At level byte, surrogates from undecodable bytes of an argument are these bytes again.
            unknown: What to do with a character without an id if there is no unknown id.
            name: What the message of an error calls the text.
            start: Number of characters of the text that came before, 0 or more.

        Returns:
            int64 [N].

        Raises:
            CharlmError: a character has no id, there is no unknown id, and `unknown` is error; the message names the
                character and its position. At level byte: a surrogate has no bytes.

        """
        ids = self.look_up(text)
        missing = ids < 0
        if not missing.any():
            return ids
        if self.unknown_id is not None:
            return np.where(missing, self.unknown_id, ids)
        if unknown == "skip":
            return ids[~missing]
        if unknown != "error":
            assert_never(unknown)
        position = int(np.argmax(missing))
        raise CharlmError(
            f"character {start + position + 1:,} of {name}, {describe_character(text[position])}, was not in the "
            f"training text; leave it out, or all such characters with --unknown skip, from Python unknown='skip'"
        )

    def decode(self, ids: NDArray[Any]) -> str:
        """Return the text of ids [N], integers from 0 to V - 1.

        The unknown id becomes U+FFFD, the end_of_text id nothing. At level byte, bytes that are not UTF-8 become
        U+FFFD.
        """
        return self.decoder().decode(ids, final=True)

    def decoder(self, *, errors: Literal["replace", "surrogateescape"] = "replace") -> "Decoder":
        """Return a decoder for ids that arrive piece by piece; `errors` is as for `bytes.decode`, for level byte."""
        return Decoder(self, errors=errors)

    @cached_property
    def glyphs(self) -> tuple[str, ...]:
        """What each id is decoded as; at level byte, the characters U+0000 to U+00FF."""
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
        raise CharlmError(f"character {error.start + 1:,} of the text, {found}, is an unpaired surrogate") from None


class Decoder:
    """Ids -> text, piece by piece. A character is held back until all its bytes have arrived."""

    def __init__(self, vocabulary: Vocabulary, *, errors: str = "replace") -> None:
        self._vocabulary = vocabulary
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors) if vocabulary.level == "byte" else None

    def decode(self, ids: NDArray[Any], *, final: bool = False) -> str:
        """Return the text that ids [N] complete; if they are the `final` ones, nothing is held back."""
        glyphs = self._vocabulary.glyphs
        text = "".join([glyphs[index] for index in ids.tolist()])
        return text if self._utf8 is None else self._utf8.decode(text.encode("latin-1"), final)


def describe_character(character: str) -> str:
    """Return a character with its code point, for instance 'x' (U+0078), or U+000A if it is not printable."""
    code_point = f"U+{ord(character):04X}"
    return f"{character!r} ({code_point})" if character.isprintable() else code_point


def parse_vocabulary(text: str | bytes, *, origin: str) -> Vocabulary:
    """Return the vocabulary that a vocabulary.json describes.

    Args:
        text: Its contents; bytes are UTF-8.
        origin: What the message of an error starts with.

    Raises:
        CharlmError: the text is not JSON, has another format, lacks a field or has one that is not valid.

    """
    try:
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError("not an object")
        if fields.get("format") != FORMAT:
            raise ValueError(f"format {short_repr(fields.get('format'))}; this version of charlm reads format {FORMAT}")
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
    """Return the vocabulary in a file; raises CharlmError if it cannot be read or is not valid."""
    return parse_vocabulary(read_file(path, limit=MAX_BYTES), origin=str(path))


def _check(vocabulary: Vocabulary) -> None:
    if vocabulary.level not in {"char", "byte"}:
        raise ValueError(f"level {short_repr(vocabulary.level)}; there are char and byte")
    characters = [c for c in vocabulary.characters if c is not None]
    if not vocabulary.characters or len(vocabulary.characters) > MAX_CODE_POINT + 3:
        raise ValueError(f"{len(vocabulary.characters)} characters")
    if any(not isinstance(c, str) or len(c) != 1 or "\ud800" <= c <= "\udfff" for c in characters):
        raise ValueError("an entry of characters is not one character")
    if len(set(characters)) < len(characters):
        raise ValueError("a character occurs twice")
    if vocabulary.level == "byte" and (vocabulary.unknown_id, *characters) != (None, *map(chr, range(256))):
        raise ValueError("level byte has the characters U+0000 to U+00FF, in this order, and no unknown_id")
    reserved = {index for index, c in enumerate(vocabulary.characters) if c is None}
    named = {vocabulary.unknown_id, vocabulary.end_of_text_id} - {None}
    if reserved != named or any(type(index) is not int for index in named):
        raise ValueError("unknown_id and end_of_text_id must be the ids that are null in characters")
    if named and vocabulary.unknown_id == vocabulary.end_of_text_id:
        raise ValueError(f"unknown_id and end_of_text_id are both {vocabulary.unknown_id}")
