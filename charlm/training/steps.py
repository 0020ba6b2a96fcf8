"""The steps of a run: which windows they read, how many in one call of the engine, and whether training has diverged.

How steps are grouped into calls depends on the clock; what they compute does not. Losses are checked one by one, so
that this is repeatable too.
"""

import math
from collections.abc import Sequence

import numpy as np

from charlm.errors import CharlmError
from charlm.runs.run import Run
from charlm.training.checkpoints import Progress
from charlm.training.interface import Engine
from charlm.training.schedule import Schedule
from charlm.training.soft_targets import SoftTargets

ADVICE = (
    "lower training.optimizer.learning_rate or training.clip_norm, or change the initializers of the network; the last "
    "checkpoint is whole, and --resume -s training.optimizer.learning_rate=X goes on from it"
)
MAX_STEPS_PER_CALL = 10
"""The most steps in one call of the engine: more would save no time."""
SECONDS_PER_CALL = 0.5
"""If a call would take longer than this, it gets fewer steps, so that a signal is answered soon."""


class DivergenceError(CharlmError):
    """Training has diverged."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message}: training has diverged: {ADVICE}")


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
        self._engine, self.schedule = engine, schedule
        self._corpus, self._ids = run.corpus, run.corpus.split("train")
        self._soft_targets = soft_targets
        self._seconds_per_step = math.inf  # not known yet

    def next_count(self, progress: Progress) -> int:
        """Return how many steps the next call of the engine takes: 1 or more, at most up to the next event."""
        return min(
            self.schedule.steps_to_next_event(progress.step),
            MAX_STEPS_PER_CALL,
            max(1, int(SECONDS_PER_CALL / self._seconds_per_step)),
        )

    def take(self, count: int, progress: Progress) -> list[float]:
        """Take steps, and count them in `progress`; return the loss of each in nats per character.

        Args:
            count: What `next_count` has returned, here or on the machine that decides.
            progress: How far the run is.

        Raises:
            CharlmError: the text on the disk was changed.
            DivergenceError: one of these steps shows that training has diverged.

        """
        first = progress.step
        self._corpus.check_size()
        batches, epoch, window = self.schedule.place(first)
        positions = batches.positions(epoch=epoch, first=window, count=count, rows=self._engine.rows)
        ids, targets = self._ids[positions], self._soft_targets
        self._corpus.check_ids(ids)
        metrics = self._engine.take_steps(
            np.asarray(ids, np.int32),
            self.schedule.rates(first, count),
            reset_state=self.schedule.resets_state_at(first),
            soft_targets=None if targets is None else np.asarray(targets[positions[:, :-1]]),
        )
        progress.step += count
        progress.seconds += metrics.seconds
        progress.pending_losses += metrics.losses
        progress.last_norm = metrics.norms[-1]
        self._seconds_per_step = metrics.seconds / count
        check_steps(metrics.losses, metrics.norms, first=first)
        return metrics.losses


def check_steps(losses: Sequence[float], norms: Sequence[float], *, first: int) -> None:
    """Raise DivergenceError if the loss in nats per character or the gradient norm of a step is not finite.

    Args:
        losses: Of each step.
        norms: Of the gradient of each step.
        first: The number of steps before these.

    """
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), first + 1):
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise DivergenceError(f"the loss is {loss} and the gradient norm {norm} at step {step:,}")
