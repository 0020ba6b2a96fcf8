"""Runs with a deadline: when their length changes, to what, and that they can then be repeated.

The clock advances only when the simulation, or the fake engine, sets it forward.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import (
    TEXT,
    Clock,
    Trained,
    begin_run,
    engine_of,
    resume,
    timed_steps,
    train,
    train_begun,
)
from models import weights_of

from charlm.config.file import load_config
from charlm.config.schema import EarlierLength, TrainingConfig
from charlm.events import LengthChanged
from charlm.runs.run import open_run
from charlm.text.batches import Batches
from charlm.training.costs import Costs
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.timing import Deadline

LIMIT = 100.0
"""Time limit in seconds; 96 are planned."""
BATCHES = Batches(length=100_000, batch_size=4, sequence_length=16, seed=1)
COSTS = Costs(step_seconds=0.1, evaluation_seconds=1.0, end_seconds=2.0)
STEPS = 890
"""Steps that take 96 seconds together with five evaluations and the end."""
FIRST_EVALUATION = 178
"""Step of the first evaluation."""
SETTINGS = TrainingConfig(steps=STEPS, evaluations=5)

Slowness = Callable[[float], float]
"""Function that returns the time of a step at some second, relative to the plan."""


@dataclass
class Simulation:
    """A run that takes steps and evaluations as the training loop does."""

    slowness: Slowness = lambda _second: 1.0
    evaluation_seconds: float = 1.0
    settings: TrainingConfig = SETTINGS
    fixed_share: float = 0.0
    """Share of a step's time that does not depend on its characters."""
    clock: Clock = field(default_factory=Clock)
    step: int = 0
    changes: int = 0
    """Number of changes of the length."""
    evaluation_total: float = 0.0
    """Time of all evaluations."""

    def __post_init__(self) -> None:
        """Begin at the start of the time limit."""
        self.deadline = Deadline(LIMIT, 0.0, self.clock, COSTS, self.fixed_share)

    @property
    def schedule(self) -> Schedule:
        """The schedule of the run with its present length."""
        return make_schedule(self.settings, BATCHES)

    def take_steps(self, count: int) -> None:
        """Take some steps."""
        schedule = self.schedule
        first = self.step
        self.step += count
        characters = schedule.characters(self.step) - schedule.characters(first)
        full_steps = characters / BATCHES.characters_per_step
        work = self.fixed_share * count + (1 - self.fixed_share) * full_steps
        seconds = work * COSTS.step_seconds * self.slowness(self.clock.now)
        self.clock.now += seconds
        self.deadline.note_steps(schedule, first, self.step, seconds)

    def evaluate(self) -> None:
        """Evaluate the network."""
        self.clock.now += self.evaluation_seconds
        self.evaluation_total += self.evaluation_seconds
        self.deadline.note_evaluation(self.evaluation_seconds)

    def review(self, *, is_evaluation: bool) -> tuple[int, int] | None:
        """Change the length of the run; return its new steps and evaluations, or None."""
        length = self.deadline.review(
            self.settings, self.schedule, self.step, is_evaluation=is_evaluation
        )
        if length is not None:
            steps, evaluations = length
            longer = self.settings.with_steps(steps).model_copy(update={"evaluations": evaluations})
            self.settings = longer.after(self.settings, at=self.step, total=self.schedule.total)
            self.changes += 1
        return length

    def run(self) -> "Simulation":
        """Take all steps, evaluations and the end of the run."""
        while self.step < self.schedule.total:
            self.take_steps(min(10, self.schedule.steps_to_next_event(self.step)))
            is_evaluation = self.schedule.evaluates_at(self.step)
            if is_evaluation:
                self.evaluate()
            if self.step < self.schedule.total:
                self.review(is_evaluation=is_evaluation)
        self.clock.now += COSTS.end_seconds * self.slowness(self.clock.now)
        return self


def evaluated_once(slowness: float, **options: Any) -> Simulation:
    """Return a run that has just been evaluated for the first time."""
    simulation = Simulation(lambda _second: slowness, **options)
    simulation.take_steps(FIRST_EVALUATION)
    simulation.evaluate()
    return simulation


def review_evaluated(slowness: float, **options: Any) -> tuple[int, int]:
    """Return the new steps and evaluations of a run after its first evaluation."""
    length = evaluated_once(slowness, **options).review(is_evaluation=True)
    assert length is not None
    return length


def seconds_left(simulation: Simulation, steps: float, evaluations: int) -> float:
    """Return the expected time of the rest of a run, with some steps and evaluations.

    The time of a step is a mean of the measured steps and of five seconds at the planned speed.
    """
    taken = simulation.schedule.characters(simulation.step) / BATCHES.characters_per_step
    step_seconds = (simulation.clock.now - simulation.evaluation_total + 5) / (taken + 5 / 0.1)
    end = 2.0 * step_seconds / 0.1
    return steps * step_seconds + evaluations * 1.0 + end


