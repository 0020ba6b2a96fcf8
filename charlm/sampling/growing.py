"""Ids -> the text of a sample as it grows, up to its length, a stop text or the end of the text."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from charlm.text.vocabulary import Vocabulary

BORDER = "\n\n"
"""The text of an end-of-text id that does not end the sample."""
StoppedBy = Literal["length", "stop text", "end of text"]


@dataclass(frozen=True)
class Sample:
    """A generated text, without its prompt."""

    text: str
    stopped_by: StoppedBy | None
    """What ended the text; None as long as it can go on."""


class GrowingText:
    """The text of ids as they are chosen.

    Characters that may be the beginning of a stop text are held back.

    Args:
        vocabulary: The characters by id.
        stops: The texts before the first of which the text ends, none of them empty.
        ignore_end: Whether an end-of-text id becomes a blank line, instead of ending the text.

    """

    def __init__(self, vocabulary: Vocabulary, *, stops: Sequence[str] = (), ignore_end: bool = False) -> None:
        self.stopped_by: StoppedBy | None = None
        """What has ended the text; None as long as it can go on."""
        self._glyphs = vocabulary.glyphs
        self._ignore_end, self._end_id = ignore_end, vocabulary.end_of_text_id
        self._stops, self._held = [unicodedata.normalize("NFC", stop) for stop in stops], ""

    def read(self, index: int, *, is_last: bool) -> str:
        """Return the text that has become certain by the next id.

        Args:
            index: The id.
            is_last: Whether the text ends with it.

        """
        if index == self._end_id and not self._ignore_end:
            self.stopped_by = "end of text"
        elif is_last:
            self.stopped_by = "length"
        new = self._glyphs[index] if index != self._end_id else BORDER if self._ignore_end else ""
        if not self._stops:
            return new
        text = self._held + new
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped_by = "stop text"
            return text[: min(found)]
        held = 0 if self.stopped_by else max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of a text that is a beginning of the stop text."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
