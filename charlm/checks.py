"""Check untrusted JSON and the arguments of library calls."""

import contextlib
import json
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from charlm.errors import CharlmError
from charlm.wording import listed, short_repr

MAX_DEPTH = 32
"""Largest nesting depth of lists and mappings in untrusted JSON."""
MAX_WHOLE = 2**63 - 1
"""Largest whole number in untrusted JSON, arguments and requests: one of 64 bits."""
MAX_NAME_BYTES = 255
"""Maximum length of a file name on Linux, in bytes."""


def parse_json(text: str | bytes, *, origin: str) -> Any:
    """Return the value of an untrusted JSON text.

    Args:
        text: JSON, as a string or in UTF-8.
        origin: Start of messages, for example the path of the file.

    Raises:
        CharlmError: The text is not JSON, or `check_json` refuses the value.

    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CharlmError(f"{origin}: not valid JSON: {str(error)[:200]}") from None
    check_json(value, origin=origin)
    return value


def check_json(value: Any, *, origin: str, depth: int = 0) -> None:
    """Check that other code can handle a value.

    Strings must be valid Unicode, numbers finite and of at most 64 bits, and lists and mappings at
    most MAX_DEPTH deep.

    Args:
        value: Value returned by `json.loads`.
        origin: Start of messages.
        depth: Number of lists and mappings around the value.

    Raises:
        CharlmError: The value violates one of these rules.

    """
    problem = _problem_in_json(value, depth=depth)
    if problem is not None:
        raise CharlmError(f"{origin}: {problem}")
    items: list[Any] = []
    if isinstance(value, list):
        items = value
    elif isinstance(value, dict):
        items = [*value, *value.values()]
    for item in items:
        check_json(item, origin=origin, depth=depth + 1)


def _problem_in_json(value: Any, *, depth: int) -> str | None:
    """Return the reason to refuse a value itself, without its items, or None."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"found {short_repr(value)}, which has an unpaired surrogate"
    elif isinstance(value, int):
        if not -MAX_WHOLE - 1 <= value <= MAX_WHOLE:
            return "found a whole number of more than 64 bits"
    elif isinstance(value, float):
        if not math.isfinite(value):
            return f"found {value}; expected a finite number"
    elif isinstance(value, list | dict) and depth == MAX_DEPTH:
        return f"lists or mappings nested more than {MAX_DEPTH} levels deep"
    return None


def check_name(argument: str, value: str, names: Iterable[str]) -> None:
    """Raise CharlmError if the value of an argument is not one of `names`."""
    allowed = [*names]
    if value not in allowed:
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be {listed(allowed, 'or')}")


def check_range(
    argument: str, value: float, least: float, most: float = math.inf, *, above: bool = False
) -> None:
    """Raise CharlmError if the value of an argument is not a finite number, or out of range.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.
        least: Lower end of the range.
        most: Largest allowed value.
        above: Whether the value must be above the lower end.

    """
    is_finite = isinstance(value, Real) and value < math.inf
    if is_finite and (least < value <= most or (value == least and not above)):
        return
    allowed = f"above {least:,}" if above else f"{least:,} or more"
    if most < math.inf:
        allowed = f"above {least:,} and at most {most:,}" if above else f"{least:,} to {most:,}"
    raise CharlmError(f"{argument}: found {short_repr(value)}; must be {allowed}")


def check_whole(argument: str, value: float, least: int, most: int = MAX_WHOLE) -> None:
    """Raise CharlmError if the value of an argument is not a whole number, or out of range."""
    if not isinstance(value, Integral):
        raise CharlmError(f"{argument}: found {short_repr(value)}; must be a whole number")
    check_range(argument, value, least, most)


def check_path(argument: str, value: str | Path) -> str:
    """Return the value of an argument that must be a path, unchanged: a Path would drop `./`.

    Args:
        argument: Name of the argument, for the message.
        value: Value of the argument.

    Raises:
        CharlmError: The value is empty, or is a text instead of a path.

    """
    name = os.fspath(value)
    if not name:
        raise CharlmError(f"{argument}: the path is empty")
    with contextlib.suppress(UnicodeEncodeError):  # an unpaired surrogate
        longest = max(map(len, os.fsencode(name).split(b"/")))
        if "\n" not in name and "\0" not in name and longest <= MAX_NAME_BYTES:
            return name
    problem = "which is a text; must be the path of a file"
    raise CharlmError(f"{argument}: found {name[:40]!r}..., {problem}")


def check_each(argument: str, value: str | Path | Iterable[str | Path]) -> list[str]:
    """Return the paths of an argument, which is one path or several; see `check_path`."""
    items = [value] if isinstance(value, str | os.PathLike) else value
    return [check_path(argument, item) for item in items]


def to_number(value: Any) -> int | float | None:
    """Return a value from a file if it is a number, 0 or more and below 1e18, else None."""
    return value if type(value) in {int, float} and 0 <= value < 1e18 else None
