"""`CharlmError`, the one exception that a user is meant to read, and the words of its messages.

Words and values are shown in it by the functions here.
"""

import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any

_JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Harmless format characters: words of Persian and Hindi need them, and emoji."""

_LIMITED = reprlib.Repr()
_LIMITED.maxstring = _LIMITED.maxother = _LIMITED.maxlong = 100


MAX_CHARACTERS = 1500
"""Of a message: a longer one, with a key or a path of thousands of characters, is shown without its middle."""


class CharlmError(Exception):
    """Something outside the program is wrong: a file, a setting, a text.

    The message is one line. It names the file, key or option, what was found there, and what would do. Control
    characters in it are written as escapes. The command line prints it and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        line = escape_controls(message)
        if len(line) > MAX_CHARACTERS:
            line = f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 :]}"
        super().__init__(line)


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
    controls = {c for c in {*text} if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {*_JOINERS, *keep}
    return "".join(c.encode("unicode_escape").decode("ascii") if c in controls else c for c in text)


def short_repr(value: Any) -> str:
    """Return the repr of a value, with long parts left out."""
    return _LIMITED.repr(value)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for instance `1 step` or `1,000 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """Return a time in at most 5 columns, up to 9999 days: 42s, 5m07s, 12m, 1h23m, 14h, 2d04h, 12d."""
    rest = round(seconds)
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if rest >= 10 * size:
            return f"{rest // size}{unit}"
        if rest >= size:
            return f"{rest // size}{unit}{rest % size // smaller:02}{smaller_unit}"
    return f"{rest}s"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the word that is spelt most like the given one, or None if none is similar."""
    import difflib  # here, so that a start without a mistake does not wait for it

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def check_name(name: str, found: str, names: Iterable[str]) -> None:
    """Refuse a value that is not one of some names.

    Args:
        name: The argument, for the message.
        found: Its value.
        names: One or more.

    Raises:
        CharlmError: the value is none of the names.

    """
    *others, last = names
    if found not in (*others, last):
        allowed = f"{', '.join(others)} or {last}" if others else last
        raise CharlmError(f"{name}: found {short_repr(found)}; must be {allowed}")
