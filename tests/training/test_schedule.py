"""The schedule of a run: its events, learning rates and windows, and the calls of the engine."""

import math
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock

import numpy as np
import pytest
from corpora import make_corpus
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config.schema import (
    Config,
    EarlierLength,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from charlm.errors import CharlmError
from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training.active_run import ActiveRun
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text
from charlm.training.interface import StepMetrics
from charlm.training.logs import RunLog
from charlm.training.schedule import Schedule, make_schedule, mean_growth
from charlm.training.session import Session

STEPS_PER_EPOCH = 23
BATCHES = Batches(length=375, batch_size=4, sequence_length=4, seed=1)
LONG = Batches(length=4 * 400 + 1, batch_size=4, sequence_length=4, seed=1)
"""Batches with an epoch of 100 steps."""


def training_config(**options: Any) -> TrainingConfig:
    """Return settings with a peak rate of 1, from keys of `training` and `training.schedule`."""
    decay = {key: options.pop(key) for key in ScheduleConfig.model_fields.keys() & options.keys()}
    optimizer = OptimizerConfig(learning_rate=1.0)
    return TrainingConfig(optimizer=optimizer, schedule=ScheduleConfig(**decay), **options)


def schedule_of(**options: Any) -> Schedule:
    return make_schedule(training_config(**options), BATCHES)


def growing(**options: Any) -> Schedule:
    return make_schedule(training_config(growing_windows=True, **options), LONG)


def evaluations_of(schedule: Schedule) -> list[int]:
    """Return the steps of a schedule with an evaluation."""
    return [step for step in range(schedule.total + 1) if schedule.evaluates_at(step)]


def calls_of(schedule: Schedule) -> list[int]:
    """Return the steps at which calls of the engine must end."""
    ends = [0]
    while ends[-1] < schedule.total:
        ends.append(ends[-1] + schedule.steps_to_next_event(ends[-1]))
    return ends


@pytest.mark.parametrize(
    ("epochs", "steps", "total"),
    [(2, None, 2 * STEPS_PER_EPOCH), (None, 7, 7), (2, 7, 7), (1, 1000, STEPS_PER_EPOCH)],
)
def test_a_run_ends_at_the_first_of_two_limits(
    epochs: int | None,
    steps: int | None,
    total: int,
) -> None:
    assert schedule_of(epochs=epochs, steps=steps).total == total


@pytest.mark.parametrize("total", [1, 7, 19, 20, 39, 96, 768, 9_999])
@pytest.mark.parametrize("evaluations", [1, 3, 20])
def test_evaluations_are_spread_evenly_up_to_the_last_step(total: int, evaluations: int) -> None:
    expected = {math.ceil(total * k / evaluations) for k in range(1, evaluations + 1)}
    assert evaluations_of(schedule_of(steps=total, evaluations=evaluations)) == sorted(expected)


def test_the_next_evaluation_is_the_first_after_a_step() -> None:
    schedule = schedule_of(steps=9, evaluations=2)
    assert [schedule.next_evaluation(step) for step in range(9)] == [5] * 5 + [9] * 4


def test_a_run_is_logged_at_evaluations_as_well() -> None:
    schedule = schedule_of(steps=50, log_every=5, evaluations=4)
    assert [step for step in range(1, 26) if schedule.logs_at(step)] == [5, 10, 13, 15, 20, 25]


def test_calls_end_at_logs_evaluations_or_epochs() -> None:
    schedule = schedule_of(steps=50, log_every=5, evaluations=4)
    assert calls_of(schedule) == [0, 5, 10, 13, 15, 20, 23, 25, 30, 35, 38, 40, 45, 46, 50]


# Growing windows


def test_each_phase_of_growing_windows_reads_its_share_of_the_characters() -> None:
    schedule = growing(steps=1500)
    assert schedule.lengths == (1, 2, 4, 8)
    firsts = [phase.first for phase in schedule.phases]
    assert firsts == [0, 400, 1000, 1400]
    shares = [schedule.characters(step) / schedule.characters(1500) for step in firsts]
    assert shares == pytest.approx([0, 0.1, 0.4, 0.8])


def test_growing_windows_have_two_thirds_of_their_full_length_on_average() -> None:
    assert mean_growth(TrainingConfig(steps=1, growing_windows=True)) == pytest.approx(2 / 3)


def test_calls_end_with_each_epoch_or_phase_of_growing_windows() -> None:
    schedule = growing(steps=1500, log_every=2000, evaluations=1)
    assert calls_of(schedule) == [0, 400, 600, 800, *range(1000, 1401, 100), 1450, 1500]


def test_epochs_are_as_many_characters_with_growing_windows() -> None:
    schedule = growing(epochs=10)
    assert schedule.total == 1500
    assert [schedule.epochs(step) for step in (0, 400, 1000, 1400, 1500)] == [0, 1, 4, 8, 10]


def test_windows_do_not_grow_beyond_a_short_text() -> None:
    short = Batches(length=4 * 5 + 1, batch_size=4, sequence_length=4, seed=1)
    config = TrainingConfig(steps=11, growing_windows=True)
    assert make_schedule(config, short).lengths == (1, 2, 4, 5)


def test_the_rate_falls_with_the_characters_that_are_read() -> None:
    """Half of the characters are read at step 1100 of 1500."""
    schedule = growing(steps=1500, final_fraction=0.2)
    assert schedule.rates(1100, 1) == pytest.approx([0.6], abs=3e-3)


# The learning rate


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({"steps": 5, "name": "constant"}, [1, 1, 1, 1, 1], id="constant"),
        pytest.param(
            {"steps": 5, "name": "cosine", "final_fraction": 0.2},
            [1, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2],
            id="cosine",
        ),
        pytest.param(
            {"steps": 30, "name": "constant", "warmup_steps": 3},
            [0.25, 0.5, 0.75, 1, 1],
            id="warm-up",
        ),
        pytest.param(
            {"steps": 20, "name": "constant", "warmup_steps": 50},
            [1 / 3, 2 / 3, 1, 1, 1],
            id="a tenth of the steps is the longest warm-up",
        ),
    ],
)
def test_the_rates_follow_the_schedule(options: dict[str, Any], expected: list[float]) -> None:
    assert schedule_of(**options).rates(0, 5) == pytest.approx(expected)