def test_the_first_evaluation_is_where_these_tests_expect_it() -> None:
    assert make_schedule(SETTINGS, BATCHES).next_evaluation(0) == FIRST_EVALUATION


# A single review


@pytest.mark.parametrize("is_evaluation", [True, False])
@pytest.mark.parametrize("slowness", [0.98, 1.0, 1.02])
def test_a_run_on_time_keeps_its_length(slowness: float, is_evaluation: bool) -> None:
    assert evaluated_once(slowness).review(is_evaluation=is_evaluation) is None


@pytest.mark.parametrize("slowness", [1.2, 1.5, 2.0])
def test_a_slow_run_is_shortened_to_96_percent_of_the_limit(slowness: float) -> None:
    simulation = evaluated_once(slowness)
    steps, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    assert FIRST_EVALUATION < steps < STEPS
    left = seconds_left(simulation, steps - FIRST_EVALUATION, evaluations - 1)
    assert 95.0 < simulation.clock.now + left <= 96.0


@pytest.mark.parametrize("slowness", [0.3, 0.6, 0.8])
def test_a_fast_run_is_lengthened_at_an_evaluation(slowness: float) -> None:
    assert review_evaluated(slowness)[0] > STEPS


@pytest.mark.parametrize("slowness", [0.5, 2.0])
def test_the_number_of_evaluations_stays_if_they_fit(slowness: float) -> None:
    assert review_evaluated(slowness)[1] == 5


def review_between_evaluations(slowness: float) -> tuple[int, int] | None:
    simulation = Simulation(lambda _second: slowness)
    simulation.take_steps(FIRST_EVALUATION - 10)
    return simulation.review(is_evaluation=False)


@pytest.mark.parametrize("slowness", [0.9, 1.0, 1.1])
def test_between_evaluations_a_plan_that_is_a_little_off_is_kept(slowness: float) -> None:
    assert review_between_evaluations(slowness) is None


@pytest.mark.parametrize("slowness", [0.3, 1.6])
def test_between_evaluations_a_plan_that_is_far_off_is_changed(slowness: float) -> None:
    length = review_between_evaluations(slowness)
    assert length is not None
    assert (length[0] < STEPS) == (slowness > 1)


@pytest.mark.parametrize("step", [1, 100, STEPS - 2])
@pytest.mark.parametrize("is_evaluation", [True, False])
def test_a_run_has_one_more_step_after_the_limit(step: int, is_evaluation: bool) -> None:
    simulation = Simulation()
    simulation.take_steps(step)
    simulation.clock.now = 2 * LIMIT
    steps, _ = simulation.review(is_evaluation=is_evaluation) or (0, 0)
    assert steps == step + 1


def test_a_run_before_its_last_step_keeps_its_length() -> None:
    simulation = Simulation()
    simulation.take_steps(STEPS - 1)
    simulation.clock.now = 2 * LIMIT
    assert simulation.review(is_evaluation=True) is None


@pytest.mark.parametrize(
    ("evaluation_seconds", "evaluations"),
    [
        pytest.param(5.0, 1 + 2, id="two are within a fifth of the time"),
        pytest.param(30.0, 1 + 1, id="one is more than a fifth of the time"),
    ],
)
def test_evaluations_that_take_longer_become_fewer(
    evaluation_seconds: float,
    evaluations: int,
) -> None:
    """One evaluation is done."""
    assert review_evaluated(1.0, evaluation_seconds=evaluation_seconds)[1] == evaluations


def test_steps_with_growing_windows_count_by_their_characters() -> None:
    """The rest of the run reads longer windows than the part before."""
    settings = SETTINGS.model_copy(update={"growing_windows": True})
    simulation = evaluated_once(3.0, settings=settings)
    steps, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    schedule = simulation.schedule
    characters = schedule.characters(steps) - schedule.characters(FIRST_EVALUATION)
    left = seconds_left(simulation, characters / BATCHES.characters_per_step, evaluations - 1)
    assert 94.0 < simulation.clock.now + left <= 96.0


def test_short_windows_do_not_make_a_run_on_time_look_slow() -> None:
    """A quarter of the characters of a window takes more than a quarter of its time."""
    settings = SETTINGS.model_copy(update={"growing_windows": True, "steps": 1050})
    simulation = Simulation(settings=settings, fixed_share=0.4)
    simulation.take_steps(50)
    assert simulation.review(is_evaluation=False) is None


