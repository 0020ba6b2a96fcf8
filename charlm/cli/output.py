"""Where commands print (results on standard output, everything else on standard error), and how wide a table may be."""

import contextlib
import json
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import click

from charlm.errors import CharlmError
from charlm.wording import escape_controls

NO_BREAK = "\N{NO-BREAK SPACE}"
MIN_WIDTH = 40
"""The narrowest terminal that output is laid out for."""


class OutputClosedError(Exception):
    """The reader of standard output has gone: there is nobody to print for, and nothing is wrong."""


def be_quiet(context: click.Context, _: click.Parameter, is_quiet: bool) -> None:
    """Print only results and errors of the command that runs, if its option --quiet says so."""
    context.meta[__name__] = is_quiet


def is_quiet() -> bool:
    """Return whether the command that runs prints only results and errors."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(__name__))


def shows_progress() -> bool:
    """Return whether bars are shown: on a terminal that can move its cursor, unless the command is quiet."""
    return not is_quiet() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def say(message: str) -> None:
    """Print a message of `charlm` on standard error, in one line; a write error is ignored."""
    if not is_quiet():
        say_error(message)


def say_error(message: str) -> None:
    """Print why a command failed, like `say`, but also if it is quiet."""
    print_aside(f"charlm: {message}")


def print_aside(line: str) -> None:
    """Print a line on standard error, control characters escaped; a write error is ignored."""
    with contextlib.suppress(OSError):
        click.echo(escape_controls(line), err=True)


def write_result(text: str) -> None:
    """Write part of a result to standard output at once.

    Raises:
        OutputClosedError: the reader has gone.
        CharlmError: the text cannot be written, for instance because the disk is full.

    """
    with writing_output():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_result(*lines: str) -> None:
    """Print whole lines of a result, control characters escaped; raises what `write_result` raises."""
    write_result("".join(f"{escape_controls(line)}\n" for line in lines))


def print_json(value: Any) -> None:
    """Print a value as JSON in one line, paths as texts; raises what `write_result` raises."""
    print_result(json.dumps(value, default=str, allow_nan=False))


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


def terminal_width() -> int:
    """Return the columns of the terminal: at least 40, and 80 if there is no terminal; COLUMNS overrides both."""
    return max(MIN_WIDTH, shutil.get_terminal_size().columns)


def text_width(text: str) -> int:
    """Return the columns that a text takes: two for a wide character of East Asia, none for a combining mark."""
    if text.isascii():
        return len(text)
    shown = [unicodedata.east_asian_width(c) for c in text if unicodedata.category(c) not in {"Mn", "Me", "Cf"}]
    return len(shown) + sum(kind in {"W", "F"} for kind in shown)


def cut(text: str, width: int) -> str:
    """Return a text that takes at most so many columns, 1 or more; an ellipsis ends one that was longer."""
    if text_width(text) <= width:
        return text
    while text_width(text) >= width:
        text = text[:-1]
    return f"{text}…"


def align(rows: Sequence[Sequence[str]], *, text_columns: Collection[int] = ()) -> list[str]:
    """Align the cells of a table.

    Args:
        rows: Rows of equal length, at least one.
        text_columns: The indices of the columns that hold text and are aligned to the left; figures go to the right.

    Returns:
        A line for each row, without spaces at the end.

    """
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [(index, cell, " " * (widths[index] - text_width(cell))) for index, cell in enumerate(row)]
        padded = [f"{cell}{pad}" if index in text_columns else f"{pad}{cell}" for index, cell, pad in cells]
        lines.append("  ".join(padded).rstrip())
    return lines


def fill(items: Sequence[str], *, width: int, indent: int = 0) -> list[str]:
    """Write items one after the other, separated by commas, in lines of a limited width.

    An item is broken only if it is wider than a line, and then between words if it can be.

    Args:
        items: Any number of items.
        width: The columns of a line, more than `indent`.
        indent: Spaces at the start of each line.

    """
    whole = ", ".join(item.replace(" ", NO_BREAK) if len(item) <= width - indent else item for item in items)
    before = " " * indent
    lines = textwrap.wrap(whole, width, initial_indent=before, subsequent_indent=before, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ").rstrip() for line in lines]