def test_all_names_of_a_schedule_are_tested() -> None:
    assert get_args(ScheduleConfig.model_fields["name"].annotation) == ("constant", "cosine")


def test_the_rates_do_not_depend_on_the_grouping_of_steps() -> None:
    schedule = schedule_of(steps=5, warmup_steps=2)
    grouped = [schedule.rates(first, count) for first, count in ((0, 3), (3, 0), (3, 2))]
    np.testing.assert_array_equal(np.concatenate(grouped), schedule.rates(0, 5))


# A length that changes during the run

Change = tuple[int, int, int]
"""Step of a change, new length, and new number of evaluations."""


def changed(*changes: Change, **options: Any) -> list[Schedule]:
    """Return the schedules of a run before and after each change."""
    config = training_config(**options)
    schedules = [make_schedule(config, LONG)]
    for at, length, evaluations in changes:
        longer = config.with_steps(length).model_copy(update={"evaluations": evaluations})
        config = longer.after(config, at=at, total=schedules[-1].total)
        schedules.append(make_schedule(config, LONG))
    return schedules


def half_cosine(progress: float, final: float = 0.1) -> float:
    """Return the learning rate at a progress from 0 to 1 for a peak of 1."""
    return final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * progress))


def test_a_run_that_keeps_its_length_is_as_it_was_before_lengths_could_change() -> None:
    schedule = growing(steps=1000, warmup_steps=5)
    phases = [(phase.first, phase.characters) for phase in schedule.phases]
    assert phases == [(0, 0), (267, 1068), (667, 4268), (933, 8524)]
    rates = {
        0: 0.16666667,
        5: 1.0,
        267: 0.97638476,
        500: 0.8273003,
        667: 0.6577405,
        900: 0.15353502,
        999: 0.01,
    }
    for step, rate in rates.items():
        assert schedule.rates(step, 1) == [np.float32(rate)]


