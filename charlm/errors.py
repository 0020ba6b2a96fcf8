"""`CharlmError`, the one exception that a user is meant to read, and the words of its messages.

Words and values are shown in it by the functions here; what pydantic refuses is said in the words of charlm.
"""

import reprlib
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

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
    return "".join(_escape(c) if _controls(c) and c not in keep else c for c in text)


def short_repr(value: Any) -> str:
    """Return the repr of a value, with long parts left out."""
    return _LIMITED.repr(value)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, for instance `1 step` or `1,000 steps`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return the word that is spelt most like the given one, or None if none is similar."""
    import difflib  # here, so that a start without a mistake does not wait for it

    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.6)), None)


def _controls(character: str) -> bool:
    category = unicodedata.category(character)
    return category in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in _JOINERS


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def check_choice(name: str, found: str, choices: Any) -> None:
    """Refuse a value that is not one of a Literal type.

    Args:
        name: The argument, for the message.
        found: Its value.
        choices: The Literal type, for instance `Split`.

    Raises:
        CharlmError: the value is not one of the choices.

    """
    check_name(name, found, get_args(choices))


def check_name(name: str, found: str, names: Iterable[str]) -> None:
    """Refuse a value that is not one of some names; raises CharlmError like `check_choice`."""
    *others, last = names
    if found not in (*others, last):
        allowed = f"{', '.join(others)} or {last}" if others else last
        raise CharlmError(f"{name}: found {short_repr(found)}; must be {allowed}")


_REQUIREMENTS = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "literal_error": "must be {expected}",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a section, that is a mapping of keys to values",
    "invalid_key": "a key must be text",
    "missing": "is missing",
    "extra_forbidden": "there is no such key here",
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must have {min_length} items or more",
    "too_long": "must have {max_length} items or fewer",
}


def requirement(error: "ErrorDetails") -> str:
    """Return what a refused value must be, for instance `must be 1 or more`.

    Args:
        error: One of the errors of a pydantic.ValidationError.

    """
    if error["type"] in _REQUIREMENTS:
        facts = {name: _plain(value) for name, value in error.get("ctx", {}).items()}
        return _REQUIREMENTS[error["type"]].format(**facts)
    return error["msg"].removeprefix("Value error, ").replace("Input should", "must")


def key_path(problem: "ErrorDetails") -> list[str]:
    """Return the parts of the dotted key that a problem is about, without the kinds that pydantic adds.

    Args:
        problem: One of the errors of a pydantic.ValidationError. A key that is unknown or missing comes last, and may
            be spelt like one of these kinds.

    """
    parts = [str(part) for part in problem["loc"]]
    named = parts[-1:] if problem["type"] in {"extra_forbidden", "missing"} else []
    kinds = {"str", "dict[str,any]", "function-after", "[key]"}
    return [part for part in parts[: len(parts) - len(named)] if part not in kinds] + named


def _plain(value: Any) -> Any:
    """Return a limit with thousands apart, and without the zero after the point of a whole number."""
    return f"{value:,}".removesuffix(".0") if isinstance(value, int | float) else value