@pytest.mark.parametrize(
    ("started", "now", "is_over"),
    [(0.0, 0.0, False), (0.0, 100.0, False), (0.0, 100.1, True), (50.0, 149.0, False)],
)
def test_the_limit_is_over_after_its_last_second(started: float, now: float, is_over: bool) -> None:
    assert Deadline(LIMIT, started, Clock(now), COSTS, 0.0).is_over == is_over


# More steps for a run that has ended


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run of 60 steps and five evaluations, which tests only read."""
    return train(tmp_path_factory.mktemp("done") / "run", "training.steps=60")


def lengthened(done: Trained, **costs: float) -> TrainingConfig:
    """Return the settings of the run with as many more steps as fit into 96 seconds."""
    deadline = Deadline(LIMIT, 0.0, Clock(), Costs(**costs), fixed_share=0.0)
    run = open_run(done.folder)
    return deadline.lengthened(run.config.training, engine_of(run), 60)


@pytest.mark.parametrize(
    ("costs", "steps", "evaluations"),
    [
        pytest.param(
            {"step_seconds": 0.5, "evaluation_seconds": 1.0, "end_seconds": 2.0},
            89 * 2,
            5,
            id="five evaluations and the end leave 89 s",
        ),
        pytest.param(
            {"step_seconds": 1.0, "evaluation_seconds": 15.0},
            81,
            1,
            id="a fifth of the time is for evaluations",
        ),
        pytest.param(
            {"step_seconds": 1000.0, "evaluation_seconds": 1.0},
            1,
            5,
            id="at least one step",
        ),
    ],
)
def test_a_run_gets_as_many_more_steps_as_fit(
    costs: dict[str, float],
    steps: int,
    evaluations: int,
    done: Trained,
) -> None:
    settings = lengthened(done, **costs)
    assert settings.steps == 60 + steps
    assert settings.evaluations == 5 + evaluations


# Simulated runs


@pytest.mark.parametrize("at", [0.0, 30.0, 60.0])
@pytest.mark.parametrize("slowness", [1.1, 1.5, 2.0, 3.0])
def test_a_run_on_a_machine_that_becomes_slower_ends_within_the_limit(
    slowness: float,
    at: float,
) -> None:
    simulation = Simulation(lambda second: slowness if second >= at else 1.0).run()
    assert simulation.clock.now <= LIMIT


@pytest.mark.parametrize("at", [0.0, 30.0])
@pytest.mark.parametrize("slowness", [0.3, 0.7, 1.5, 2.0])
def test_a_run_on_a_machine_of_another_speed_uses_nine_tenths_of_the_limit(
    slowness: float,
    at: float,
) -> None:
    simulation = Simulation(lambda second: slowness if second >= at else 1.0).run()
    assert 0.9 * LIMIT <= simulation.clock.now <= LIMIT


def test_a_run_on_a_machine_that_is_slow_for_a_while_uses_nine_tenths_of_the_limit() -> None:
    simulation = Simulation(lambda second: 3.0 if 20 <= second < 40 else 1.0).run()
    assert 0.9 * LIMIT <= simulation.clock.now <= LIMIT


def test_a_run_on_time_is_never_changed() -> None:
    simulation = Simulation().run()
    assert (simulation.changes, simulation.step) == (0, STEPS)


def test_a_run_on_time_whose_steps_have_a_fixed_share_is_never_changed() -> None:
    """Windows that grow have two thirds of their length: 1,112 steps take 89 seconds."""
    settings = SETTINGS.model_copy(update={"growing_windows": True, "steps": 1112})
    simulation = Simulation(settings=settings, fixed_share=0.4).run()
    assert (simulation.changes, simulation.step) == (0, 1112)


@pytest.mark.parametrize("evaluation_seconds", [0.0, 3.0, 6.0])
def test_evaluations_take_at_most_a_quarter_of_the_limit(evaluation_seconds: float) -> None:
    """They take a fifth of the time after the first one, whose time was unknown."""
    simulation = Simulation(evaluation_seconds=evaluation_seconds).run()
    assert simulation.evaluation_total <= 0.25 * LIMIT
    assert simulation.clock.now <= LIMIT


# Runs of the training loop

RUN_STEPS = 50
"""The planned steps of a run of `fake_runs`, which has five evaluations."""
RUN_LIMIT = RUN_STEPS / 0.96
"""A time limit in seconds for the planned steps of a second."""
SLOW_FROM = 15
"""The step from which a step takes three seconds."""


def slowing(step: int) -> float:
    """Return the seconds of the step after some others, on a machine that becomes slower."""
    return 1.0 if step < SLOW_FROM else 3.0


def train_within_limit(
    folder: Path,
    *overrides: str,
    step_seconds: Callable[[int], float] = slowing,
    fault: Faults | None = None,
) -> Trained:
    """Train a run with a time limit on a machine whose speed is not the planned one."""
    clock = Clock()
    costs = Costs(step_seconds=1.0, evaluation_seconds=0.0)
    deadline = Deadline(RUN_LIMIT, 0.0, clock, costs, fixed_share=0.0)
    faults = timed_steps(clock, step_seconds, fault=fault)
    return train(folder, *overrides, faults=faults, clock=clock, deadline=deadline)


@pytest.fixture(
    scope="module", params=["false", "true"], ids=["windows of one length", "growing windows"]
)
def windows(request: pytest.FixtureRequest) -> str:
    return f"training.growing_windows={request.param}"


@pytest.fixture(scope="module")
def slowed(windows: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose machine becomes slower, which tests only read."""
    return train_within_limit(tmp_path_factory.mktemp("slowed") / "run", windows)


