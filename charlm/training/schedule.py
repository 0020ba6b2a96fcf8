"""The schedule of a run: its events, the windows that its steps read, and its learning rates.

A schedule is a function of the step, never of the clock. The length of a run may change while it
trains; the config records each earlier length, so that earlier steps stay as they were.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from charlm.config.schema import ScheduleConfig, TrainingConfig
from charlm.errors import CharlmError
from charlm.text.batches import Batches

MAX_WARM_UP = 0.1
"""Largest share of a run's steps for the warm-up, so that a short run does not end during the
warm-up."""
GROWTH = ((0.1, 0.25), (0.3, 0.5), (0.4, 1), (0.2, 2))
"""Phases of growing windows: share of the characters, and window length / `sequence_length`."""


@dataclass(frozen=True)
class Phase:
    """Steps of a run with windows of one length."""

    first: int
    """Number of steps before the phase."""
    characters: int
    """Number of characters read before the phase."""
    batches: Batches

    def characters_after(self, step: int) -> int:
        """Return the number of characters read up to a step, over all streams and epochs."""
        return self.characters + (step - self.first) * self.batches.characters_per_step

    def window(self, step: int) -> int:
        """Return the index of a step's window, as if all earlier windows also had this length."""
        return round(self.characters / self.batches.characters_per_step) + step - self.first


