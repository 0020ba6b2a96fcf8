"""Checks of the arguments of the library: a name that it does not know is a CharlmError, never a wrong result."""

from collections.abc import Iterable
from typing import Any, get_args

from charlm.errors import CharlmError, shorten


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
        raise CharlmError(f"{name}: found {shorten(found)}; must be {allowed}")