def test_the_rate_of_a_shorter_run_continues_from_its_present_value() -> None:
    """Half of the decay is done at step 50."""
    before, after = changed((50, 71, 4), steps=101, final_fraction=0.1)
    expected = [half_cosine(0.5 + 0.5 * step / 20) for step in range(21)]
    np.testing.assert_allclose(after.rates(50, 21), expected, rtol=1e-6)
    np.testing.assert_array_equal(after.rates(0, 51), before.rates(0, 51))


@pytest.mark.parametrize(
    "at",
    [50, 100, 101],
    ids=["in the middle", "before the last step", "at the end"],
)
def test_the_rate_of_a_longer_run_is_that_of_a_run_of_the_new_length(at: int) -> None:
    _, after = changed((at, 251, 4), steps=101, final_fraction=0.1)
    expected = [half_cosine(step / 250) for step in range(at, 251)]
    np.testing.assert_allclose(after.rates(at, 251 - at), expected, rtol=1e-6)


def test_a_second_change_continues_from_the_progress_of_the_first() -> None:
    """150 of 250 steps are done, and ten steps are left."""
    *_, after = changed((50, 251, 4), (150, 161, 4), steps=101, final_fraction=0.1)
    rates = [after.rates(step, 1)[0] for step in (150, 151, 160)]
    expected = [half_cosine(progress) for progress in (0.6, 0.64, 1.0)]
    assert rates == pytest.approx(expected, rel=1e-6)


def test_the_past_of_a_run_that_is_lengthened_at_its_end_stays() -> None:
    schedules = changed((40, 80, 4), (80, 90, 5), (85, 200, 9), steps=40, growing_windows=True)
    for before, after in pairwise(schedules):
        until = after.stretches[-2].until
        np.testing.assert_array_equal(after.rates(0, until), before.rates(0, until))
        for step in range(until + 1):
            assert after.characters(step) == before.characters(step)


@pytest.mark.parametrize(
    "is_growing",
    [False, True],
    ids=["windows of one length", "growing windows"],
)
@pytest.mark.parametrize("at", [60, 2 * STEPS_PER_EPOCH], ids=["in the middle", "at the end"])
def test_a_run_that_is_lengthened_to_some_epochs_reads_as_many(at: int, is_growing: bool) -> None:
    before = TrainingConfig(epochs=4, growing_windows=is_growing)
    total = make_schedule(before, BATCHES).total
    longer = TrainingConfig(epochs=9, growing_windows=is_growing)
    schedule = make_schedule(longer.after(before, at=min(at, total), total=total), BATCHES)
    assert schedule.epochs(schedule.total) == pytest.approx(9, abs=0.1)


def test_a_change_does_not_change_the_warm_up() -> None:
    _, after = changed((5, 60, 4), steps=100, warmup_steps=9)
    warm_up = [(step + 1) / 10 for step in range(9)]
    decay = [half_cosine(step / 50, 0.01) for step in range(51)]
    assert after.rates(0, 60) == pytest.approx(warm_up + decay, rel=1e-6)


def test_a_constant_rate_stays_constant() -> None:
    _, after = changed((5, 60, 4), steps=100, name="constant")
    assert {*after.rates(0, 60)} == {1.0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            (50, 200, 10),
            [25, 50, 69, 88, 107, 125, 144, 163, 182, 200],
            id="at an evaluation",
        ),
        pytest.param((60, 200, 2), [25, 50, 200], id="no evaluation left"),
    ],
)
def test_the_remaining_evaluations_are_spread_over_the_remaining_steps(
    change: Change,
    expected: list[int],
) -> None:
    _, after = changed(change, steps=100, evaluations=4)
    assert evaluations_of(after) == expected


def test_the_growth_of_windows_fits_the_remaining_steps() -> None:
    """Half as many steps as before are left."""
    before, after = changed((700, 1100, 4), steps=1500, growing_windows=True)
    assert [phase.first for phase in before.phases] == [0, 400, 1000, 1400]
    assert [phase.first for phase in after.phases] == [0, 400, 850, 1050]


