"""The deadline of a run: when its length changes, what it becomes, and that the run can then be repeated.

The speed of the machine is given by a clock that only the simulation, or the fake engine, sets forward.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
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

from charlm.config.file import load_config
from charlm.config.schema import EarlierLength, TrainingConfig
from charlm.events import LengthChanged
from charlm.network.model_file import read_tensors, tensors_sha256
from charlm.runs.run import open_run
from charlm.text.batches import Batches
from charlm.training.costs import Costs
from charlm.training.schedule import Schedule, make_schedule
from charlm.training.timing import Deadline

LIMIT = 100.0
"""Seconds, of which 96 are planned for."""
BATCHES = Batches(length=100_000, batch_size=4, sequence_length=16, seed=1)
COSTS = Costs(step_seconds=0.1, evaluation_seconds=1.0, end_seconds=2.0)
STEPS = 890
"""With five evaluations and the end, they take the 96 seconds."""
SETTINGS = TrainingConfig(steps=STEPS, evaluations=5)
FIRST_EVALUATION = 178
"""The step of the first evaluation."""

Speed = Callable[[float], float]
"""Returns how many times as long as planned a step takes, at some second."""


@dataclass
class Simulation:
    """A run that takes steps and evaluations as the training loop does, on a machine whose speed is given."""

    slowness: Speed = lambda _second: 1.0
    evaluation_seconds: float = 1.0
    settings: TrainingConfig = SETTINGS
    clock: Clock = field(default_factory=Clock)
    changes: list[tuple[int, bool]] = field(default_factory=list)
    """The step of each change, and whether there was an evaluation."""
    evaluation_total: float = 0.0
    """The seconds of all evaluations."""
    fixed_share: float = 0.0
    """The share of a step's time that does not depend on its characters."""

    def __post_init__(self) -> None:
        """Begin at the start of the time limit."""
        self.deadline = Deadline(LIMIT, 0.0, self.clock, COSTS, self.fixed_share)
        self.step = 0

    @property
    def schedule(self) -> Schedule:
        """The schedule of the run with its present length."""
        return make_schedule(self.settings, BATCHES)

    def take_steps(self, count: int) -> None:
        """Take some steps."""
        schedule = self.schedule
        characters = schedule.characters(self.step + count) - schedule.characters(self.step)
        read = characters / BATCHES.characters_per_step
        whole_steps = self.fixed_share * count + (1 - self.fixed_share) * read
        seconds = whole_steps * COSTS.step_seconds * self.slowness(self.clock.now)
        self.clock.now += seconds
        self.deadline.note_steps(schedule, self.step, self.step + count, seconds)
        self.step += count

    def evaluate(self) -> None:
        """Evaluate the network."""
        self.clock.now += self.evaluation_seconds
        self.evaluation_total += self.evaluation_seconds
        self.deadline.note_evaluation(self.evaluation_seconds)

    def review(self, *, is_evaluation: bool) -> tuple[int, int] | None:
        """Return the length that the run should have, and change it."""
        found = self.deadline.review(
            self.settings, self.schedule, self.step, is_evaluation=is_evaluation
        )
        if found is not None:
            steps, evaluations = found
            changed = self.settings.with_steps(steps).model_copy(
                update={"evaluations": evaluations}
            )
            self.settings = changed.after(self.settings, at=self.step, total=self.schedule.total)
            self.changes.append((self.step, is_evaluation))
        return found

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


def at_first_evaluation(slowness: float, **options: Any) -> Simulation:
    """Return a run that has just been evaluated for the first time, on a machine of some slowness."""
    simulation = Simulation(lambda _second: slowness, **options)
    simulation.take_steps(FIRST_EVALUATION)
    simulation.evaluate()
    return simulation


def test_the_first_evaluation_is_where_these_tests_take_it() -> None:
    assert make_schedule(SETTINGS, BATCHES).next_evaluation(0) == FIRST_EVALUATION


# One review


@pytest.mark.parametrize("is_evaluation", [True, False])
@pytest.mark.parametrize("slowness", [0.98, 1.0, 1.02])
def test_a_run_on_time_keeps_its_length(slowness: float, is_evaluation: bool) -> None:
    assert at_first_evaluation(slowness).review(is_evaluation=is_evaluation) is None


