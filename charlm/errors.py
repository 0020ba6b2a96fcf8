"""The one exception that a user is meant to read, and how words and values from outside are shown in it."""

import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Format characters that belong to words (of Persian, of Hindi) and to emoji, and do no harm."""


class CharlmError(Exception):
    """Something outside the program is wrong: a file, a setting, a text.

    The message is one line that names the file, key or option, what was found there, and what would do; what a
    terminal would obey in a name or a value is written as an escape. The command line prints it and exits with
    code 1.
    """

    def __init__(self, message: str) -> None:
        super().__init__(harmless(message))


def harmless(text: str, *, keep: str = "") -> str:
    r"""Return a text with the characters that steer a terminal written as escapes, for instance \\x1b.

    Those are control characters, format characters (some reverse the direction of writing), separators of lines
    and halves of surrogate pairs; those in `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(_escape(c) if _steers(c) and c not in keep else c for c in text)


def shorten(value: Any) -> str:
    """Return a value as Python writes it, cut where it is long."""
    return _LIMITED.repr(value)


_LIMITED = reprlib.Repr()
_LIMITED.maxstring = _LIMITED.maxother = _LIMITED.maxlong = 100


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the word most like the given one, or None if none is alike."""
    import difflib  # here, so that a start without a mistake does not wait for it

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def _steers(character: str) -> bool:
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
