"""Format values for messages: numbers, times, lists, escaped characters."""

import reprlib
import shlex
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Harmless format characters, which Persian, Hindi and emoji need."""

MAX_NAMED = 10
"""Maximum number of names in a list of a message."""
_LIMITED = reprlib.Repr()
_LIMITED.maxstring = _LIMITED.maxother = _LIMITED.maxlong = 100


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Return a text with escapes such as \x1b for characters that control a terminal.

    These are control characters, format characters (some reverse the direction of writing), line
    and paragraph separators, and surrogates.

    Args:
        text: Any text.
        keep: Characters to leave unchanged.

    """
    if text.isprintable():
        return text
    escapes = {}
    for character in {*text} - {*_JOINERS, *keep}:
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
            escapes[ord(character)] = character.encode("unicode_escape").decode("ascii")
    return text.translate(escapes)


def short_repr(value: Any) -> str:
    """Return the repr of a value, shortened if it is long."""
    try:
        return _LIMITED.repr(value)
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return "a number of thousands of digits"


def as_argument(path: Path) -> str:
    """Return a path quoted for a shell, with ./ if it looks like an option."""
    name = str(path)
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for example `1 step` or `1,000 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Iterable[str], conjunction: str) -> str:
    """Return words as "a", "a or b", "a, b or c"; "" without words."""
    *first, last = [*words] or [""]
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def name_some(names: Sequence[str]) -> str:
    """Return the first names of a list, and the number of remaining names."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def duration(seconds: float) -> str:
    """Return a time in at most 5 columns: 42s, 5m07s, 12m, 1h23m, 14h, 2d04h, 12d."""
    rest = round(seconds)
    for size, unit, smaller, smaller_unit in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if rest >= 10 * size:
            return f"{rest // size}{unit}"
        if rest >= size:
            return f"{rest // size}{unit}{rest % size // smaller:02}{smaller_unit}"
    return f"{rest}s"


def short_number(number: float) -> str:
    """Return a number, 0 or more, with at least three digits: 0.0585, 8.02, 216, 27,702."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def nearest(word: str, words: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """Return the most similar word, or None if no word is similar enough.

    Args:
        word: A word.
        words: Words to choose from.
        similarity: Minimum similarity, from 0 to 1; 1 = equal.

    """
    import difflib  # here, because only errors need it

    matches = difflib.get_close_matches(word, [*words], n=1, cutoff=similarity)
    return matches[0] if matches else None
