"""Where commands print: results on standard output, everything else on standard error."""

import contextlib
import os
import sys
from collections.abc import Iterator

import click

from charlm.errors import CharlmError, harmless


class OutputClosedError(Exception):
    """The reader of standard output has gone: there is nobody to print for, and nothing is wrong."""


class LogSettings:
    """What of its messages a command prints."""

    def __init__(self) -> None:
        self.is_quiet = False
        """Whether only errors are printed."""

    @property
    def shows_progress(self) -> bool:
        """Whether progress bars are shown: on a terminal that can move its cursor, unless the command is quiet."""
        return not self.is_quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def log_settings() -> LogSettings:
    """Return the settings of the command that runs, which its options may change; without a command, the defaults."""
    context = click.get_current_context(silent=True)
    if context is None:
        return LogSettings()
    settings: LogSettings = context.meta.setdefault(__name__, LogSettings())
    return settings


def say(message: str) -> None:
    """Print a message of `charlm` on standard error, in one line; a write error is ignored."""
    if not log_settings().is_quiet:
        say_error(message)


def say_error(message: str) -> None:
    """Print why a command failed, like `say`, but also if it is quiet."""
    print_aside(f"charlm: {message}")


def print_aside(line: str) -> None:
    """Print a line on standard error, control characters escaped; a write error is ignored."""
    with contextlib.suppress(OSError):
        click.echo(harmless(line), err=True)


def write_result(text: str | bytes) -> None:
    """Write part of a result to standard output at once; bytes are written as they are.

    Raises:
        OutputClosedError: the reader has gone.
        CharlmError: the text cannot be written, for instance because the disk is full.

    """
    with writing_output():
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)  # every call ends with a flush, so that nothing waits to be written before
        else:
            sys.stdout.write(text)
        sys.stdout.flush()


def print_result(*lines: str) -> None:
    """Print whole lines of a result to standard output, control characters escaped; raises like `write_result`."""
    write_result("".join(f"{harmless(line)}\n" for line in lines))


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Blame standard output for an OSError in the block, which must do nothing else that can raise one.

    Raises:
        OutputClosedError: the reader has gone.
        CharlmError: standard output cannot be written.

    """
    try:
        yield
    except BrokenPipeError:
        _drop_output()
        raise OutputClosedError from None
    except OSError as error:
        _drop_output()
        raise CharlmError(f"standard output: {error.strerror}") from None


def _drop_output() -> None:
    """Discard what could not be written to standard output; else Python tries again when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
