"""Ids -> the text of a sample as it grows, up to its length, a stop text or the end of the text."""

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


class GrowingText:
    """The text of ids as they are chosen, one or several at a time.

    Characters that may be the beginning of a stop text are held back.

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
        self._glyphs = vocabulary.glyphs
        self._ignore_end = ignore_end
        self._end_id = -1 if vocabulary.end_of_text_id is None else vocabulary.end_of_text_id
        self._stops = StopTexts(stops) if stops else None

    def read(self, ids: Sequence[int], *, is_last: bool) -> str:
        """Return the text that has become certain; "" after the end.

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
                self.chosen -= len(rest)
        return text

    def _decode(self, ids: Sequence[int], *, is_last: bool) -> str:
        text = ""
        for index in ids:
            if index != self._end_id:
                text += self._glyphs[index]
            elif self._ignore_end:
                text += BORDER
            else:
                self.stopped_by = "end of text"
                return text
            self.chosen += 1
        if is_last:
            self.stopped_by = "length"
        return text