@pytest.mark.parametrize("slowness", [1.2, 1.5, 2.0])
def test_a_slow_run_is_shortened_at_an_evaluation(slowness: float) -> None:
    found = at_first_evaluation(slowness).review(is_evaluation=True)
    assert found is not None
    assert FIRST_EVALUATION < found[0] < STEPS


@pytest.mark.parametrize("slowness", [1.2, 1.5, 2.0])
def test_the_end_that_is_predicted_for_a_shortened_run_is_inside_the_limit(slowness: float) -> None:
    """The speed is a mean of that of the steps, and of that before the run for 5 seconds."""
    simulation = at_first_evaluation(slowness)
    steps, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    seconds = FIRST_EVALUATION * 0.1 * slowness
    speed = (seconds + 5) / (FIRST_EVALUATION + 5 / 0.1)
    more = (steps - FIRST_EVALUATION) * speed + (evaluations - 1) * 1.0 + 2.0 * speed / 0.1
    assert 95.0 < simulation.clock.now + more <= 96.0


@pytest.mark.parametrize("slowness", [0.3, 0.6, 0.8])
def test_a_fast_run_is_lengthened_at_an_evaluation(slowness: float) -> None:
    found = at_first_evaluation(slowness).review(is_evaluation=True)
    assert found is not None
    assert found[0] > STEPS


def test_the_number_of_evaluations_stays_if_they_fit() -> None:
    assert (at_first_evaluation(2.0).review(is_evaluation=True) or (0, 0))[1] == 5
    assert (at_first_evaluation(0.5).review(is_evaluation=True) or (0, 0))[1] == 5


@pytest.mark.parametrize(
    ("slowness", "is_changed"),
    [
        pytest.param(0.3, True, id="far faster"),
        pytest.param(0.9, False, id="a little faster"),
        pytest.param(1.0, False, id="on time"),
        pytest.param(1.1, False, id="a little slower"),
        pytest.param(1.6, True, id="far slower"),
    ],
)
def test_between_evaluations_only_a_plan_that_is_far_off_is_changed(
    slowness: float, is_changed: bool
) -> None:
    simulation = Simulation(lambda _second: slowness)
    simulation.take_steps(FIRST_EVALUATION - 10)
    found = simulation.review(is_evaluation=False)
    assert (found is not None) == is_changed
    assert found is None or (found[0] < STEPS) == (slowness > 1)


@pytest.mark.parametrize("step", [1, 100, STEPS - 2])
@pytest.mark.parametrize("is_evaluation", [True, False])
def test_a_run_whose_time_is_over_has_one_more_step(step: int, is_evaluation: bool) -> None:
    simulation = Simulation()
    simulation.take_steps(step)
    simulation.clock.now = 2 * LIMIT
    steps, _ = simulation.review(is_evaluation=is_evaluation) or (0, 0)
    assert steps == step + 1


def test_a_run_before_its_last_step_is_left_alone() -> None:
    simulation = Simulation()
    simulation.take_steps(STEPS - 1)
    simulation.clock.now = 2 * LIMIT
    assert simulation.review(is_evaluation=True) is None


def test_evaluations_that_take_longer_become_fewer() -> None:
    """After the first, 71 seconds are left: two evaluations of 5 seconds are within a fifth of them, three are not."""
    simulation = at_first_evaluation(1.0, evaluation_seconds=5.0)
    _, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    assert evaluations == 1 + 2


def test_there_is_one_more_evaluation_even_if_it_takes_longer() -> None:
    simulation = at_first_evaluation(1.0, evaluation_seconds=30.0)
    _, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    assert evaluations == 2


