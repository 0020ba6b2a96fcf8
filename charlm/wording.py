"""Words and values in messages for the user: numbers with their nouns, times, short values, escaped characters."""

import reprlib
import shlex
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Harmless format characters: words of Persian and Hindi need them, and emoji."""

_LIMITED = reprlib.Repr()
_LIMITED.maxstring = _LIMITED.maxother = _LIMITED.maxlong = 100


def escape_controls(text: str, *, keep: str = "") -> str:
    r"""Return a text in which the characters that control a terminal are written as escapes, for instance \x1b.

    These are control characters, format characters (some reverse the direction of writing), line and paragraph
    separators, and surrogates.

    Args:
        text: Any text.
        keep: Characters that stay as they are.

    """
    if text.isprintable():
        return text
    controls = {c for c in {*text} if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {
        *_JOINERS,
        *keep,
    }
    return "".join(c.encode("unicode_escape").decode("ascii") if c in controls else c for c in text)


def short_repr(value: Any) -> str:
    """Return the repr of a value, with long parts left out."""
    return _LIMITED.repr(value)


def as_argument(path: Path) -> str:
    """Return a path as a shell takes it: quoted, and with ./ before a name that begins like an option."""
    name = str(path)
    return shlex.quote(f"./{name}" if name.startswith("-") else name)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for instance `1 step` or `1,000 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def listed(words: Iterable[str], conjunction: str) -> str:
    """Return one or more words as a list: "a", "a or b", "a, b or c"."""
    *others, last = words
    return f"{', '.join(others)} {conjunction} {last}" if others else last


def duration(seconds: float) -> str:
    """Return a time in at most 5 columns, up to 9999 days: 42s, 5m07s, 12m, 1h23m, 14h, 2d04h, 12d."""
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


def short_duration(seconds: float) -> str:
    """Return a time with two digits: 0.36 ms, 12 ms, 0.4 s, 18 s; from a minute on, as `duration` does."""
    if seconds >= 59.5:
        return duration(seconds)
    number, unit = (seconds, "s") if seconds >= 0.0995 else (1000 * seconds, "ms")
    return f"{number:.2g} {unit}"


def short_number(number: float) -> str:
    """Return a number, 0 or more, with three digits, or all those before the point: 0.0585, 8.02, 216, 27,702."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def nearest(word: str, words: Iterable[str], *, similarity: float = 0.6) -> str | None:
    """Return the word that is spelt most like the given one.

    Args:
        word: A word.
        words: The words to choose from.
        similarity: How similar it must be, from 0 to 1 = equal.

    Returns:
        The most similar word, or None if none is similar enough.

    """
    import difflib  # here, so that a start without a mistake does not wait for it

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=similarity)), None)
