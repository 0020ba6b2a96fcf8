"""What the user sees of a training: its size, a progress bar on standard error, and a line an evaluation.

Losses are in nats per character.
"""

import contextlib
import os
import textwrap
from typing import NoReturn

from tqdm import tqdm

from charlm.errors import counted, duration
from charlm.network.rnn import architecture
from charlm.runs.run import Run
from charlm.text.findings import find_problems
from charlm.training.checkpoints import Progress
from charlm.training.schedule import Schedule

COLUMNS = 80
"""The width of a line if standard error is not a terminal, or its width is not known."""
MIN_WORDS_COLUMNS = 12
"""The shortest part of a sample that is worth its place."""
PREFIX_COLUMNS = len("charlm: ")
"""What the command line puts before a line."""


def line_columns(descriptor: int = 2) -> int:
    """Return the columns of a line for the user, without what the command line puts before it.

    Args:
        descriptor: The file descriptor of standard error.

    """
    columns = 0
    with contextlib.suppress(OSError):  # not a terminal
        columns = os.get_terminal_size(descriptor).columns
    return (columns or COLUMNS) - PREFIX_COLUMNS


def describe_run(run: Run, schedule: Schedule) -> list[str]:
    """Return the lines that tell the user what is trained on what, and the possible problems in the text.

    Args:
        run: Its config and corpus.
        schedule: Its steps, and what they read.

    """
    model, shape = run.config.model, architecture(run.config, len(run.corpus.vocabulary))
    return [
        f"training on {run.corpus.manifest.text_name} with the recipe {run.config.recipe}:",
        run.corpus.size_summary,
        f"{model.layers} x {model.units} units, {shape.size:,} weights; kernel: {run.config.training.kernel}",
        f"{counted(schedule.total, 'step')} of {counted(schedule.batches.batch_size, 'window')} of "
        f"{', '.join(map(str, schedule.lengths))} characters, {schedule.epochs(schedule.total):,.4g} epochs",
        *(line for problem in find_problems(run.corpus) for line in wrap(problem)),
    ]


def wrap(line: str, *, columns: int = COLUMNS - PREFIX_COLUMNS) -> list[str]:
    """Return a line for the user as several of limited width, if it is longer; a longer word is not broken."""
    return textwrap.wrap(line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def describe_evaluation(
    progress: Progress,
    schedule: Schedule,
    validation_nats: float | None,
    *,
    is_best: bool,
    sample: str = "",
    columns: int | None = None,
) -> str:
    """Return the line for an evaluation.

    Args:
        progress: The step, the time spent, and the training loss.
        schedule: The steps of the whole run.
        validation_nats: The loss on the validation text in nats per character; None if there is no such text.
        is_best: Whether the evaluation is the best so far.
        sample: What the network writes; the line ends with its beginning.
        columns: The width of the line; None = that of the terminal.

    """
    columns = columns or line_columns()
    left = f", {_left(progress, schedule)}" if progress.step < schedule.total else ""
    validation = "" if validation_nats is None else f", validation {validation_nats:.3f}"
    best, words = ", best" if is_best else "", " ".join(sample.split())
    line = f"step {progress.step:,} of {schedule.total:,}{left}: train {progress.train_nats:.3f}{validation}{best}"
    room = columns - len(line) - len(' ""')
    return f'{line} "{words[:room]}"' if words and room >= MIN_WORDS_COLUMNS else line[:columns]


def progress_bar(schedule: Schedule, progress: Progress, *, disable: bool) -> "tqdm[NoReturn]":
    """Return a bar over all steps that a run will take, which starts where the run is; a context manager."""
    return tqdm(
        total=schedule.total,
        initial=progress.step,
        disable=disable,
        dynamic_ncols=True,
        bar_format="{percentage:3.0f}%|{bar}| step {n_fmt} of {total_fmt}{postfix}",
    )


def update_bar(bar: "tqdm[NoReturn]", progress: Progress, schedule: Schedule) -> None:
    """Show the step, the time left, the speed in characters per second and the last loss in nats per character."""
    loss = [progress.train_nats, *progress.pending_losses][-1]
    speed = schedule.characters(progress.step) / max(progress.seconds, 1e-9)
    left = _left(progress, schedule) if progress.step < schedule.total else "last evaluation"
    bar.set_postfix_str(f"{left}, {tqdm.format_sizeof(speed)} char/s, loss {loss:.3f} nats", refresh=False)
    bar.update(progress.step - bar.n)


def _left(progress: Progress, schedule: Schedule) -> str:
    """Return how long the rest of a run takes, evaluations included, if it goes on as fast as so far."""
    done, total = schedule.characters(progress.step), schedule.characters(schedule.total)
    return f"{duration(progress.elapsed_seconds / max(done, 1) * (total - done))} left"