def test_windows_that_grow_are_counted_by_their_characters() -> None:
    """The rest of the run reads longer windows than the part before."""
    settings = SETTINGS.model_copy(update={"growing_windows": True})
    simulation = Simulation(lambda _second: 3.0, settings=settings)
    simulation.take_steps(FIRST_EVALUATION)
    simulation.evaluate()
    steps, evaluations = simulation.review(is_evaluation=True) or (0, 0)
    schedule = simulation.schedule
    characters = schedule.characters(steps) - schedule.characters(FIRST_EVALUATION)
    read = schedule.characters(FIRST_EVALUATION) / BATCHES.characters_per_step
    speed = (read * 0.3 + 5) / (read + 5 / 0.1)
    more = (
        characters / BATCHES.characters_per_step * speed
        + (evaluations - 1) * 1.0
        + 2.0 * speed / 0.1
    )
    assert 94.0 < simulation.clock.now + more <= 96.0


def test_short_windows_do_not_make_a_run_on_time_look_slow() -> None:
    """A quarter of the characters of a window takes more than a quarter of its time."""
    settings = SETTINGS.model_copy(update={"growing_windows": True, "steps": 1050})
    simulation = Simulation(settings=settings, fixed_share=0.4)
    simulation.take_steps(50)
    assert simulation.review(is_evaluation=False) is None


@pytest.mark.parametrize(("now", "is_over"), [(0.0, False), (100.0, False), (100.1, True)])
def test_the_limit_is_over_after_its_last_second(now: float, is_over: bool) -> None:
    assert Deadline(LIMIT, 0.0, Clock(now), COSTS, 64).is_over == is_over


def test_the_limit_begins_with_the_command() -> None:
    assert not Deadline(LIMIT, 50.0, Clock(149.0), COSTS, 64).is_over
    assert Deadline(LIMIT, 50.0, Clock(151.0), COSTS, 64).is_over


