"""`CharlmError`, the exception for errors that a user can fix."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from charlm.wording import escape_controls

MAX_CHARACTERS = 1500
"""Maximum length of a message; the middle of a longer message is left out."""
MAX_PROBLEMS = 10
"""Maximum number of problems shown for one file."""


@dataclass(frozen=True)
class Advice:
    """Advice after an error, which the command line turns into a command."""

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
    """Path of the text, model or run in question."""


class CharlmError(Exception):
    """A user-fixable error in a file, a setting or a text.

    The message is one line that names the file or key, the value found, and the value expected.
    Control characters are escaped. The command line prints the message and exits with `exit_code`.

    Args:
        message: Description of the error.
        advice: Advice for the user.
        problems: Descriptions of several errors in the same file or option, each printed on its own
            line.

    """

    exit_code = 1

    def __init__(
        self, message: str, *, advice: Advice | None = None, problems: Sequence[str] = ()
    ) -> None:
        self.advice = advice
        self.lines = tuple(as_line(line) for line in (message, *problems))
        """Message and problems, each on its own line."""
        details = "; ".join(problems)
        super().__init__(as_line(f"{message}: {details}" if problems else message))


def as_line(message: str) -> str:
    """Return a message as a single line of limited length."""
    line = escape_controls(message)
    if len(line) > MAX_CHARACTERS:
        return f"{line[: MAX_CHARACTERS // 2]} ... {line[-MAX_CHARACTERS // 2 :]}"
    return line


def several_problems(origin: str, problems: Iterable[str], *, count: int) -> CharlmError:
    """Return an error about one or more problems of a file or an option.

    Args:
        origin: Name of the file or option.
        problems: Description of each problem; only the first ten are used.
        count: Number of problems, 1 or more.

    """
    shown = list(islice(problems, MAX_PROBLEMS))
    if count == 1:
        return CharlmError(f"{origin}: {shown[0]}")
    if count > MAX_PROBLEMS:
        shown.append(f"and {count - MAX_PROBLEMS:,} more")
    return CharlmError(f"{origin}: {count:,} errors", problems=shown)
