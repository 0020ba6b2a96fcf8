"""Printing: results on standard output, everything else on standard error.

Events are lines on standard error, and a progress bar on a terminal.
"""

import contextlib
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from charlm import events
from charlm.errors import CharlmError
from charlm.events import Event, Progress
from charlm.wording import duration, escape_controls

if TYPE_CHECKING:
    from tqdm import tqdm

MIN_WIDTH = 40
"""Smallest terminal width that output is laid out for, in columns."""
PREFIX_COLUMNS = len("charlm: ")
"""Width of the prefix of every line."""
SILENT_SECONDS = 3.0
"""Time without a line until progress is printed as a line, if there is no bar."""
MIN_SAMPLE_COLUMNS = 12
"""Smallest width of a sample that is worth showing."""
TRAINING = ""
"""Name of the bar of the training steps, which stays on the screen."""


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

    On a terminal, control characters except line breaks and tabs are escaped.

    Raises:
        OutputClosedError: Standard output was closed.
        CharlmError: The text cannot be written, for example because the disk is full.

    """
    with writing_output():
        is_terminal = sys.stdout.isatty()
        sys.stdout.write(escape_controls(text, keep="\n\t") if is_terminal else text)
        sys.stdout.flush()


def print_result(*lines: str) -> None:
    """Print lines of a result; see `write_result`. On a terminal, a line stays one line."""
    shown = map(escape_controls, lines) if sys.stdout.isatty() else lines
    write_result("".join(f"{line}\n" for line in shown))


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


def wrap(text: str, width: int, *, indent: int = 0, next_indent: int = 2) -> list[str]:
    """Return a text as lines; a word that is wider than a line is not broken.

    Args:
        text: Text without line breaks.
        width: Largest width of a line, in characters.
        indent: Number of spaces before the first line.
        next_indent: Number of spaces before the other lines.

    """
    return textwrap.wrap(
        text,
        width,
        initial_indent=" " * indent,
        subsequent_indent=" " * next_indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def align(rows: Sequence[Sequence[str]], *, text_columns: Collection[int] = ()) -> list[str]:
    """Return the lines of a table.

    Args:
        rows: Cells of each row; all rows have the same length, and there is at least one.
        text_columns: Indices of the columns aligned to the left; the others are right-aligned.

    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            is_text = index in text_columns
            cells.append(cell.ljust(width) if is_text else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def describe(event: Event) -> list[str]:
    """Return the lines that describe an event; none if it only moves a progress bar."""
    columns = terminal_width() - PREFIX_COLUMNS
    match event:
        case events.Note(message):
            return wrap(message, columns)
        case events.Started(_, step, total) if step:
            return [f"resumed at step {step:,} of {total:,}"]
        case events.Evaluated():
            return [_describe_evaluation(event, columns)]
    return []


def _describe_evaluation(event: events.Evaluated, columns: int) -> str:
    """Return the line for an evaluation; the start of the sample fills the rest of the line."""
    nats = event.validation_nats
    if not event.step:
        split = "train" if nats is None else "validation"
        return f"step 0: {split} {event.nats_per_char:.3f} nats"
    left = f", {duration(event.left_seconds)} left" if event.step < event.total else ""
    line = f"step {event.step:,} of {event.total:,}{left}: train {event.train_nats:.3f}"
    if nats is not None:
        line += f", validation {nats:.3f}"
    if event.is_best:
        line += ", best"
    words = " ".join(event.sample.split())
    free = columns - len(line) - len(' ""')
    if words and free >= MIN_SAMPLE_COLUMNS:
        return f'{line} "{words[:free]}"'
    return line


def _progress(event: Event) -> Progress | None:
    """Return the progress to show after an event; None if the event has no bar."""
    match event:
        case Progress():
            return event
        case events.StepsTaken(step, losses, total, characters_per_second, left_seconds):
            from tqdm import tqdm  # here, for a fast start of other commands

            left = f"{duration(left_seconds)} left" if step < total else "last evaluation"
            speed = f"{tqdm.format_sizeof(characters_per_second)} char/s"
            details = f"{left}, {speed}, loss {losses[-1]:.3f} nats"
            return Progress(TRAINING, step, total, "step", details)
    return None


class ProgressDisplay:
    """Shows the events of a task on standard error; a context manager that removes the bar."""

    def __init__(self) -> None:
        self._has_bar = shows_progress()
        self._bar: tqdm[NoReturn] | None = None
        self._task = ""
        self._printed = time.monotonic()
        self.warnings: list[str] = []
        """Messages of the warnings so far."""

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()

    def __call__(self, event: Event) -> None:
        """Show an event: its lines above the bar, then the bar."""
        if isinstance(event, events.Note) and event.is_warning:
            self.warnings.append(event.message)
        lines = describe(event)
        now = time.monotonic()
        is_silent = not self._has_bar and now - self._printed > SILENT_SECONDS
        if is_silent and isinstance(event, Progress):
            lines = [f"{event.task}: {event.unit} {event.done:,} of {event.total:,}"]
        if lines:
            self._printed = now
        if lines and self._bar is not None:
            self._bar.clear()  # the next event draws it again, below the lines
        for line in lines:
            say(line)
        progress = _progress(event) if self._has_bar else None
        if progress is not None:
            self._show(progress)

    def _show(self, progress: Progress) -> None:
        if self._bar is None or self._task != progress.task:
            self._close_bar()
            self._task = progress.task
            self._bar = _new_bar(progress)
        self._bar.set_postfix_str(escape_controls(progress.details), refresh=False)
        self._bar.update(progress.done - self._bar.n)
        if progress.done == progress.total:
            self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def _new_bar(progress: Progress) -> "tqdm[NoReturn]":
    """Return a progress bar that starts at the present state."""
    from tqdm import tqdm

    percentage = f"{progress.task} {{percentage:3.0f}}%"
    numbers = f"{progress.unit} {{n_fmt}} of {{total_fmt}}{{postfix}}"
    return tqdm(
        total=progress.total,
        initial=progress.done,
        leave=progress.task == TRAINING,
        dynamic_ncols=True,
        postfix=escape_controls(progress.details),
        bar_format=f"{percentage}|{{bar}}| {numbers}",
    )
