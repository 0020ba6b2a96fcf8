"""`CharlmError`, the one exception that a user is meant to read."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from charlm.wording import escape_controls, listed, short_repr

MAX_CHARACTERS = 1500
"""Of a message: a longer one, with a key or a path of thousands of characters, is shown without its middle."""


@dataclass(frozen=True)
class Advice:
    """What helps after an error. The command line turns it into a command."""

    kind: Literal["train", "begin", "use as text", "name a text", "resume", "lower the learning rate", "list runs"]
    path: Path | None = None
    """The text, the model or the run that the error is about."""


class CharlmError(Exception):
    """Something outside the program is wrong: a file, a setting, a text.

    The message is one line. It names the file or key, what was found there, and what is expected. Control characters in
    it are written as escapes. The command line prints it and exits with `exit_code`.
    """

    exit_code = 1

    def __init__(self, message: str, *, advice: Advice | None = None) -> None:
        self.advice = advice
        line = escape_controls(message)
        if len(line) > MAX_CHARACTERS:
            line = f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 :]}"
        super().__init__(line)


def check_name(name: str, found: str, names: Iterable[str]) -> None:
    """Refuse a value that is not one of some names.

    Args:
        name: The argument, for the message.
        found: Its value.
        names: One or more.

    Raises:
        CharlmError: the value is none of the names.

    """
    allowed = [*names]
    if found not in allowed:
        raise CharlmError(f"{name}: found {short_repr(found)}; must be {listed(allowed, 'or')}")
