"""What a run does when: its events, the windows that its steps read, its learning rates.

All of it is a function of the step, never of the clock. The length of a run may change while it trains. The steps
before a change stay as they were: the config records each earlier length and the step until which it was in force.
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
class Stretch:
    """Steps of a run between two changes of its length."""

    first: int
    """The number of steps before the stretch."""
    until: int
    """The step at which the stretch ends."""
    total: int
    """The length of the run that the stretch follows, in steps from its start: `until`, or more if it was changed."""
    evaluations: int
    """The evaluations after step `first`, evenly over the steps up to `total`."""
    borders: tuple[float, ...]
    """The steps at which windows would change their length, before they are rounded, and the last step."""
    phases: tuple[Phase, ...]
    """All steps of the run up to `total`, by the length of their windows."""

    def phase(self, step: int) -> Phase:
        """Return the phase with the step after `step` others."""
        return next(phase for phase in reversed(self.phases) if phase.first <= step)

    def characters(self, step: int) -> int:
        """Return the characters that the first `step` steps read, over all streams, repetitions counted."""
        return self.phase(step).characters_after(step)

    def next_evaluation(self, step: int) -> int:
        """Return the step of the next evaluation: the k-th of n is due when k / n of the stretch is done."""
        done = max(0, step - self.first)
        length = self.total - self.first
        number = done * self.evaluations // length + 1
        return self.first + -(-number * length // self.evaluations)

    @property
    def evaluation_count(self) -> int:
        """Number of evaluations in the stretch."""
        steps = self.until - self.first
        return min(steps, steps * self.evaluations // (self.total - self.first))


@dataclass(frozen=True)
class Schedule:
    """The steps at which a run logs, is evaluated and saved, and ends, and what each of them reads."""

    stretches: tuple[Stretch, ...]
    """All steps, by the length that the run had; a single stretch if it never changed."""
    log_every: int
    batches: Batches
    """How the training text is cut into windows of `sequence_length`."""
    peak_rate: float
    """The highest learning rate."""
    decay: ScheduleConfig
    """How the learning rate changes with the characters read."""

    @property
    def total(self) -> int:
        """The steps of the whole run."""
        return self.stretches[-1].total

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All steps, by the length of their windows."""
        return self.stretches[-1].phases

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of the windows of each phase, T."""
        return tuple(phase.batches.sequence_length for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """Return the phase with the step after `step` others."""
        return self.stretches[-1].phase(step)

    def place(self, step: int) -> tuple[Batches, int, int]:
        """Return what the step after `step` others reads: how the text is cut, the epoch, and the window in it."""
        phase = self.phase(step)
        return phase.batches, *divmod(phase.window(step), phase.batches.steps_per_epoch)

    def resets_state_at(self, step: int) -> bool:
        """Return whether the step after `step` others starts from the zero state: in a new epoch, or a new phase."""
        return step == self.phase(step).first or self.place(step)[2] == 0

    def characters(self, step: int) -> int:
        """Return the characters that the first `step` steps read, over all streams, repetitions counted."""
        return self.stretches[-1].characters(step)

    def epochs(self, step: int) -> float:
        """Return how often the first `step` steps read the training text."""
        return self.epochs_of(self.characters(step))

    def epochs_of(self, characters: int) -> float:
        """Return how often a run that has read some characters has read the training text."""
        return characters / (self.batches.steps_per_epoch * self.batches.characters_per_step)

    def rates(self, first: int, count: int) -> NDArray[np.float32]:
        """Return the learning rates of the `count` steps after the first `first` ones, float32 [count].

        The rate rises linearly over `warmup_steps`, but over no more than MAX_WARM_UP of the run. Then it stays at its
        peak (constant), or falls to `final_fraction` of it at the last step, along half a cosine (Loshchilov and Hutter
        2017, equation 5).

        Where a run becomes shorter, the rate continues from where it is and falls faster. Where a run becomes longer,
        the rate rises to what it would be if the run had had the new length from its start.
        """
        return np.array(
            [self.peak_rate * self._fraction(step) for step in range(first, first + count)],
            np.float32,
        )

    def _fraction(self, step: int) -> float:
        """Return the learning rate of a step as a fraction of the peak."""
        decay = self.decay
        if step < self._warm_up:
            return (step + 1) / (self._warm_up + 1)
        if decay.name == "constant":
            return 1.0
        stretch = next(stretch for stretch in reversed(self.stretches) if stretch.first <= step)
        progress = self._progress(step, stretch, self._progress_before[stretch.first])
        return (
            decay.final_fraction
            + (1 - decay.final_fraction) * (1 + math.cos(math.pi * progress)) / 2
        )

    @property
    def _warm_up(self) -> int:
        """The steps of the warm-up, which the first length of the run decides."""
        return min(self.decay.warmup_steps, int(MAX_WARM_UP * self.stretches[0].total))

    @cached_property
    def _progress_before(self) -> dict[int, float]:
        """How far the learning rate has fallen by the first step of each stretch: 0 = at its peak, 1 = at its end."""
        progress = 0.0
        found = {0: progress}
        for stretch, following in pairwise(self.stretches):
            continued = self._progress(following.first, stretch, progress)
            progress = min(continued, self._share(following.first, following, since=0))
            found[following.first] = progress
        return found

    def _progress(self, step: int, stretch: Stretch, before: float) -> float:
        """Return how far the learning rate has fallen at a step of a stretch, in proportion to the characters read."""
        return min(1.0, before + (1 - before) * self._share(step, stretch, since=stretch.first))

    def _share(self, step: int, stretch: Stretch, *, since: int) -> float:
        """Return how much of what a run reads between a step, or its warm-up, and its last step is read by a step."""
        begin = stretch.characters(max(since, self._warm_up))
        length = stretch.characters(stretch.total - 1) - begin
        return max(0, stretch.characters(step) - begin) / max(1, length)

    def logs_at(self, step: int) -> bool:
        """Return whether a line is logged after a step: every `log_every` steps, and at each evaluation."""
        return step % self.log_every == 0 or self.evaluates_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Return whether the network is evaluated and saved after a step; step 0 never is, the last step always."""
        return step > 0 and step == self.next_evaluation(step - 1)

    def next_evaluation(self, step: int) -> int:
        """Return the step of the next evaluation; the evaluations of a stretch are spaced evenly."""
        if step >= self.total:
            return step + 1
        for stretch in self.stretches:
            evaluation = stretch.next_evaluation(step)
            if evaluation <= stretch.until:
                return evaluation
        raise AssertionError("the last step of a run is an evaluation")

    def evaluations_after(self, step: int) -> int:
        """Return how many evaluations the run has after a step."""
        count = 0
        while step < self.total:
            step = self.next_evaluation(step)
            count += 1
        return count

    def evaluations_until(self, step: int) -> int:
        """Return how many evaluations the run has up to a step, the step itself included."""
        return self.evaluations_after(0) - self.evaluations_after(step)

    def steps_to_next_event(self, step: int) -> int:
        """Return the number of steps until something happens: 1 or more, if `step` is less than `total`."""
        batches, _, window = self.place(step)
        return min(
            self.next_evaluation(step) - step,
            batches.steps_per_epoch - window,
            self.log_every - step % self.log_every,
            *(phase.first - step for phase in self.phases if phase.first > step),
            *(stretch.first - step for stretch in self.stretches if stretch.first > step),
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

    Raises:
        CharlmError: the run would end before the step at which its length was changed.

    """
    return Schedule(
        stretches=_stretches(settings, batches),
        log_every=settings.log_every,
        batches=batches,
        peak_rate=settings.optimizer.learning_rate,
        decay=settings.schedule,
    )


def _stretches(settings: TrainingConfig, batches: Batches) -> tuple[Stretch, ...]:
    """Return the stretches of a run. A change of length rescales what is left of the phases."""
    stretches: list[Stretch] = []
    for length in settings.earlier_lengths:
        stretches.append(
            _stretch(
                settings,
                batches,
                stretches,
                until=length.until,
                total=length.steps,
                evaluations=length.evaluations,
            )
        )
    total = _total(settings, batches, stretches)
    first = stretches[-1].until if stretches else 0
    if stretches and total <= first:
        key = "steps" if settings.epochs is None else "epochs"
        raise CharlmError(
            f"training.{key}: gives a run of {total:,} steps, but {first:,} are taken; give it more"
        )
    last = _stretch(
        settings, batches, stretches, until=total, total=total, evaluations=settings.evaluations
    )
    return (*stretches, last)


def _total(settings: TrainingConfig, batches: Batches, stretches: Sequence[Stretch]) -> int:
    """Return the length of a run in steps, after stretches of other lengths."""
    limits = [] if settings.steps is None else [settings.steps]
    if settings.epochs is not None and not stretches:
        limits.append(round(settings.epochs * batches.steps_per_epoch / mean_growth(settings)))
    elif settings.epochs is not None:
        last = stretches[-1]
        wanted = (
            settings.epochs * batches.steps_per_epoch * batches.characters_per_step
            - last.characters(last.until)
        )
        planned = last.characters(last.total) - last.characters(last.until)
        per_step: float = last.phase(last.until).batches.characters_per_step
        if planned:
            per_step = planned / (last.total - last.until)
        limits.append(last.until + round(wanted / per_step))
    return min(limits)


def _stretch(
    settings: TrainingConfig,
    batches: Batches,
    before: Sequence[Stretch],
    *,
    until: int,
    total: int,
    evaluations: int,
) -> Stretch:
    """Return the stretch of a run that follows some others, until the length of the run changes again.

    Args:
        settings: The section `training` of the config.
        batches: How the training text is cut into windows of `sequence_length`.
        before: The stretches before this one.
        until: The step at which the stretch ends.
        total: The length of the run in steps, as it is until then.
        evaluations: The evaluations of the run, as they are until then.

    """
    if not before:
        scale = total * mean_growth(settings)
        borders = [0.0, *accumulate(scale * share / factor for share, factor in _growth(settings))]
        first = 0
    else:
        last = before[-1]
        first = last.until
        scale = (total - first) / max(1, last.total - first)
        borders = [border + (scale - 1) * max(0.0, border - first) for border in last.borders]
    evaluations = max(1, evaluations - sum(stretch.evaluation_count for stretch in before))
    return Stretch(
        first, until, total, evaluations, tuple(borders), _phases(settings, batches, borders)
    )


def _phases(
    settings: TrainingConfig, batches: Batches, borders: Iterable[float]
) -> tuple[Phase, ...]:
    """Return the phases of a run that begin at some steps; windows grow as far as the text is long enough."""
    longest = (batches.length - 1) // batches.batch_size
    phases: list[Phase] = []
    for first, (_, factor) in zip(map(round, borders), _growth(settings), strict=False):
        length = min(max(1, int(factor * batches.sequence_length)), longest)
        characters = phases[-1].characters_after(first) if phases else 0
        phases.append(Phase(first, characters, replace(batches, sequence_length=length)))
    return tuple(phases)
