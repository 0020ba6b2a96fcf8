"""`CharlmError`, the exception for errors that a user can fix, and the signals that end charlm."""

import signal
from collections.abc import Sequence

from charlm.wording import escape_controls

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the program after it has cleaned up."""
MAX_CHARACTERS = 1500
"""Maximum length of a message; the middle of a longer message is left out."""


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
