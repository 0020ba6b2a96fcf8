"""Ids -> the text of a sample as it grows, up to its length, a stop text or the end of the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from charlm.text.vocabulary import Vocabulary

BORDER = "\n\n"
"""The text of an end-of-text id that does not end the sample."""
StoppedBy = Literal["length", "stop text", "end of text"]


@dataclass(frozen=True)
class Sample:
    """A generated text, without its prompt."""

    text: str
    """At level byte, bytes that are not UTF-8 are U+FFFD."""
    characters: int
    """The length of the text, in characters at either level."""
    stopped_by: StoppedBy | None
    """What ended the text; None as long as it can go on."""
    data: bytes = b""
    """The text in UTF-8; at level byte, the bytes that the model chose."""


class StopTexts:
    """Ends a text before the first place at which one of some texts begins, in whatever pieces it comes.

    What may be the beginning of a stop text is held back, and so is a whole one behind it.

    Args:
        stops: The texts, none of them empty.

    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""

    def read(self, new: str, *, is_last: bool) -> tuple[str, str | None]:
        """Return the text that is certain after some more of it, and what follows the stop text; None = none has come.

        Args:
            new: What the text has grown by.
            is_last: Whether nothing more comes, so that nothing is held back.

        """
        text = self._held + new
        held = 0 if is_last else max((_overlap(text, stop) for stop in self._stops), default=0)
        found = [(place, len(stop)) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found and min(found)[0] <= len(text) - held:
            place, length = min(found)
            return text[:place], text[place + length :]
        self._held = text[len(text) - held :]
        return text[: len(text) - held], None


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text that is a beginning of the stop text."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


def to_bytes(text: str) -> bytes:
    """Return the UTF-8 of a text; surrogates that stand for bytes that are not UTF-8 are these bytes again."""
    return text.encode("utf-8", "surrogateescape")


def readable(text: str) -> str:
    """Return a text with U+FFFD in place of the surrogates that stand for bytes that are not UTF-8."""
    return text if text.isascii() else to_bytes(text).decode("utf-8", "replace")


class GrowingText:
    """The text of ids as they are chosen, one or several at a time.

    Characters that may be the beginning of a stop text are held back, and bytes that do not make a character yet.

    Args:
        vocabulary: The characters by id.
        stops: The texts before the first of which the text ends, none of them empty.
        ignore_end: Whether an end-of-text id becomes a blank line, instead of ending the text.

    """

    def __init__(self, vocabulary: Vocabulary, *, stops: Sequence[str] = (), ignore_end: bool = False) -> None:
        self.stopped_by: StoppedBy | None = None
        """What has ended the text; None as long as it can go on."""
        self.chosen = 0
        """How many ids were chosen, up to the end of the stop text, without an end-of-text id that ends the text."""
        self._glyphs = vocabulary.glyphs if vocabulary.level == "char" else None
        self._ignore_end = ignore_end
        self._end_id = -1 if vocabulary.end_of_text_id is None else vocabulary.end_of_text_id
        self._decoder = vocabulary.decoder(errors="surrogateescape")  # keeps the bytes, and lets a stop text match them
        self._stops = StopTexts(stops) if stops else None

    def read(self, ids: Sequence[int], *, is_last: bool) -> str:
        """Return the text that has become certain, with surrogates for bytes that are not UTF-8; "" after the end.

        Args:
            ids: The next ids, any number.
            is_last: Whether the text ends with them.

        """
        if self.stopped_by:
            return ""
        text = self._decode(ids, is_last=is_last)
        if self._stops is not None:
            text, rest = self._stops.read(text, is_last=self.stopped_by is not None)
            if rest is not None:
                self.stopped_by = "stop text"
                self.chosen -= self.count(rest)
        return text

    def count(self, text: str) -> int:
        """Return the number of ids that a part of the text has."""
        return len(to_bytes(text) if self._glyphs is None else text)

    def _decode(self, ids: Sequence[int], *, is_last: bool) -> str:
        text = ""
        while self._end_id in ids:
            place = ids.index(self._end_id)
            text += self._decode_part(ids[:place], final=True)
            if not self._ignore_end:
                self.stopped_by = "end of text"
                return text
            text, ids = text + BORDER, ids[place + 1 :]
            self.chosen += 1
        if is_last:
            self.stopped_by = "length"
        return text + self._decode_part(ids, final=is_last)

    def _decode_part(self, ids: Sequence[int], *, final: bool) -> str:
        self.chosen += len(ids)
        if self._glyphs is None:
            return self._decoder.decode(np.array(ids, np.int64), final=final)
        return "".join([self._glyphs[index] for index in ids])  # takes a third of the decoder's time


def to_sample(pieces: Sequence[str], stopped_by: StoppedBy | None) -> Sample:
    """Return the sample that the pieces of a text make, which have surrogates for bytes that are not UTF-8."""
    text = "".join(pieces)
    return Sample(readable(text), len(readable(text)), stopped_by, to_bytes(text))