# More steps for a run that goes on


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run of 60 steps and five evaluations; tests only read it."""
    return train(tmp_path_factory.mktemp("done") / "run", "training.steps=60")


def lengthened(
    done: Trained, *, costs: Costs, settings: TrainingConfig | None = None
) -> TrainingConfig:
    """Return the settings of the run with as many more steps as fit into the limit."""
    run = open_run(done.folder)
    engine = engine_of(run)
    deadline = Deadline(LIMIT, 0.0, Clock(), costs, fixed_share=0.0)
    return deadline.lengthened(settings or run.config.training, engine, 60)


def test_a_run_that_goes_on_gets_the_steps_that_fit(done: Trained) -> None:
    """Of 96 seconds the end takes 2 and five evaluations 5; a step takes half a second."""
    found = lengthened(done, costs=Costs(step_seconds=0.5, evaluation_seconds=1.0, end_seconds=2.0))
    assert found.steps == 60 + 89 * 2


def test_a_run_that_continues_gets_as_many_evaluations_as_it_had(done: Trained) -> None:
    found = lengthened(done, costs=Costs(step_seconds=0.5, evaluation_seconds=1.0, end_seconds=2.0))
    assert found.evaluations == 5 + 5


def test_the_evaluations_of_a_run_that_goes_on_take_a_fifth_of_the_time(done: Trained) -> None:
    """Of 96 seconds, one evaluation of 15 is within a fifth; the rest is for steps of a second."""
    found = lengthened(done, costs=Costs(step_seconds=1.0, evaluation_seconds=15.0))
    assert found.steps == 60 + 81


def test_a_run_that_goes_on_with_longer_windows_is_counted_by_its_characters(done: Trained) -> None:
    """With two and a half times the steps, the last windows are twice as long."""
    settings = open_run(done.folder).config.training.model_copy(update={"growing_windows": True})
    costs = Costs(step_seconds=0.5, evaluation_seconds=1.0, end_seconds=2.0)
    found = lengthened(done, costs=costs, settings=settings)
    batches = engine_of(open_run(done.folder)).batches
    schedule = make_schedule(found, batches)
    read = (
        schedule.characters(schedule.total) - schedule.characters(60)
    ) / batches.characters_per_step
    assert 88 - 2 <= read * 0.5 <= 89


def test_a_run_that_goes_on_has_at_least_one_more_step(done: Trained) -> None:
    assert lengthened(done, costs=Costs(step_seconds=1000.0, evaluation_seconds=1.0)).steps == 61


# Whole runs


def suddenly(slowness: float, *, at: float) -> Speed:
    """Return the speed of a machine that changes at some second."""
    return lambda second: slowness if second >= at else 1.0


@pytest.mark.parametrize("at", [0.0, 30.0, 60.0])
@pytest.mark.parametrize("slowness", [1.1, 1.5, 2.0, 3.0])
def test_a_run_on_a_machine_that_becomes_slower_ends_inside_the_limit(
    slowness: float, at: float
) -> None:
    simulation = Simulation(suddenly(slowness, at=at)).run()
    assert simulation.clock.now <= LIMIT


@pytest.mark.parametrize("at", [0.0, 30.0])
@pytest.mark.parametrize("slowness", [0.3, 0.7, 1.5, 2.0])
def test_a_run_on_a_machine_of_another_speed_uses_nine_tenths_of_the_limit(
    slowness: float, at: float
) -> None:
    simulation = Simulation(suddenly(slowness, at=at)).run()
    assert 0.9 * LIMIT <= simulation.clock.now <= LIMIT


def test_a_run_on_time_is_never_changed() -> None:
    simulation = Simulation().run()
    assert simulation.changes == []
    assert simulation.step == STEPS


def test_a_machine_that_is_slow_for_a_while_still_ends_inside_the_limit() -> None:
    simulation = Simulation(lambda second: 3.0 if 20 <= second < 40 else 1.0).run()
    assert 0.9 * LIMIT <= simulation.clock.now <= LIMIT


@pytest.mark.parametrize("evaluation_seconds", [0.0, 3.0, 6.0])
def test_evaluations_take_at_most_a_quarter_of_the_limit(evaluation_seconds: float) -> None:
    """A fifth of what is left after the first one, whose time was not known."""
    simulation = Simulation(evaluation_seconds=evaluation_seconds).run()
    assert simulation.evaluation_total <= 0.25 * LIMIT
    assert simulation.clock.now <= LIMIT


# Runs of the training loop

RUN_STEPS = 50
"""The steps that a run of `fake_runs` has, with five evaluations."""
SLOW_FROM = 15
"""The step from which a step takes three times as long."""


def slowing(step: int) -> float:
    """Return the seconds of the step after some others, on a machine that becomes slower."""
    return 1.0 if step < SLOW_FROM else 3.0


def train_slowing(folder: Path, *overrides: str, fault: Faults | None = None) -> Trained:
    """Train a run whose machine becomes slower, under a deadline that the planned steps would just meet."""
    clock = Clock()
    costs = Costs(step_seconds=1.0, evaluation_seconds=0.0)
    deadline = Deadline(RUN_STEPS / 0.96, 0.0, clock, costs, fixed_share=0.0)
    return train(
        folder,
        *overrides,
        faults=timed_steps(clock, slowing, fault=fault),
        clock=clock,
        deadline=deadline,
    )


def weights_of(run: Path) -> str:
    """Return the SHA-256 of the last weights of a run."""
    return tensors_sha256(read_tensors(run / "last.safetensors")[2])


@pytest.fixture(
    scope="module",
    params=[(), ("training.growing_windows=true",)],
    ids=["one length", "growing windows"],
)
def overrides(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return further settings of a run."""
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture(scope="module")
def slowed(overrides: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose machine becomes slower; tests only read it."""
    return train_slowing(tmp_path_factory.mktemp("slowed") / "run", *overrides)


def test_a_run_that_becomes_slower_records_its_earlier_length(slowed: Trained) -> None:
    settings = load_config(slowed.folder / "config.yaml").training
    first = settings.earlier_lengths[0]
    assert first == EarlierLength(until=first.until, steps=RUN_STEPS, evaluations=5)


def test_a_run_is_as_planned_until_the_machine_becomes_slower(tmp_path: Path) -> None:
    slowed = train_slowing(tmp_path / "run")
    settings = load_config(slowed.folder / "config.yaml").training
    assert settings.earlier_lengths[0].until > SLOW_FROM


def test_a_run_that_becomes_slower_ends_at_its_new_length(slowed: Trained) -> None:
    settings = load_config(slowed.folder / "config.yaml").training
    assert slowed.outcome.progress.step == settings.steps
    assert slowed.outcome.reason == "all steps done"
    assert slowed.outcome.progress.step < RUN_STEPS


def test_a_run_is_evaluated_at_its_new_end(slowed: Trained) -> None:
    assert max(slowed.validation()) == slowed.outcome.progress.step


def test_the_user_is_told_the_new_length(slowed: Trained) -> None:
    settings = load_config(slowed.folder / "config.yaml").training
    changes = slowed.of_type(LengthChanged)
    assert len(changes) >= len(settings.earlier_lengths)
    assert changes[0].steps < changes[0].before
    assert changes[-1].steps == settings.steps


def repeat(run: Path, folder: Path) -> Trained:
    """Train again from the config.yaml of a run, without a time limit."""
    source = folder / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    return train_begun(begin_run(folder / "again", [], text=source, recipe=run / "config.yaml"))


def test_the_config_of_a_changed_run_repeats_its_weights(slowed: Trained, tmp_path: Path) -> None:
    assert weights_of(repeat(slowed.folder, tmp_path).folder) == weights_of(slowed.folder)


def test_the_config_of_a_changed_run_repeats_its_model_files(
    slowed: Trained, tmp_path: Path
) -> None:
    """Their facts too, such as the name of the recipe."""
    again = repeat(slowed.folder, tmp_path)
    for name in ("last.safetensors", "best.safetensors"):
        assert (again.folder / name).read_bytes() == (slowed.folder / name).read_bytes()


def test_the_config_of_a_changed_run_repeats_its_losses(slowed: Trained, tmp_path: Path) -> None:
    assert repeat(slowed.folder, tmp_path).repeatable_metrics == slowed.repeatable_metrics


@pytest.mark.parametrize(
    "step", [17, *(pytest.param(step, marks=pytest.mark.slow) for step in (20, 23))]
)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(interrupt_after, id="stopped"), pytest.param(crash_after, id="killed")],
)
def test_a_changed_run_that_is_interrupted_ends_as_its_config_says(
    fault: Callable[[int], Faults], step: int, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    """It goes on without its deadline, with the length that it had then; so does a repetition from its config."""
    folder = tmp_path / "run"
    with contextlib.suppress(ZeroDivisionError):
        train_slowing(folder, *overrides, fault=fault(step))
    settings = load_config(folder / "run" / "config.yaml").training
    assert settings.earlier_lengths
    resumed = resume(folder / "run")
    assert resumed.outcome.progress.step == settings.steps
    assert weights_of(repeat(resumed.folder, tmp_path).folder) == weights_of(resumed.folder)


def test_a_run_that_is_stopped_after_its_last_change_ends_like_one_that_is_not(
    slowed: Trained, overrides: tuple[str, ...], tmp_path: Path
) -> None:
    changed_at = load_config(slowed.folder / "config.yaml").training.earlier_lengths[-1].until
    stopped = train_slowing(tmp_path / "run", *overrides, fault=interrupt_after(changed_at + 1))
    assert stopped.outcome.signal is not None
    assert weights_of(resume(stopped.folder).folder) == weights_of(slowed.folder)


def test_a_run_that_becomes_faster_is_lengthened(tmp_path: Path) -> None:
    clock = Clock()
    deadline = Deadline(
        RUN_STEPS / 0.96, 0.0, clock, Costs(1.0, evaluation_seconds=0.0), fixed_share=0.0
    )
    faults = timed_steps(clock, lambda _step: 0.5)
    faster = train(tmp_path / "run", faults=faults, clock=clock, deadline=deadline)
    assert faster.outcome.progress.step > RUN_STEPS
    assert clock.now <= RUN_STEPS / 0.96


def test_a_run_without_a_deadline_keeps_its_length(tmp_path: Path) -> None:
    clock = Clock()
    found = train(tmp_path / "run", faults=timed_steps(clock, slowing), clock=clock)
    assert found.outcome.progress.step == RUN_STEPS
    assert load_config(found.folder / "config.yaml").training.earlier_lengths == ()


def test_each_change_is_at_a_step_of_its_own(slowed: Trained) -> None:
    untils = [
        length.until
        for length in load_config(slowed.folder / "config.yaml").training.earlier_lengths
    ]
    assert untils == sorted(set(untils))