CHANGED_AT_23 = (EarlierLength(until=STEPS_PER_EPOCH, steps=40, evaluations=3),)


def test_a_run_may_end_after_its_last_change() -> None:
    config = TrainingConfig(epochs=2, earlier_lengths=CHANGED_AT_23)
    assert make_schedule(config, BATCHES).total == 2 * STEPS_PER_EPOCH


def test_a_run_that_ends_at_its_last_change_is_refused() -> None:
    config = TrainingConfig(epochs=1, earlier_lengths=CHANGED_AT_23)
    message = r"training\.epochs: gives a run of 23 steps, but it is at step 23"
    with pytest.raises(CharlmError, match=message):
        make_schedule(config, BATCHES)


Chain = tuple[list[Schedule], list[Change]]


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Draw changes of a run, each at least two steps before its end, and its schedules."""
    options = {
        "steps": draw(st.integers(3, 400)),
        "evaluations": draw(st.integers(1, 30)),
        "growing_windows": draw(st.booleans()),
        "warmup_steps": draw(st.integers(0, 50)),
    }
    at, length = 0, options["steps"]
    changes: list[Change] = []
    for _ in range(draw(st.integers(1, 4))):
        if length - at < 3:
            break
        at = draw(st.integers(at + 1, length - 2))
        length = at + draw(st.integers(2, 400))
        changes.append((at, length, draw(st.integers(1, 60))))
    return changed(*changes, final_fraction=0.1, **options), changes


each_chain = given(chains())
with_few_examples = settings(max_examples=60)


@with_few_examples
@each_chain
def test_nothing_before_a_change_is_changed(chain: Chain) -> None:
    schedules, changes = chain
    for (before, after), (at, *_) in zip(pairwise(schedules), changes, strict=True):
        np.testing.assert_array_equal(after.rates(0, at), before.rates(0, at))
        for step in range(at + 1):
            assert after.characters(step) == before.characters(step)
            assert after.epochs(step) == before.epochs(step)
            assert after.evaluates_at(step) == before.evaluates_at(step)
        for step in range(at):
            assert after.place(step) == before.place(step)
            assert after.resets_state_at(step) == before.resets_state_at(step)


@with_few_examples
@each_chain
def test_a_changed_rate_falls_to_its_final_value(chain: Chain) -> None:
    (first, *_, last), changes = chain
    warm_up = min(last.decay.warmup_steps, first.total // 10)
    rates = last.rates(0, last.total)
    falling = rates[max(warm_up, changes[-1][0]) :]
    assert (np.diff(falling) <= 1e-7).all()
    if warm_up < last.total - 1:
        assert rates[-1] == pytest.approx(0.1)


@with_few_examples
@each_chain
def test_a_change_of_length_never_lowers_the_rate_at_its_step(chain: Chain) -> None:
    schedules, changes = chain
    for (before, after), (at, *_) in zip(pairwise(schedules), changes, strict=True):
        assert after.rates(at, 1) >= before.rates(at, 1) - 1e-6


@with_few_examples
@each_chain
def test_changed_windows_grow_without_gaps(chain: Chain) -> None:
    schedule = chain[0][-1]
    places = [schedule.place(step) for step in range(schedule.total)]
    lengths = [batches.sequence_length for batches, *_ in places]
    assert lengths == sorted(lengths)
    assert {*lengths} <= {1, 2, 4, 8}
    characters = 0
    for step, (batches, epoch, window) in enumerate(places):
        assert schedule.characters(step) == characters
        windows = characters / batches.characters_per_step
        assert abs(epoch * batches.steps_per_epoch + window - windows) <= 0.5
        continues = step > 0 and (batches, epoch, window - 1) == places[step - 1]
        assert schedule.resets_state_at(step) != continues
        characters += batches.characters_per_step
    assert schedule.characters(schedule.total) == characters


@with_few_examples
@each_chain
def test_a_changed_run_has_the_evaluations_of_its_last_change(chain: Chain) -> None:
    schedules, changes = chain
    at, total, evaluations = changes[-1]
    evaluated = evaluations_of(schedules[-1])
    done = [step for step in evaluated if step <= at]
    left = max(1, evaluations - len(done))
    expected = {at + math.ceil((total - at) * k / left) for k in range(1, left + 1)}
    assert evaluated == done + sorted(expected)


@with_few_examples
@each_chain
def test_calls_end_at_each_evaluation_or_change(chain: Chain) -> None:
    schedules, changes = chain
    events = {*evaluations_of(schedules[-1]), *(at for at, *_ in changes)}
    assert events <= {*calls_of(schedules[-1])}


# Calls of the engine

STEPS_OF_SMALL = 8
TEXT = "abc" * 21 + "ab"
IDS = np.array(["abc".index(character) for character in TEXT])
SMALL = Batches(length=2 * 4 * STEPS_OF_SMALL + 1, batch_size=2, sequence_length=4, seed=0)


def take_steps(
    folder: Path,
    progress: Progress,
    until: int,
    *,
    step_seconds: float = 1e-6,
    soft_targets: Any = None,
) -> list[Any]:
    """Take steps, of 100 without events, up to a step; return the calls of the engine.

    The engine reports a loss of 1.5, a norm of 2 and the given time for each step.
    """

    def report(windows: Any, _rates: Any, **_options: Any) -> StepMetrics:
        count = len(windows)
        return StepMetrics(count * [1.5], count * [2.0], step_seconds * count)

    config = TrainingConfig(steps=100, log_every=100, evaluations=1)
    corpus = make_corpus(folder, TEXT, validation_fraction=0)
    run = Run(folder / "run", Config(training=config), corpus)
    engine = Mock(rows=slice(None), take_steps=Mock(side_effect=report))
    schedule = make_schedule(config, SMALL)
    log = Mock(spec=RunLog)
    text = open_text(run)
    training = ActiveRun(run, engine, schedule, Session(), text, soft_targets, log, progress)
    while progress.step < until:
        count = training.next_count(step_seconds=step_seconds if progress.seconds else math.inf)
        assert training.take_steps(count) == [1.5] * count
    return [*engine.take_steps.call_args_list]


def test_slow_steps_have_shorter_calls(tmp_path: Path) -> None:
    calls = take_steps(tmp_path, Progress(), 3, step_seconds=0.25)
    assert [len(call.args[0]) for call in calls] == [1, 2]


def test_the_progress_counts_steps_with_their_losses(tmp_path: Path) -> None:
    progress = Progress()
    take_steps(tmp_path, progress, 3, step_seconds=0.25)
    assert (progress.step, progress.seconds, progress.last_norm) == (3, 0.75, 2.0)
    assert progress.pending_losses == [1.5] * 3


def test_calls_read_the_batches_in_order(tmp_path: Path) -> None:
    calls = take_steps(tmp_path, Progress(), 2 * STEPS_OF_SMALL)
    epochs = [SMALL.positions(epoch=epoch, first=0, count=STEPS_OF_SMALL) for epoch in (0, 1)]
    windows = np.concatenate([call.args[0] for call in calls])
    np.testing.assert_array_equal(windows, IDS[np.concatenate(epochs)])


def test_each_epoch_begins_with_the_zero_state(tmp_path: Path) -> None:
    resets: list[int] = []
    step = 0
    for call in take_steps(tmp_path, Progress(), 2 * STEPS_OF_SMALL):
        if call.kwargs["reset_state"]:
            resets.append(step)
        step += len(call.args[0])
    assert resets == [0, STEPS_OF_SMALL]


def test_each_character_has_the_soft_targets_of_its_own_position(tmp_path: Path) -> None:
    soft_targets = np.eye(3, dtype=np.float16)[IDS[1:]]
    (call,) = take_steps(tmp_path, Progress(step=5), 6, soft_targets=soft_targets)
    np.testing.assert_array_equal(call.kwargs["soft_targets"].argmax(-1), call.args[0][:, 1:])
