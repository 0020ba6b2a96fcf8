"""What a run does when: its events, the windows that its steps read, its learning rates.

All of it is a function of the step, never of the clock.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ScheduleConfig, TrainingConfig
from charlm.text.batches import Batches

MAX_WARM_UP = 0.1
"""The share of the steps of a run over which the learning rate rises at most: a short run would end as it has risen."""
GROWTH = ((0.1, 0.25), (0.3, 0.5), (0.4, 1), (0.2, 2))
"""How windows grow: of all the characters that a run reads, which share in windows of how many times
`training.sequence_length`."""


@dataclass(frozen=True)
class Phase:
    """Steps of a run that read windows of one length."""

    first: int
    """The steps before them."""
    characters: int
    """The characters that those have read."""
    batches: Batches

    def characters_after(self, step: int) -> int:
        """Return the characters that the first `step` steps read, over all streams, repetitions counted."""
        return self.characters + (step - self.first) * self.batches.characters_per_step

    def window(self, step: int) -> int:
        """Return which window the step after `step` others reads, counted as if all had had this length."""
        return round(self.characters / self.batches.characters_per_step) + step - self.first


@dataclass(frozen=True)
class Schedule:
    """The steps at which a run logs, is evaluated and saved, and ends, and what each of them reads."""

    total: int
    """The steps of the whole run."""
    log_every: int
    evaluations: int
    """The marks of the run, at which it is evaluated and saved."""
    batches: Batches
    """How the training text is cut into windows of `sequence_length`."""
    phases: tuple[Phase, ...]
    """All steps, by the length of their windows."""
    peak_rate: float
    """The highest learning rate."""
    decay: ScheduleConfig
    """How the learning rate changes with the characters read."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the windows of each phase, T."""
        return tuple(phase.batches.sequence_length for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """Return the phase with the step after `step` others."""
        return next(phase for phase in reversed(self.phases) if phase.first <= step)

    def place(self, step: int) -> tuple[Batches, int, int]:
        """Return what the step after `step` others reads: how the text is cut, the epoch, and the window in it."""
        phase = self.phase(step)
        return phase.batches, *divmod(phase.window(step), phase.batches.steps_per_epoch)

    def resets_state_at(self, step: int) -> bool:
        """Return whether the step after `step` others starts from the zero state: in a new epoch, or a new phase."""
        return step == self.phase(step).first or self.place(step)[2] == 0

    def characters(self, step: int) -> int:
        """Return the characters that the first `step` steps read, over all streams, repetitions counted."""
        return self.phase(step).characters_after(step)

    def epochs(self, step: int) -> float:
        """Return how often the first `step` steps read the training text."""
        return self.characters(step) / (self.batches.steps_per_epoch * self.batches.characters_per_step)

    def rates(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of the `count` steps after the first `first` ones, float32 [count].

        The rate rises linearly over `warmup_steps`, but over no more than MAX_WARM_UP of the run. Then it stays at its
        peak (constant), or falls to `final_fraction` of it at the last step, along half a cosine (Loshchilov and Hutter
        2017, equation 5).
        """
        return np.array([self.peak_rate * self._fraction(step) for step in range(first, first + count)], np.float32)

    def _fraction(self, step: int) -> float:
        """Return the learning rate of a step as a fraction of the peak."""
        decay, last = self.decay, self.total - 1
        warm_up = min(decay.warmup_steps, int(MAX_WARM_UP * self.total))
        if step < warm_up:
            return (step + 1) / (warm_up + 1)
        if decay.name == "constant":
            return 1.0
        begin, end = self.characters(warm_up), self.characters(last)
        progress = min(1.0, (self.characters(step) - begin) / max(1, end - begin))
        return decay.final_fraction + (1 - decay.final_fraction) * (1 + math.cos(math.pi * progress)) / 2

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: every `log_every` steps, and at every mark."""
        return step % self.log_every == 0 or self.is_mark(step)

    def is_mark(self, step: int) -> bool:
        """Return whether the network is evaluated and saved after a step: the last one is a mark, step 0 is none."""
        return step > 0 and step == self.next_mark(step - 1)

    def next_mark(self, step: int) -> int:
        """Return the first mark after a step: mark k of n is the first step at which k / n of the run is done."""
        number = step * self.evaluations // self.total + 1
        return min(-(-number * self.total // self.evaluations), self.total) if step < self.total else step + 1

    def steps_to_next_event(self, step: int) -> int:
        """Return the number of steps until something happens: 1 or more, if `step` is less than `total`."""
        batches, _, window = self.place(step)
        return min(
            self.next_mark(step) - step,
            batches.steps_per_epoch - window,
            self.log_every - step % self.log_every,
            *(phase.first - step for phase in self.phases if phase.first > step),
        )


def mean_growth(settings: TrainingConfig) -> float:
    """Return the mean length of the windows of a run over `sequence_length`; 1 if they do not grow."""
    return 1 / sum(share / factor for share, factor in _growth(settings))


def _growth(settings: TrainingConfig) -> tuple[tuple[float, float], ...]:
    return GROWTH if settings.growing_windows else ((1, 1),)


def make_schedule(settings: TrainingConfig, batches: Batches) -> Schedule:
    """Return the schedule of a run.

    Args:
        settings: The section `training` of the config.
        batches: How the training text is cut into windows of `sequence_length`.

    """
    limits = [] if settings.steps is None else [settings.steps]
    if settings.epochs is not None:
        limits.append(round(settings.epochs * batches.steps_per_epoch / mean_growth(settings)))
    total = min(limits)
    return Schedule(
        total=total,
        log_every=settings.log_every,
        evaluations=settings.evaluations,
        batches=batches,
        phases=_phases(settings, batches, total),
        peak_rate=settings.optimizer.learning_rate,
        decay=settings.schedule,
    )


def _phases(settings: TrainingConfig, batches: Batches, total: int) -> tuple[Phase, ...]:
    """Return the phases of a run of `total` steps; windows grow as far as the text is long enough."""
    longest, first = (batches.length - 1) // batches.batch_size, 0.0
    phases: list[Phase] = []
    for share, factor in _growth(settings):
        length = min(max(1, int(factor * batches.sequence_length)), longest)
        characters = phases[-1].characters_after(round(first)) if phases else 0
        phases.append(Phase(round(first), characters, replace(batches, sequence_length=length)))
        first += total * mean_growth(settings) * share / factor
    return tuple(phases)
