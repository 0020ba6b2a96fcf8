"""What the user sees of a training: the size of the run, and a progress bar on standard error."""

import math
import sys
from collections.abc import Callable
from types import TracebackType

from tqdm import tqdm

from charlm.network.architecture import architecture
from charlm.network.loss import bits
from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training.progress import Progress
from charlm.training.schedule import Schedule

Say = Callable[[str], None]
"""Takes a line for the user."""


def above_bar(say: Say) -> Say:
    """Return a function that prints a line above the progress bar."""

    def say_above(line: str) -> None:
        with tqdm.external_write_mode(sys.stderr):
            say(line)

    return say_above


def describe_run(run: Run, batches: Batches, *, steps: int) -> list[str]:
    """Return the lines that tell the user the size of a run.

    Args:
        run: Its config and corpus.
        batches: How the training text is cut into windows.
        steps: The steps of the whole run.

    """
    model = run.config.model
    shapes = architecture(run.config, len(run.corpus.vocabulary)).shapes()
    return [
        f"corpus: {run.corpus.summary}",
        f"model: {model.layers} x {model.units} units, {sum(map(math.prod, shapes.values())):,} weights; "
        f"{steps:,} steps of {batches.batch_size} x {batches.sequence_length} characters, "
        f"{batches.steps_per_epoch:,} an epoch",
    ]


class ProgressBar:
    """A bar over all characters that a run will read, repetitions counted; a context manager.

    Args:
        batches: How the training text is cut into windows.
        schedule: Decides the length of the run.
        progress: Where the run is when the bar appears.
        disable: Whether to show nothing.

    """

    def __init__(self, batches: Batches, schedule: Schedule, progress: Progress, *, disable: bool) -> None:
        self._batches, self._schedule = batches, schedule
        self._bar = tqdm(
            total=schedule.total * batches.characters_per_step,
            initial=progress.step * batches.characters_per_step,
            unit="char",
            unit_scale=True,
            disable=disable,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: TracebackType | None) -> None:
        self._bar.close()

    def update(self, progress: Progress) -> None:
        """Show the epoch and the last loss."""
        nats = [progress.train_nats, *progress.pending_losses][-1]
        epoch = min(progress.step, self._schedule.total - 1) // self._batches.steps_per_epoch + 1
        epochs = -(-self._schedule.total // self._batches.steps_per_epoch)
        self._bar.set_description(f"epoch {epoch}/{epochs}", refresh=False)
        self._bar.set_postfix_str(f"loss {nats:.3f}, {bits(nats):.3f} bits/char", refresh=False)
        self._bar.update(progress.step * self._batches.characters_per_step - self._bar.n)
