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
    """Empty if the text was not kept. At level byte, bytes that are not UTF-8 are U+FFFD."""
    characters: int
    """The length of the text, in characters at either level."""
    stopped_by: StoppedBy | None
    """What ended the text; None as long as it can go on."""
    data: bytes = b""
    """The text in UTF-8; at level byte, the bytes that the model chose. Empty if the text was not kept."""


class StopTexts:
    """Ends a text before the first of some texts; what may be the beginning of one is held back.

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
        found = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            place, stop = min(found)
            return text[:place], text[place + len(stop) :]
        held = 0 if is_last else max((_overlap(text, stop) for stop in self._stops), default=0)
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


class GrowingSample:
    """A sample that grows by one id at a time."""

    def __init__(self, vocabulary: Vocabulary, *, stop: str, ignore_end: bool, keep_text: bool = True) -> None:
        self._glyphs = vocabulary.glyphs if vocabulary.level == "char" else None
        self._decoder = vocabulary.decoder(errors="surrogateescape")  # keeps the bytes, and lets a stop text match them
        self._end_id = vocabulary.end_of_text_id
        self._stops = StopTexts([stop]) if stop else None
        self._ignore_end, self._keep_text = ignore_end, keep_text
        self._pieces: list[str] = []
        self._characters = 0
        self.stopped_by: StoppedBy | None = None

    @property
    def sample(self) -> Sample:
        """The sample as far as it has been generated."""
        text = "".join(self._pieces)
        return Sample(readable(text), self._characters, self.stopped_by, to_bytes(text))

    def extend(self, ids: Sequence[int], *, ends: bool) -> None:
        """Add several ids; with `ends`, the last one ends the sample."""
        for position, index in enumerate(ids, start=1):
            self.add(index, is_last=ends and position == len(ids))

    def add(self, index: int, *, is_last: bool) -> str:
        """Return the text that is certain after one more id; `is_last` ends the sample."""
        if self.stopped_by:
            return ""
        is_end = index == self._end_id
        if is_last:
            self.stopped_by = "length"
        if is_end and not self._ignore_end:
            self.stopped_by = "end of text"
        piece = self._read(index, final=is_last or is_end)
        if is_end and self._ignore_end:
            piece += BORDER
        if self._stops is not None:
            piece, rest = self._stops.read(piece, is_last=self.stopped_by is not None)
            if rest is not None:
                self.stopped_by = "stop text"
        self._characters += len(piece if self._glyphs is not None else readable(piece))
        if self._keep_text:
            self._pieces.append(piece)
        return piece

    def _read(self, index: int, *, final: bool) -> str:
        if self._glyphs is not None:
            return self._glyphs[index]  # takes a third of the decoder's time
        return self._decoder.decode(np.array([index]), final=final)
