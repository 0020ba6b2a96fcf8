"""When a run logs, evaluates, saves and ends, and its learning rates: functions of the step, never of the clock."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ScheduleConfig, TrainingConfig
from charlm.text.batches import Batches

ENOUGH_EVALUATIONS = 20
"""With fewer evaluations in a run, the best network may be far from each of them."""
MAX_EVALUATE_EVERY = 500
"""The largest number of steps between two evaluations if the config does not say how many."""


@dataclass(frozen=True)
class Schedule:
    """The steps at which a run logs, evaluates, saves, starts an epoch and ends."""

    total: int
    """The steps of the whole run."""
    log_every: int
    evaluate_every: int
    checkpoint_every: int
    steps_per_epoch: int
    peak_rate: float
    """The highest learning rate."""
    decay: ScheduleConfig
    """How the learning rate changes with the step."""

    def rates(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of the `count` steps after the first `first` ones, float32 [count].

        The rate rises linearly over `warmup_steps`. Then it stays at its peak (constant), or falls to `final_fraction`
        of it at the last step: along half a cosine (Loshchilov and Hutter 2017, equation 5), or by the same factor at
        every step (exponential).
        """
        steps = range(first, first + count)
        return np.array([self.peak_rate * _fraction(self.decay, step, self.total) for step in steps], np.float32)

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: every `log_every` steps, and before every evaluation."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Return whether the network is evaluated after a step: not after step 0, always after the last."""
        return step >= self.total or (step > 0 and step % self.evaluate_every == 0)

    def saves_at(self, step: int) -> bool:
        """Return whether a checkpoint is written after a step: also after step 0 and after the last."""
        return step >= self.total or step % self.checkpoint_every == 0

    def steps_to_next_event(self, step: int) -> int:
        """Return the number of steps until something happens: 1 or more, if `step` is less than `total`."""
        periods = (self.log_every, self.evaluate_every, self.checkpoint_every, self.steps_per_epoch)
        return min(self.total - step, *(period - step % period for period in periods))


def make_schedule(settings: TrainingConfig, batches: Batches) -> Schedule:
    """Return the schedule of a run.

    Args:
        settings: The section `training` of the config.
        batches: How the training text is cut into windows.

    """
    total = total_steps(settings.epochs, settings.steps, batches)
    return Schedule(
        total=total,
        log_every=settings.log_every,
        evaluate_every=settings.evaluate_every or evaluation_period(total),
        checkpoint_every=settings.checkpoint_every,
        steps_per_epoch=batches.steps_per_epoch,
        peak_rate=settings.optimizer.learning_rate,
        decay=settings.schedule,
    )


def evaluation_period(total: int) -> int:
    """Return the steps between two evaluations of a run of `total` steps if `training.evaluate_every` is None."""
    return min(MAX_EVALUATE_EVERY, max(1, total // ENOUGH_EVALUATIONS))


def total_steps(epochs: int | None, steps: int | None, batches: Batches) -> int:
    """Return the number of steps of a whole run, which ends at the first of two limits.

    Args:
        epochs: The limit in epochs; None = no such limit.
        steps: The limit in steps; None = no such limit. One of the two must be given.
        batches: How the training text is cut into windows.

    """
    limits = [epochs * batches.steps_per_epoch] if epochs is not None else []
    return min([*limits, steps] if steps is not None else limits)


def _fraction(schedule: ScheduleConfig, step: int, total: int) -> float:
    """Return the learning rate of a step as a fraction of the peak."""
    warm_up = min(schedule.warmup_steps, total)
    if step < warm_up:
        return (step + 1) / (warm_up + 1)
    progress = (step - warm_up) / max(1, total - 1 - warm_up)
    if schedule.name == "cosine":
        final = schedule.final_fraction
        return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
    if schedule.name == "exponential":
        return math.pow(schedule.final_fraction, min(1.0, progress))
    return 1.0
