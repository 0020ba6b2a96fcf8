"""`CharlmError`, the one exception that a user is meant to read."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from charlm.wording import escape_controls

MAX_CHARACTERS = 1500
"""Of a message: a longer one, with a key or a path of thousands of characters, is shown without its middle."""
MAX_PROBLEMS = 10
"""The largest number of problems of one file that are shown."""


@dataclass(frozen=True)
class Advice:
    """What helps after an error. The command line turns it into a command."""

    kind: Literal[
        "train",
        "begin",
        "use as text",
        "name a text",
        "resume",
        "lower the learning rate",
        "list runs",
    ]
    path: Path | None = None
    """The text, the model or the run that the error is about."""


class CharlmError(Exception):
    """Something outside the program is wrong: a file, a setting, a text.

    The message is one line. It names the file or key, what was found there, and what is expected. Control characters in
    it are written as escapes. The command line prints it and exits with `exit_code`.

    Args:
        message: What is wrong.
        advice: What helps.
        problems: Several errors in the file or option that the message names. The command line prints a line for each.

    """

    exit_code = 1

    def __init__(
        self, message: str, *, advice: Advice | None = None, problems: Sequence[str] = ()
    ) -> None:
        self.advice = advice
        self.lines = tuple(as_line(line) for line in (message, *problems))
        """The message, and each problem."""
        details = "; ".join(problems)
        super().__init__(as_line(f"{message}: {details}" if problems else message))


def as_line(message: str) -> str:
    """Return a message as one line of limited length."""
    line = escape_controls(message)
    if len(line) > MAX_CHARACTERS:
        return f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 :]}"
    return line


def several_problems(origin: str, problems: Iterable[str], *, count: int) -> CharlmError:
    """Return an error about all problems of a file or an option.

    Args:
        origin: The file or option.
        problems: A line for each problem; only the first ten are read.
        count: The number of problems, 1 or more.

    """
    shown = list(islice(problems, MAX_PROBLEMS))
    if count == 1:
        return CharlmError(f"{origin}: {shown[0]}")
    if count > MAX_PROBLEMS:
        shown.append(f"and {count - MAX_PROBLEMS:,} more")
    return CharlmError(f"{origin}: {count:,} errors", problems=shown)
