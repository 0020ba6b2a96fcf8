"""Printing: results on standard output, everything else on standard error; widths and tables."""

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
"""Smallest terminal width that output is laid out for, in columns."""


class OutputClosedError(Exception):
    """Standard output was closed, for example by `head`; this is not an error."""


def be_quiet(context: click.Context, _: click.Parameter, is_quiet: bool) -> None:
    """Remember the option --quiet for the running command."""
    context.meta[__name__] = is_quiet


def is_quiet() -> bool:
    """Return whether the running command prints only results and errors."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(__name__))


def shows_progress() -> bool:
    """Return whether to show progress bars: on a capable terminal, unless the command is quiet."""
    return not is_quiet() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def say(message: str) -> None:
    """Print a line on standard error, unless the command is quiet."""
    if not is_quiet():
        say_error(message)


def say_error(message: str) -> None:
    """Print a line on standard error, even if the command is quiet."""
    print_aside(f"charlm: {message}")


def print_aside(line: str) -> None:
    """Print a line on standard error, control characters escaped; ignore write errors."""
    with contextlib.suppress(OSError):
        click.echo(escape_controls(line), err=True)


def write_result(text: str) -> None:
    """Write part of a result to standard output, and flush it.

    Raises:
        OutputClosedError: Standard output was closed.
        CharlmError: The text cannot be written, for example because the disk is full.

    """
    with writing_output():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_result(*lines: str) -> None:
    """Print lines of a result, control characters escaped; see `write_result` for errors."""
    write_result("".join(f"{escape_controls(line)}\n" for line in lines))


def print_json(value: Any) -> None:
    """Print a value as one line of JSON, with paths as strings; see `write_result` for errors."""
    print_result(json.dumps(value, default=str, allow_nan=False))


@contextlib.contextmanager
def writing_output() -> Iterator[None]:
    """Turn an OSError in the block, which only writes to standard output, into a clear error.

    Raises:
        OutputClosedError: Standard output was closed.
        CharlmError: Standard output cannot be written.

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
    """Discard unwritten output; otherwise Python would try to write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminal_width() -> int:
    """Return the width of the terminal, at least 40; 80 if there is none; COLUMNS overrides it."""
    return max(MIN_WIDTH, shutil.get_terminal_size().columns)


def text_width(text: str) -> int:
    """Return the width of a text in terminal columns."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    """Return 2 for wide East Asian characters and emoji, 0 for combining marks, otherwise 1."""
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def beginning(text: str, width: int) -> str:
    """Return the longest beginning of a text that fits into `width` columns, 0 or more."""
    columns = 0
    for index, character in enumerate(text):
        columns += _width(character)
        if columns > width:
            return text[:index]
    return text


def cut(text: str, width: int) -> str:
    """Shorten a text to at most `width` columns, 1 or more, ending in an ellipsis if it was cut."""
    start = beginning(text, width)
    return text if start == text else f"{beginning(start, width - 1)}…"


def align(rows: Sequence[Sequence[str]], *, text_columns: Collection[int] = ()) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: Cells of each row; all rows have the same length, and there is at least one.
        text_columns: Indices of the columns aligned to the left; the others are right-aligned.

    """
    widths = [max(map(text_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = []
        for index, cell in enumerate(row):
            padding = " " * (widths[index] - text_width(cell))
            padded.append(cell + padding if index in text_columns else padding + cell)
        lines.append("  ".join(padded).rstrip())
    return lines


def fill(items: Sequence[str], *, width: int, indent: int = 0) -> list[str]:
    """Return items as lines, separated by commas; only an item wider than a line is broken.

    Args:
        items: Items, any number.
        width: Largest width of a line in columns, at least two more than `indent`.
        indent: Number of spaces before each line.

    """
    words: list[str] = []
    for number, item in enumerate(items, start=1):
        separated = f"{item}," if number < len(items) else item
        fits = text_width(item) <= width - indent
        words += [separated] if fits else separated.split(" ")
    return wrap(words, width, indent=" " * indent, next_indent=" " * indent, breaks_words=True)


def wrap(
    words: Iterable[str],
    width: int,
    *,
    indent: str = "",
    next_indent: str = "",
    breaks_words: bool = False,
) -> list[str]:
    """Return words as lines, separated by spaces.

    Args:
        words: Words, any number.
        width: Largest width of a line in columns, at least two more than an indent.
        indent: Start of the first line.
        next_indent: Start of the other lines.
        breaks_words: Whether to break a word wider than a line; otherwise the word gets a line that
            is too long.

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
