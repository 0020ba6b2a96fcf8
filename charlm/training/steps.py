"""The steps of a run: which windows they read, how many in one call of the engine, and whether training has diverged.

How steps are grouped into calls depends on the clock; what they compute does not. Losses are checked one by one, so
that this is repeatable too.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import DivergenceConfig
from charlm.errors import CharlmError
from charlm.runs.run import Run
from charlm.text.corpus import Corpus
from charlm.training.checkpoints import Progress
from charlm.training.engine import Engine
from charlm.training.events import StepChange
from charlm.training.schedule import Schedule
from charlm.training.soft_targets import SoftTargets

ADVICE = (
    "lower training.optimizer.learning_rate or training.clip_norm, or change the initializers of the network; the last "
    "checkpoint is whole, and --resume -s training.optimizer.learning_rate=X goes on from it"
)
SECONDS_PER_CALL = 0.5
"""If a call would take longer than this, it gets fewer steps, so that a signal is answered soon."""


class DivergenceError(CharlmError):
    """Training has diverged."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: training has diverged: {ADVICE}")


class WindowReader:
    """Reads the windows of steps from the training text.

    Args:
        corpus: The text.
        schedule: Which windows a step reads.
        rows: Which rows of a batch are read.

    """

    def __init__(self, corpus: Corpus, schedule: Schedule, rows: slice) -> None:
        self._corpus, self._schedule, self._rows = corpus, schedule, rows
        self._ids = corpus.split("train")

    def __call__(self, first: int, count: int) -> NDArray[np.int32]:
        """Return windows of one epoch and one length, int32 [count, T + 1, rows].

        Args:
            first: The number of steps before the first of these, 0 or more.
            count: The number of steps.

        Raises:
            CharlmError: the text on the disk has become shorter.

        """
        self._corpus.check_size()
        batches, epoch, window = self._schedule.place(first)
        return batches.windows(self._ids, epoch=epoch, first=window, count=count, rows=self._rows)


class StepRunner:
    """Takes the steps of a run, in order.

    Args:
        run: Its config and its training text.
        engine: What computes the steps.
        schedule: Which windows a step reads, and when something else has to happen.
        soft_targets: The probabilities of the teachers by position, float16 [N, V]; None = there are none.

    """

    def __init__(
        self,
        run: Run,
        engine: Engine,
        schedule: Schedule,
        *,
        soft_targets: SoftTargets | None = None,
    ) -> None:
        self._settings = run.config.training
        self._engine, self._schedule = engine, schedule
        self._read_windows = WindowReader(run.corpus, schedule, engine.rows)
        self._soft_targets = soft_targets
        self._seconds_per_step = math.inf  # not known yet
        self.last_change: StepChange | None = None
        """What the last step before the last evaluation did; None before the first of them."""

    def take_steps(self, progress: Progress) -> None:
        """Take at least one step, at most up to the next event of the schedule, and count them in `progress`.

        The step before an evaluation is taken alone, so that its effect on the weights can be measured.

        Raises:
            CharlmError: the text on the disk has become shorter.
            DivergenceError: one of these steps shows that training has diverged.

        """
        first = progress.step
        count = min(
            self._schedule.steps_to_next_event(first),
            self._settings.steps_per_call,
            max(1, int(SECONDS_PER_CALL / self._seconds_per_step)),
        )
        if count > 1 and self._schedule.evaluates_at(first + count):
            count -= 1
        before = self._engine.weights() if self._schedule.evaluates_at(first + count) else None
        metrics = self._engine.take_steps(
            self._read_windows(first, count),
            self._schedule.rates(first, count),
            reset_state=self._schedule.resets_state_at(first),
            soft_targets=self._read_soft_targets(first, count),
        )
        progress.step += count
        progress.seconds += metrics.seconds
        progress.pending_losses += metrics.losses
        progress.last_norm = metrics.norms[-1]
        self._seconds_per_step = metrics.seconds / count
        if before is not None:
            self.last_change = StepChange(progress.step, metrics.last_norms, before, self._engine.weights())
        results = zip(metrics.losses, metrics.norms, strict=True)
        check_steps(results, first=first, progress=progress, settings=self._settings.divergence)

    def _read_soft_targets(self, first: int, count: int) -> SoftTargets | None:
        """Return the soft targets of the windows that `WindowReader` reads, float16 [count, T, rows, V]."""
        if self._soft_targets is None:
            return None
        batches, epoch, window = self._schedule.place(first)
        positions = batches.positions(epoch=epoch, first=window, count=count, rows=self._engine.rows)
        return np.asarray(self._soft_targets[positions[:, :-1]])


def check_steps(
    results: Iterable[tuple[float, float]], *, first: int, progress: Progress, settings: DivergenceConfig
) -> None:
    """Check the results of steps, and record them in `progress`.

    Args:
        results: The loss in nats per character and the gradient norm of each step.
        first: The number of steps before these.
        progress: Holds the losses since the last comparison and the lowest mean so far; both are updated.
        settings: When a loss counts as too high.

    Raises:
        DivergenceError: a loss or norm is not finite, or the mean loss of `patience_steps` steps is more than
            `tolerance_nats` above the lowest.

    """
    for step, (loss, norm) in enumerate(results, first + 1):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergenceError(f"the loss is {loss} and the gradient norm {norm} at step {step:,}")
        progress.watched_losses.append(loss)
        if len(progress.watched_losses) < settings.patience_steps:
            continue
        nats, lowest = float(np.mean(progress.watched_losses)), progress.lowest_nats
        if lowest is not None and settings.tolerance_nats is not None and nats > lowest + settings.tolerance_nats:
            raise DivergenceError(
                f"the loss is {nats:.3f} in the {settings.patience_steps:,} steps before step {step:,}, and was "
                f"{lowest:.3f}"
            )
        progress.lowest_nats = nats if lowest is None else min(lowest, nats)
        progress.watched_losses = []
