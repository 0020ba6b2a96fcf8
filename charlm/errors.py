"""`CharlmError`, the exception for errors that a user can fix."""

from collections.abc import Iterable, Sequence
from itertools import islice

from charlm.wording import escape_controls

MAX_CHARACTERS = 1500
"""Maximum length of a message; the middle of a longer message is left out."""
MAX_PROBLEMS = 10
"""Maximum number of problems shown for one file."""


class CharlmError(Exception):
    """A user-fixable error in a file, a setting or a text.

    The message is one line that names the file or key, the value found, and the value expected, and
    often a command that helps. Control characters are escaped. The command line prints the message
    and exits with `exit_code`.

    Args:
        message: Description of the error.
        problems: Descriptions of several errors in the same file or option, each printed on its own
            line.

    """

    exit_code = 1

    def __init__(self, message: str, *, problems: Sequence[str] = ()) -> None:
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
