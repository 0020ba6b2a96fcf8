"""The steps of a run: which windows they read, at which learning rates, and how many in one call of the engine.

How steps are grouped into calls depends on the clock; what they compute does not.
"""

import math

import numpy as np
from numpy.typing import NDArray

from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training import divergence
from charlm.training.engine import Engine
from charlm.training.progress import Progress
from charlm.training.schedule import Schedule, learning_rates

SECONDS_PER_CALL = 0.5
"""If a call would take longer than this, it gets fewer steps, so that a signal is answered soon."""


class StepRunner:
    """Takes the steps of a run, in order.

    Args:
        run: Its config and its training text.
        engine: What computes the steps.
        batches: How the training text is cut into windows.
        schedule: When something else has to happen.

    """

    def __init__(self, run: Run, engine: Engine, batches: Batches, schedule: Schedule) -> None:
        self._corpus, self._settings = run.corpus, run.config.training
        self._engine, self._batches, self._schedule = engine, batches, schedule
        self._ids = run.corpus.split("train", check=False)
        self._seconds_per_step = math.inf  # not known yet

    def take_steps(self, progress: Progress) -> None:
        """Take at least one step, at most up to the next event of the schedule, and count them in `progress`.

        Raises:
            CharlmError: the text on the disk has become shorter, or has an id that is not in the vocabulary.
            DivergenceError: one of these steps shows that training has diverged.

        """
        self._corpus.check_size()
        first = progress.step
        count = min(
            self._schedule.steps_to_next_event(first),
            self._settings.steps_per_call,
            max(1, int(SECONDS_PER_CALL / self._seconds_per_step)),
        )
        epoch, window = divmod(first, self._batches.steps_per_epoch)
        windows = self._batches.windows(self._ids, epoch=epoch, first=window, count=count)
        self._corpus.check_ids(windows)
        metrics = self._engine.take_steps(windows, self.rates(progress, first, count), reset_state=window == 0)
        progress.step += count
        progress.seconds += metrics.seconds
        progress.pending_losses += metrics.losses
        progress.last_norm = metrics.norms[-1]
        self._seconds_per_step = metrics.seconds / count
        results = zip(metrics.losses, metrics.norms, strict=True)
        divergence.check_steps(results, first=first, progress=progress, settings=self._settings.divergence)

    def rates(self, progress: Progress, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of steps: those of the schedule, lowered by every rollback.

        Args:
            progress: Has the rollbacks so far.
            first: The steps before the first of these, 0 or more.
            count: The number of steps.

        Returns:
            float32 [count].

        """
        rates = learning_rates(
            self._settings.optimizer.learning_rate,
            self._settings.schedule,
            first=first,
            count=count,
            total=self._schedule.total,
        )
        return rates * np.float32(divergence.rate_scale(progress, self._settings.divergence))
