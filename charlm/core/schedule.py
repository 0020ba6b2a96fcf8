"""The schedule of a run, as a function of (step, total steps).

It never depends on the clock, so a run can be repeated and resumed to the bit.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ScheduleConfig, TrainingConfig
from charlm.core.batches import Batches

MAX_WARM_UP = 0.1
"""Largest share of a run's steps for the warm-up, so that a short run does not end during the
warm-up."""
LOGS_PER_EVALUATION = 5
"""Approximate number of log entries of the training loss for each evaluation."""


@dataclass(frozen=True)
class Schedule:
    """The evaluations, log entries and learning rates of a run, and the windows that it reads."""

    total: int
    """Number of steps of the whole run."""
    evaluations: int
    """Number of evaluations, evenly spaced; the last is after the last step."""
    batches: Batches
    """Division of the training text into windows."""
    peak_rate: float
    """Highest learning rate."""
    decay: ScheduleConfig
    """Settings of the learning rate before and after its peak."""

    def place(self, step: int) -> tuple[int, int]:
        """Return the epoch and the window that are read after `step` steps."""
        return divmod(step, self.batches.steps_per_epoch)

    def epochs(self, step: int) -> float:
        """Return the number of passes over the training text up to a step."""
        return step / self.batches.steps_per_epoch

    def rates(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of the `count` steps after step `first`, float32 [count].

        The rate rises linearly over `warmup_steps`, or MAX_WARM_UP of the run if that is less. Then
        it falls to `final_fraction` of its peak along half a cosine (Loshchilov and Hutter 2017,
        equation 5).
        """
        rates = [self.peak_rate * self._fraction(step) for step in range(first, first + count)]
        return np.array(rates, np.float32)

    def _fraction(self, step: int) -> float:
        """Return the learning rate as a fraction of the peak."""
        warm_up = min(self.decay.warmup_steps, int(MAX_WARM_UP * self.total))
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        progress = min(1.0, (step - warm_up) / max(1, self.total - 1 - warm_up))
        final = self.decay.final_fraction
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    def next_evaluation(self, step: int) -> int:
        """Return the step of the next evaluation; the k-th of n is after k / n of all steps."""
        number = step * self.evaluations // self.total + 1
        return math.ceil(number * self.total / self.evaluations)

    def evaluates_at(self, step: int) -> bool:
        """Return whether the network is evaluated after a step."""
        return 0 < step <= self.total and step == self.next_evaluation(step - 1)

    @property
    def log_every(self) -> int:
        """Number of steps between log entries of the training loss."""
        return max(1, self.total // (self.evaluations * LOGS_PER_EVALUATION))

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: every `log_every` and at evaluations."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def steps_to_next_event(self, step: int) -> int:
        """Return the number of steps to the next event, 1 or more, for a step before the last."""
        _, window = self.place(step)
        new_epoch = step + self.batches.steps_per_epoch - window
        next_log = step + self.log_every - step % self.log_every
        return min(self.next_evaluation(step), new_epoch, next_log) - step


def make_schedule(settings: TrainingConfig, batches: Batches) -> Schedule:
    """Return the schedule of a run that reads the given batches."""
    limits = [] if settings.steps is None else [settings.steps]
    if settings.epochs is not None:
        limits.append(settings.epochs * batches.steps_per_epoch)
    return Schedule(
        total=min(limits),
        evaluations=settings.evaluations,
        batches=batches,
        peak_rate=settings.optimizer.learning_rate,
        decay=settings.schedule,
    )
