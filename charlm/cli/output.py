"""Where commands print (results on standard output, everything else on standard error), and how wide a table may be."""

import contextlib
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import click

from charlm.errors import CharlmError
from charlm.wording import escape_controls

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
    """Return the columns that a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    """Return the columns of a character: two for East Asian wide ones and emoji, none for a combining mark."""
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def beginning(text: str, width: int) -> str:
    """Return as much of the beginning of a text as fits into a width, 0 or more columns."""
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > width:
            return text[:index]
    return text


def cut(text: str, width: int) -> str:
    """Return a text that takes at most so many columns, 1 or more; an ellipsis ends one that was longer."""
    start = beginning(text, width)
    return text if start == text else f"{beginning(start, width - 1)}…"


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
        cells = [
            (index, cell, " " * (widths[index] - text_width(cell)))
            for index, cell in enumerate(row)
        ]
        padded = [
            f"{cell}{pad}" if index in text_columns else f"{pad}{cell}"
            for index, cell, pad in cells
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def fill(items: Sequence[str], *, width: int, indent: int = 0) -> list[str]:
    """Write items one after the other, separated by commas, in lines of a limited width.

    An item is broken only if it is wider than a line, and then between words if it can be.

    Args:
        items: Any number of items.
        width: The columns of a line, at least two more than `indent`.
        indent: Spaces at the start of each line.

    """
    words: list[str] = []
    for number, item in enumerate(items, start=1):
        end = "," if number < len(items) else ""
        is_whole = text_width(item) <= width - indent
        words += [f"{item}{end}"] if is_whole else f"{item}{end}".split(" ")
    return wrap(words, width, indent=" " * indent, next_indent=" " * indent, breaks_words=True)


def wrap(
    words: Iterable[str],
    width: int,
    *,
    indent: str = "",
    next_indent: str = "",
    breaks_words: bool = False,
) -> list[str]:
    """Write words, separated by spaces, in lines of a limited width.

    Args:
        words: Any number of words.
        width: The columns of a line, at least two more than those of an indent.
        indent: The start of the first line.
        next_indent: The start of each other line.
        breaks_words: Whether a word that is wider than a line is broken, or has a line that is too long.

    """
    lines: list[str] = []
    line = indent
    is_empty = True
    for word in words:
        longer = f"{line}{word}" if is_empty else f"{line} {word}"
        if not is_empty and text_width(longer) > width:
            lines.append(line)
            longer = f"{next_indent}{word}"
        while breaks_words and text_width(longer) > width:
            start = beginning(longer, width)
            lines.append(start)
            longer = f"{next_indent}{longer[len(start) :]}"
        line = longer
        is_empty = False
    return lines if is_empty else [*lines, line]