def test_a_run_that_becomes_slower_records_its_earlier_lengths(slowed: Trained) -> None:
    first, *_ = lengths = slowed.config.training.earlier_lengths
    assert first == EarlierLength(until=first.until, steps=RUN_STEPS, evaluations=5)
    assert all(length.until < following.until for length, following in pairwise(lengths))


def test_a_run_is_as_planned_until_the_machine_becomes_slower(tmp_path: Path) -> None:
    slowed = train_within_limit(tmp_path / "run")
    assert slowed.config.training.earlier_lengths[0].until > SLOW_FROM


def test_a_run_that_becomes_slower_ends_at_its_new_length(slowed: Trained) -> None:
    assert slowed.outcome.reason == "all steps done"
    assert slowed.outcome.progress.step == slowed.config.training.steps
    assert slowed.outcome.progress.step < RUN_STEPS
    assert max(slowed.validation()) == slowed.outcome.progress.step


def test_the_user_is_told_the_new_length(slowed: Trained) -> None:
    changes = slowed.of_type(LengthChanged)
    assert len(changes) >= len(slowed.config.training.earlier_lengths)
    assert changes[0].steps < changes[0].before == RUN_STEPS
    assert changes[-1].steps == slowed.config.training.steps


def repeat(run: Path, folder: Path) -> Trained:
    """Train again from the config.yaml of a run, without a time limit."""
    source = folder / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    return train_begun(begin_run(folder / "again", [], text=source, recipe=run / "config.yaml"))


def last_weights(run: Trained) -> str:
    return weights_of(run.folder / "last.safetensors")


def test_the_config_of_a_changed_run_repeats_it(slowed: Trained, tmp_path: Path) -> None:
    repeated = repeat(slowed.folder, tmp_path)
    assert repeated.repeatable_metrics == slowed.repeatable_metrics
    for name in ("last.safetensors", "best.safetensors"):
        assert (repeated.folder / name).read_bytes() == (slowed.folder / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        17,
        pytest.param(20, marks=pytest.mark.slow),
        pytest.param(23, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(interrupt_after, id="stopped"), pytest.param(crash_after, id="killed")],
)
def test_a_changed_run_that_is_interrupted_ends_as_its_config_says(
    fault: Callable[[int], Faults],
    step: int,
    windows: str,
    tmp_path: Path,
) -> None:
    """It continues without its deadline, with the length that it had then."""
    run = tmp_path / "run/run"
    with contextlib.suppress(ZeroDivisionError):
        train_within_limit(run.parent, windows, fault=fault(step))
    settings = load_config(run / "config.yaml").training
    assert settings.earlier_lengths
    resumed = resume(run)
    assert resumed.outcome.progress.step == settings.steps
    assert last_weights(repeat(run, tmp_path)) == last_weights(resumed)


def test_a_run_that_is_stopped_after_its_last_change_ends_like_one_that_is_not(
    slowed: Trained,
    windows: str,
    tmp_path: Path,
) -> None:
    changed_at = slowed.config.training.earlier_lengths[-1].until
    fault = interrupt_after(changed_at + 1)
    stopped = train_within_limit(tmp_path / "run", windows, fault=fault)
    assert stopped.outcome.signal is not None
    assert last_weights(resume(stopped.folder)) == last_weights(slowed)


def test_a_run_that_becomes_faster_is_lengthened(tmp_path: Path) -> None:
    faster = train_within_limit(tmp_path / "run", step_seconds=lambda _step: 0.5)
    steps = faster.outcome.progress.step
    assert RUN_STEPS < steps <= RUN_LIMIT / 0.5


def test_a_run_without_a_deadline_keeps_its_length(tmp_path: Path) -> None:
    clock = Clock()
    trained = train(tmp_path / "run", faults=timed_steps(clock, slowing), clock=clock)
    assert trained.outcome.progress.step == RUN_STEPS
    assert trained.config.training.earlier_lengths == ()