@dataclass(frozen=True)
class Stretch:
    """Steps of a run between two changes of its length."""

    first: int
    """Number of steps before the stretch."""
    until: int
    """Last step of the stretch."""
    total: int
    """Planned number of steps of the whole run, `until` or more."""
    evaluations: int
    """Planned number of evaluations from `first` to `total`."""
    borders: tuple[float, ...]
    """Steps where the window length changes, not rounded, and the last step."""
    phases: tuple[Phase, ...]
    """Phases of the whole run up to `total`."""

    def phase(self, step: int) -> Phase:
        """Return the phase after `step` steps."""
        return next(phase for phase in reversed(self.phases) if phase.first <= step)

    def characters(self, step: int) -> int:
        """Return the number of characters read up to a step, over all streams and epochs."""
        return self.phase(step).characters_after(step)

    def next_evaluation(self, step: int) -> int:
        """Return the step of the next evaluation; the k-th of n is after k / n of the stretch."""
        done = max(0, step - self.first)
        length = self.total - self.first
        number = done * self.evaluations // length + 1
        return self.first - -number * length // self.evaluations  # rounded up

    @property
    def evaluation_count(self) -> int:
        """Number of evaluations that take place in the stretch."""
        steps = self.until - self.first
        return min(steps, steps * self.evaluations // (self.total - self.first))


@dataclass(frozen=True)
class Schedule:
    """The events and the learning rates of a run, and the windows that each step reads."""

    stretches: tuple[Stretch, ...]
    """All steps of the run; a single stretch if its length never changed."""
    log_every: int
    batches: Batches
    """Division of the training text into windows of `sequence_length`."""
    peak_rate: float
    """Highest learning rate."""
    decay: ScheduleConfig
    """Settings of the learning rate after its peak."""

    @property
    def total(self) -> int:
        """Number of steps of the whole run."""
        return self.stretches[-1].total

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All phases of the run."""
        return self.stretches[-1].phases

    @property
    def lengths(self) -> tuple[int, ...]:
        """Window length of each phase, T."""
        return tuple(phase.batches.sequence_length for phase in self.phases)

    def place(self, step: int) -> tuple[Batches, int, int]:
        """Return the batches, the epoch and the window that are read after `step` steps."""
        phase = self.stretches[-1].phase(step)
        return phase.batches, *divmod(phase.window(step), phase.batches.steps_per_epoch)

    def resets_state_at(self, step: int) -> bool:
        """Return whether an epoch or a phase begins after `step` steps, with the zero state."""
        is_new_phase = any(phase.first == step for phase in self.phases)
        return is_new_phase or self.place(step)[2] == 0

    def characters(self, step: int) -> int:
        """Return the number of characters read up to a step, over all streams and epochs."""
        return self.stretches[-1].characters(step)

    def epochs(self, step: int) -> float:
        """Return the number of passes over the training text up to a step."""
        return self.epochs_of(self.characters(step))

    def epochs_of(self, characters: int) -> float:
        """Return the number of passes over the training text after a given number of characters."""
        return characters / (self.batches.steps_per_epoch * self.batches.characters_per_step)

    def rates(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of the `count` steps after step `first`, float32 [count].

        The rate rises linearly over `warmup_steps`, or MAX_WARM_UP of the run if that is less. Then
        it is constant, or falls to `final_fraction` of its peak along half a cosine (Loshchilov and
        Hutter 2017, equation 5).

        When a run becomes shorter, the rate falls faster from its present value. When a run becomes
        longer, the rate rises to its value in a run that always had the new length.
        """
        rates = [self.peak_rate * self._fraction(step) for step in range(first, first + count)]
        return np.array(rates, np.float32)

    def _fraction(self, step: int) -> float:
        """Return the learning rate as a fraction of the peak."""
        if step < self._warm_up:
            return (step + 1) / (self._warm_up + 1)
        if self.decay.name == "constant":
            return 1.0
        stretch = next(stretch for stretch in reversed(self.stretches) if stretch.first <= step)
        progress = self._progress(step, stretch, self._progress_before[stretch.first])
        final = self.decay.final_fraction
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    @property
    def _warm_up(self) -> int:
        """Number of warm-up steps, limited by the first length of the run."""
        return min(self.decay.warmup_steps, int(MAX_WARM_UP * self.stretches[0].total))

    @cached_property
    def _progress_before(self) -> dict[int, float]:
        """Progress of the decay at the first step of each stretch, 0 (at the peak) to 1."""
        progress = 0.0
        progress_before = {0: progress}
        for stretch, following in pairwise(self.stretches):
            continued = self._progress(following.first, stretch, progress)
            progress = min(continued, self._share(following.first, following, since=0))
            progress_before[following.first] = progress
        return progress_before

    def _progress(self, step: int, stretch: Stretch, before: float) -> float:
        """Return the progress of the decay in a stretch, in proportion to the characters read."""
        return min(1.0, before + (1 - before) * self._share(step, stretch, since=stretch.first))

    def _share(self, step: int, stretch: Stretch, *, since: int) -> float:
        """Return the share of the characters after `since` or the warm-up read by a step."""
        begin = stretch.characters(max(since, self._warm_up))
        length = stretch.characters(stretch.total - 1) - begin
        return max(0, stretch.characters(step) - begin) / max(1, length)

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: every `log_every` and at evaluations."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Return whether the network is evaluated after a step; always after the last step."""
        return step > 0 and step == self.next_evaluation(step - 1)

    def next_evaluation(self, step: int) -> int:
        """Return the step of the next evaluation, evenly spaced within each stretch."""
        if step >= self.total:
            return step + 1
        evaluations = ((stretch.next_evaluation(step), stretch.until) for stretch in self.stretches)
        return next(evaluation for evaluation, until in evaluations if evaluation <= until)

    def evaluations_after(self, step: int) -> int:
        """Return the number of evaluations after a step."""
        count = 0
        while step < self.total:
            step = self.next_evaluation(step)
            count += 1
        return count

    def evaluations_until(self, step: int) -> int:
        """Return the number of evaluations up to and including a step."""
        return self.evaluations_after(0) - self.evaluations_after(step)

    def steps_to_next_event(self, step: int) -> int:
        """Return the number of steps to the next event, 1 or more, for a step before the last."""
        batches, _, window = self.place(step)
        new_epoch = step + batches.steps_per_epoch - window
        next_log = step + self.log_every - step % self.log_every
        phases = [phase.first for phase in self.phases if phase.first > step]
        stretches = [stretch.first for stretch in self.stretches if stretch.first > step]
        return min(self.next_evaluation(step), new_epoch, next_log, *phases, *stretches) - step


def mean_growth(settings: TrainingConfig) -> float:
    """Return the mean window length of a run over `sequence_length`; 1 if windows do not grow."""
    return 1 / sum(share / factor for share, factor in _growth(settings))


def _growth(settings: TrainingConfig) -> tuple[tuple[float, float], ...]:
    return GROWTH if settings.growing_windows else ((1, 1),)


def make_schedule(settings: TrainingConfig, batches: Batches) -> Schedule:
    """Return the schedule of a run, from batches with windows of `sequence_length`.

    Raises:
        CharlmError: The run would end before the step at which its length was changed.

    """
    return Schedule(
        stretches=_stretches(settings, batches),
        log_every=settings.log_every,
        batches=batches,
        peak_rate=settings.optimizer.learning_rate,
        decay=settings.schedule,
    )


def _stretches(settings: TrainingConfig, batches: Batches) -> tuple[Stretch, ...]:
    """Return the stretches of a run; a change of length rescales the remaining phases."""
    stretches: list[Stretch] = []
    for length in settings.earlier_lengths:
        stretch = _stretch(
            settings,
            batches,
            stretches,
            until=length.until,
            total=length.steps,
            evaluations=length.evaluations,
        )
        stretches.append(stretch)
    total = _total(settings, batches, stretches)
    if stretches and total <= stretches[-1].until:
        key = "steps" if settings.epochs is None else "epochs"
        raise CharlmError(
            f"training.{key}: gives a run of {total:,} steps, but it is at step "
            f"{stretches[-1].until:,}; must be larger"
        )
    last = _stretch(
        settings, batches, stretches, until=total, total=total, evaluations=settings.evaluations
    )
    return (*stretches, last)


def _total(settings: TrainingConfig, batches: Batches, stretches: Sequence[Stretch]) -> int:
    limits = [] if settings.steps is None else [settings.steps]
    if settings.epochs is not None:
        epoch_steps = settings.epochs * batches.steps_per_epoch
        if stretches:
            characters = epoch_steps * batches.characters_per_step
            limits.append(_step_after(characters, stretches[-1]))
        else:
            limits.append(round(epoch_steps / mean_growth(settings)))
    return min(limits)


def _step_after(characters: int, stretch: Stretch) -> int:
    """Return the step after a number of characters, at the mean speed planned after a stretch."""
    done = stretch.characters(stretch.until)
    planned = stretch.characters(stretch.total) - done
    per_step: float = stretch.phase(stretch.until).batches.characters_per_step
    if planned:
        per_step = planned / (stretch.total - stretch.until)
    return stretch.until + round((characters - done) / per_step)


def _stretch(
    settings: TrainingConfig,
    batches: Batches,
    before: Sequence[Stretch],
    *,
    until: int,
    total: int,
    evaluations: int,
) -> Stretch:
    """Return the next stretch; `total` and `evaluations` count from the start of the run."""
    if before:
        last = before[-1]
        first = last.until
        scale = (total - first) / max(1, last.total - first)
        borders = [border + (scale - 1) * max(0.0, border - first) for border in last.borders]
    else:
        first = 0
        scale = total * mean_growth(settings)
        borders = [0.0, *accumulate(scale * share / factor for share, factor in _growth(settings))]
    evaluations = max(1, evaluations - sum(stretch.evaluation_count for stretch in before))
    phases = _phases(settings, batches, borders)
    return Stretch(first, until, total, evaluations, tuple(borders), phases)


def _phases(
    settings: TrainingConfig, batches: Batches, borders: Iterable[float]
) -> tuple[Phase, ...]:
    """Return the phases that begin at the given steps; the text limits their window length."""
    longest = (batches.length - 1) // batches.batch_size
    phases: list[Phase] = []
    for first, (_, factor) in zip(map(round, borders), _growth(settings), strict=False):
        length = min(max(1, int(factor * batches.sequence_length)), longest)
        characters = phases[-1].characters_after(first) if phases else 0
        phases.append(Phase(first, characters, replace(batches, sequence_length=length)))
    return tuple(phases)
