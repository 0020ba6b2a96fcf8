"""Events as lines on standard error, and as a progress bar on a terminal."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from charlm import events
from charlm.cli.output import say, shows_progress, wrap
from charlm.events import Event, Progress
from charlm.wording import counted, duration, escape_controls

if TYPE_CHECKING:
    from tqdm import tqdm

COLUMNS = 80
"""Line width if standard error is not a terminal or its width is unknown."""
PREFIX_COLUMNS = len("charlm: ")
"""Width of the prefix of every line."""
MIN_SAMPLE_COLUMNS = 12
"""Smallest width of a sample that is worth showing."""
LONG_TEXT = 500_000
"""Length of a text that takes long to score, in characters."""
TRAINING = ""
"""Name of the bar of the training steps, which stays on the screen."""


def line_columns() -> int:
    """Return the width of a line on standard error without the prefix, in columns."""
    columns = 0
    with contextlib.suppress(OSError):  # not a terminal
        columns = os.get_terminal_size(2).columns
    return (columns or COLUMNS) - PREFIX_COLUMNS


def describe(event: Event, *, columns: int = COLUMNS - PREFIX_COLUMNS) -> list[str]:
    """Return the lines that describe an event; none if it only moves a progress bar.

    Args:
        event: The event.
        columns: Largest width of the line for an evaluation.

    """
    match event:
        case events.Note(message):
            return wrap(message, COLUMNS - PREFIX_COLUMNS)
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

    def __enter__(self) -> "ProgressDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()

    def __call__(self, event: Event) -> None:
        """Show an event: its lines above the bar, then the bar."""
        lines = describe(event, columns=line_columns())
        progress = _progress(event)
        if progress is not None and not self._has_bar:
            lines = _describe_long_text(progress)
            progress = None
        if lines:
            with self._above_bar():
                for line in lines:
                    say(line)
        if progress is not None:
            self._show(progress)

    @contextlib.contextmanager
    def _above_bar(self) -> Iterator[None]:
        """While the `with` block runs, its output appears above the bar."""
        if self._bar is None:
            yield
            return
        self._bar.clear()
        yield
        self._bar.refresh()

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


def _describe_long_text(progress: Progress) -> list[str]:
    """Return a line for a text that takes long to score, before its first character."""
    is_long = progress.unit == "character" and progress.total >= LONG_TEXT
    if progress.done or not is_long:
        return []
    return [f"{progress.task} {counted(progress.total, 'character')}"]


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
