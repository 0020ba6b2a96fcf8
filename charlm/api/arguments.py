"""Arguments of the library: names that are checked, texts, and overrides of a config."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.errors import CharlmError, shorten
from charlm.text.corpus import Corpus


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


Overrides = str | Iterable[str] | Mapping[str, Any]
"""Values that replace those of a config: one `KEY=VALUE` as on the command line, several of them, or a mapping of
dotted keys to values."""


def override_list(overrides: Overrides) -> Iterable[str] | Mapping[str, Any]:
    """Return several overrides, also if there is only one."""
    return [overrides] if isinstance(overrides, str) else overrides


def text_sources(text: str | Path | Corpus | Sequence[str | Path] | None) -> Sequence[str | Path]:
    """Return the sources of a text: those named, the folder of a corpus, or the plays that come with charlm."""
    if isinstance(text, Corpus):
        return [text.folder]
    if text is None:
        return [DEFAULT_CORPUS]
    return [text] if isinstance(text, str | Path) else text
