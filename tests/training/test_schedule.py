"""The steps at which something happens, the learning rates, and the windows that calls of the engine read."""

import math
from dataclasses import replace
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
from charlm.training.schedule import GROWTH, Phase, Schedule, Stretch, make_schedule, mean_growth
from charlm.training.session import Session

BATCHES = Batches(length=375, batch_size=4, sequence_length=4, seed=1)
STEPS_PER_EPOCH = 23
SCHEDULE = Schedule(
    (Stretch(0, 50, 50, 4, (0.0, 50.0), (Phase(0, 0, BATCHES),)),),
    5,
    BATCHES,
    1.0,
    decay=ScheduleConfig(),
)


def test_a_run_ends_at_the_first_of_two_limits() -> None:
    for epochs, steps, total in (
        (2, None, 2 * STEPS_PER_EPOCH),
        (None, 7, 7),
        (2, 7, 7),
        (1, 1000, STEPS_PER_EPOCH),
    ):
        assert make_schedule(TrainingConfig(epochs=epochs, steps=steps), BATCHES).total == total


def test_a_schedule_follows_the_config_and_the_text() -> None:
    settings = TrainingConfig(
        optimizer=OptimizerConfig(learning_rate=0.5), epochs=3, log_every=2, evaluations=3
    )
    total = 3 * STEPS_PER_EPOCH
    stretch = Stretch(0, total, total, 3, (0.0, total), (Phase(0, 0, BATCHES),))
    expected = Schedule((stretch,), 2, BATCHES, 0.5, settings.schedule)
    assert make_schedule(settings, BATCHES) == expected


@pytest.mark.parametrize("total", [1, 7, 19, 20, 39, 96, 768, 9_999])
@pytest.mark.parametrize("evaluations", [1, 3, 20])
def test_marks_are_spread_evenly_over_a_run_and_the_last_one_is_its_end(
    total: int, evaluations: int
) -> None:
    schedule = make_schedule(TrainingConfig(steps=total, evaluations=evaluations), BATCHES)
    evaluated = [step for step in range(total + 1) if schedule.evaluates_at(step)]
    assert evaluated == sorted(
        {math.ceil(total * k / evaluations) for k in range(1, evaluations + 1)}
    )
    expected = [
        next(step_of_evaluation for step_of_evaluation in evaluated if step_of_evaluation > step)
        for step in range(total)
    ]
    assert [schedule.next_evaluation(step) for step in range(total)] == expected


def test_a_run_is_logged_at_its_steps_and_its_marks_where_calls_end_as_at_the_end_of_an_epoch() -> (
    None
):
    assert [step for step in range(51) if SCHEDULE.evaluates_at(step)] == [13, 25, 38, 50]
    assert [step for step in range(1, 26) if SCHEDULE.logs_at(step)] == [5, 10, 13, 15, 20, 25]
    steps = [0]
    while steps[-1] < SCHEDULE.total:
        steps.append(steps[-1] + SCHEDULE.steps_to_next_event(steps[-1]))
    assert steps == [0, 5, 10, 13, 15, 20, 23, 25, 30, 35, 38, 40, 45, 46, 50]


# Windows that grow


LONG = Batches(length=4 * 400 + 1, batch_size=4, sequence_length=4, seed=1)


def growing(**settings: Any) -> Schedule:
    return make_schedule(TrainingConfig(growing_windows=True, **settings), LONG)


def test_growing_windows_read_the_shares_of_the_characters() -> None:
    schedule = growing(steps=1500, log_every=2000, evaluations=1)
    assert schedule.lengths == (1, 2, 4, 8)
    firsts = [phase.first for phase in schedule.phases]
    assert firsts == [0, 400, 1000, 1400]
    read = [schedule.characters(step) / schedule.characters(1500) for step in firsts]
    assert read == pytest.approx([0, 0.1, 0.4, 0.8])
    assert [schedule.place(step)[0].sequence_length for step in (399, 999, 1399, 1500)] == [
        1,
        2,
        4,
        8,
    ]
    assert mean_growth(TrainingConfig(steps=1, growing_windows=True)) == pytest.approx(1000 / 1500)
    ends = [0]
    while ends[-1] < 1500:
        ends.append(ends[-1] + schedule.steps_to_next_event(ends[-1]))
    assert ends == [0, 400, 600, 800, *range(1000, 1401, 100), 1450, 1500]  # every epoch, too


def test_epochs_are_as_many_characters_with_growing_windows() -> None:
    schedule = growing(epochs=10)
    assert schedule.total == 1500
    assert [schedule.epochs(step) for step in (0, 400, 1000, 1400, 1500)] == [0, 1, 4, 8, 10]


@pytest.mark.parametrize("total", [1, 2, 3, 10, 99])
def test_every_step_of_growing_windows_reads_on_where_the_one_before_ended(total: int) -> None:
    schedule, characters = growing(steps=total), 0
    places = [schedule.place(step) for step in range(total)]
    for step, (batches, epoch, window) in enumerate(places):
        assert schedule.characters(step) == characters
        before = characters / batches.characters_per_step
        assert abs(epoch * batches.steps_per_epoch + window - before) <= 0.5
        follows = step > 0 and (batches, epoch, window - 1) == places[step - 1]
        assert schedule.resets_state_at(step) != follows
        characters += batches.characters_per_step


def test_windows_do_not_grow_beyond_a_short_text() -> None:
    short = Batches(length=4 * 5 + 1, batch_size=4, sequence_length=4, seed=1)
    assert make_schedule(TrainingConfig(steps=11, growing_windows=True), short).lengths == (
        1,
        2,
        4,
        5,
    )


def test_the_rate_falls_with_the_characters_read() -> None:
    schedule = growing(
        steps=1500,
        optimizer=OptimizerConfig(learning_rate=1.0),
        schedule=ScheduleConfig(name="cosine"),
    )
    final = schedule.decay.final_fraction
    assert schedule.rates(1100, 1)[0] == pytest.approx(
        (1 + final) / 2, abs=3e-3
    )  # half of the characters


# The learning rate


def rates(first: int, count: int, total: int, **schedule: Any) -> list[float]:
    """Return learning rates for a peak of 1."""
    decay = ScheduleConfig(**schedule)
    stretches = (replace(SCHEDULE.stretches[0], until=total, total=total),)
    return list(
        replace(SCHEDULE, peak_rate=1.0, decay=decay, stretches=stretches).rates(first, count)
    )


def test_the_first_rates_are_those_of_the_schedule_however_steps_are_grouped() -> None:
    for total, schedule, expected in (
        (5, {"name": "constant"}, [1, 1, 1, 1, 1]),
        (
            5,
            {"name": "cosine", "final_fraction": 0.2},
            [1, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2],
        ),
        (30, {"name": "constant", "warmup_steps": 3}, [0.25, 0.5, 0.75, 1, 1]),
        (
            20,
            {"name": "constant", "warmup_steps": 50},
            [1 / 3, 2 / 3, 1, 1, 1],
        ),  # at most a tenth of the steps,
    ):
        names = get_args(ScheduleConfig.model_fields["name"].annotation)
        assert {*names} == {"constant", "cosine"}  # each has a case here
        found = [
            rate
            for first, count in ((0, 3), (3, 0), (3, 2))
            for rate in rates(first, count, total, **schedule)
        ]
        assert found == rates(0, 5, total, **schedule) == pytest.approx(expected)


# A length that changes on the way


def changed(*changes: tuple[int, int, int], steps: int, **options: Any) -> list[Schedule]:
    """Return the schedules of a run with a peak rate of 1 that begins with `steps`, before and after each change.

    Args:
        changes: The step of each change, the new length and the new number of evaluations.
        steps: The first length.
        options: Settings of the training and, for instance `warmup_steps`, of its schedule.

    """
    decay = {key: options.pop(key) for key in ScheduleConfig.model_fields.keys() & options.keys()}
    optimizer = OptimizerConfig(learning_rate=1.0)
    config = TrainingConfig(
        steps=steps, optimizer=optimizer, schedule=ScheduleConfig(**decay), **options
    )
    schedules = [make_schedule(config, LONG)]
    for at, length, evaluations in changes:
        longer = config.with_steps(length).model_copy(update={"evaluations": evaluations})
        config = longer.after(config, at=at, total=schedules[-1].total)
        schedules.append(make_schedule(config, LONG))
    return schedules


def evaluations_of(schedule: Schedule) -> list[int]:
    """Return the steps of a schedule at which the network is evaluated."""
    return [step for step in range(schedule.total + 1) if schedule.evaluates_at(step)]


def half_cosine(progress: float, final: float) -> float:
    """Return the learning rate at a progress from 0 to 1 for a peak of 1."""
    return final + (1 - final) * (0.5 + 0.5 * math.cos(math.pi * progress))


def test_a_run_that_keeps_its_length_is_as_it_was_before_lengths_could_change() -> None:
    (schedule,) = changed(steps=1000, growing_windows=True, warmup_steps=5, evaluations=7)
    assert [(phase.first, phase.characters) for phase in schedule.phases] == [
        (0, 0),
        (267, 1068),
        (667, 4268),
        (933, 8524),
    ]
    expected = {
        0: 0.16666667,
        5: 1.0,
        267: 0.97638476,
        500: 0.8273003,
        667: 0.6577405,
        900: 0.15353502,
        999: 0.01,
    }
    assert {step: schedule.rates(step, 1)[0] for step in expected} == {
        step: np.float32(rate) for step, rate in expected.items()
    }
    assert evaluations_of(schedule) == [143, 286, 429, 572, 715, 858, 1000]


def test_the_rate_of_a_shorter_run_continues_from_where_it_is() -> None:
    before, after = changed((50, 71, 4), steps=101, final_fraction=0.1)
    expected = [
        half_cosine(step / 100, 0.1) for step in range(51)
    ]  # half of the fall is done at step 50
    expected += [half_cosine(0.5 + 0.5 * (step - 50) / 20, 0.1) for step in range(51, 71)]
    np.testing.assert_allclose(after.rates(0, 71), expected, rtol=1e-6)
    np.testing.assert_array_equal(after.rates(0, 51), before.rates(0, 51))


@pytest.mark.parametrize(
    "at", [50, 100, 101], ids=["in the middle", "before the last step", "at the end"]
)
def test_the_rate_of_a_longer_run_is_that_of_a_run_of_the_new_length(at: int) -> None:
    before, after = changed((at, 251, 4), steps=101, final_fraction=0.1)
    expected = [half_cosine(step / 250, 0.1) for step in range(at, 251)]
    np.testing.assert_allclose(after.rates(at, 251 - at), expected, rtol=1e-6)
    np.testing.assert_array_equal(after.rates(0, at), before.rates(0, at))


def test_a_second_change_continues_from_the_progress_of_the_first() -> None:
    *_, after = changed((50, 251, 4), (150, 161, 4), steps=101, final_fraction=0.1)
    progress = [0.6, 0.64, 1.0]  # 150 of 250 steps, and then ten steps to the end
    rates = [after.rates(step, 1)[0] for step in (150, 151, 160)]
    assert rates == pytest.approx([half_cosine(one, 0.1) for one in progress], rel=1e-6)


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_the_steps_of_a_run_that_is_lengthened_three_times_keep_their_rates(name: str) -> None:
    schedules = changed(
        (40, 80, 4), (80, 90, 5), (85, 200, 9), steps=40, growing_windows=True, name=name
    )
    for before, after in pairwise(schedules):
        until = after.stretches[-2].until
        np.testing.assert_array_equal(after.rates(0, until), before.rates(0, until))


def test_what_a_lengthened_run_has_read_stays() -> None:
    schedules = changed((40, 80, 4), (80, 90, 5), (85, 200, 9), steps=40, growing_windows=True)
    for before, after in pairwise(schedules):
        until = after.stretches[-2].until
        read = [before.characters(step) for step in range(until + 1)]
        assert [after.characters(step) for step in range(until + 1)] == read


@pytest.mark.parametrize(
    "is_growing", [False, True], ids=["windows of one length", "growing windows"]
)
@pytest.mark.parametrize("at", [60, 2 * STEPS_PER_EPOCH], ids=["in the middle", "at the end"])
def test_a_run_that_is_lengthened_to_some_epochs_reads_the_text_so_often(
    at: int, is_growing: bool
) -> None:
    before = TrainingConfig(epochs=4, growing_windows=is_growing)
    total = make_schedule(before, BATCHES).total
    at = min(at, total)
    after = TrainingConfig(epochs=9, growing_windows=is_growing).after(before, at=at, total=total)
    schedule = make_schedule(after, BATCHES)
    assert schedule.epochs(schedule.total) == pytest.approx(9, abs=0.1)


def test_a_warm_up_goes_on_as_it_was() -> None:
    _, after = changed((5, 60, 4), steps=100, warmup_steps=9)
    assert after.rates(0, 9) == pytest.approx([(step + 1) / 10 for step in range(9)])
    assert after.rates(9, 51) == pytest.approx(
        [half_cosine(step / 50, 0.01) for step in range(51)], rel=1e-6
    )


def test_a_constant_rate_stays_constant() -> None:
    _, after = changed((5, 60, 4), steps=100, name="constant")
    assert {*after.rates(0, 60)} == {1.0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            (50, 200, 10), [25, 50, 69, 88, 107, 125, 144, 163, 182, 200], id="at an evaluation"
        ),
        pytest.param((60, 200, 6), [25, 50, 95, 130, 165, 200], id="between evaluations"),
        pytest.param((49, 52, 4), [25, 50, 51, 52], id="few steps left"),
        pytest.param((60, 200, 2), [25, 50, 200], id="no evaluation left"),
        pytest.param((60, 63, 9), [25, 50, 61, 62, 63], id="more evaluations than steps"),
    ],
)
def test_the_evaluations_that_are_left_are_spread_over_the_steps_that_are_left(
    change: tuple[int, int, int], expected: list[int]
) -> None:
    _, after = changed(change, steps=100, evaluations=4)
    assert evaluations_of(after) == expected


def test_the_growth_of_windows_fits_the_steps_that_are_left() -> None:
    before, after = changed((700, 1100, 4), steps=1500, growing_windows=True)
    assert [phase.first for phase in before.phases] == [0, 400, 1000, 1400]
    assert [phase.first for phase in after.phases] == [
        0,
        400,
        850,
        1050,
    ]  # half as many steps as before are left


def test_a_change_within_windows_of_one_length_reads_on() -> None:
    before, after = changed((700, 1100, 4), steps=1500, growing_windows=True)
    assert [after.place(step) for step in (699, 700, 701)] == [
        before.place(step) for step in (699, 700, 701)
    ]
    assert not after.resets_state_at(700)


def test_calls_of_the_engine_end_at_a_change() -> None:
    _, after = changed((33, 60, 1), steps=100, evaluations=1, log_every=1000)
    assert after.steps_to_next_event(30) == 3


def test_a_run_that_ends_before_its_last_change_is_refused() -> None:
    length = EarlierLength(until=STEPS_PER_EPOCH, steps=40, evaluations=3)
    assert (
        make_schedule(TrainingConfig(epochs=2, earlier_lengths=(length,)), BATCHES).total
        == 2 * STEPS_PER_EPOCH
    )
    with pytest.raises(
        CharlmError, match=r"training\.epochs: gives a run of 23 steps, but it is at step 23"
    ):
        make_schedule(TrainingConfig(epochs=1, earlier_lengths=(length,)), BATCHES)


Chain = tuple[list[Schedule], list[tuple[int, int, int]]]


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """Draw the schedules of a run and its changes of length, as for `changed`; two steps or more are left."""
    lengths = [draw(st.integers(3, 400))]
    evaluations = draw(st.integers(1, 30))
    changes: list[tuple[int, int, int]] = []
    first = 0
    for _ in range(draw(st.integers(1, 4))):
        if lengths[-1] - first < 3:
            break
        first = draw(st.integers(first + 1, lengths[-1] - 2))
        lengths.append(first + draw(st.integers(2, 400)))
        changes.append((first, lengths[-1], draw(st.integers(1, 60))))
    schedules = changed(
        *changes,
        steps=lengths[0],
        evaluations=evaluations,
        growing_windows=draw(st.booleans()),
        warmup_steps=draw(st.integers(0, 50)),
        final_fraction=0.1,
    )
    return schedules, changes


def warm_up_of(schedule: Schedule) -> int:
    """Return the steps of the warm-up."""
    return min(schedule.decay.warmup_steps, schedule.stretches[0].total // 10)


@settings(max_examples=60)
@given(chains())
def test_nothing_before_a_change_is_rewritten(chain: Chain) -> None:
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


@settings(max_examples=60)
@given(chains())
def test_a_changed_rate_falls_to_its_final_value(chain: Chain) -> None:
    schedules, changes = chain
    total, warm_up = schedules[-1].total, warm_up_of(schedules[-1])
    begin = max(warm_up, changes[-1][0])
    rates = schedules[-1].rates(0, total)
    assert (np.diff(rates[begin:]) <= 1e-7).all()
    if warm_up < total - 1:
        assert rates[-1] == pytest.approx(0.1)


@settings(max_examples=60)
@given(chains())
def test_a_change_of_length_never_lowers_the_rate_at_its_step(chain: Chain) -> None:
    schedules, changes = chain
    for (before, after), (at, *_) in zip(pairwise(schedules), changes, strict=True):
        assert after.rates(at, 1) >= before.rates(at, 1) - 1e-6


@settings(max_examples=60)
@given(chains())
def test_changed_windows_grow_and_are_read_one_after_another(chain: Chain) -> None:
    schedule = chain[0][-1]
    places = [schedule.place(step) for step in range(schedule.total)]
    lengths = [batches.sequence_length for batches, *_ in places]
    assert lengths == sorted(lengths)
    assert {*lengths} <= {max(1, int(4 * factor)) for _, factor in GROWTH}
    read = np.cumsum([0, *(4 * length for length in lengths)])
    assert [schedule.characters(step) for step in range(schedule.total + 1)] == read.tolist()
    for step in range(1, schedule.total):
        is_new = lengths[step] != lengths[step - 1] or places[step][2] == 0
        assert schedule.resets_state_at(step) == is_new


@settings(max_examples=60)
@given(chains())
def test_changed_marks_are_as_many_as_wanted_up_to_the_end(chain: Chain) -> None:
    schedule = chain[0][-1]
    at, _, evaluations = chain[1][-1]
    evaluated = evaluations_of(schedule)
    done = sum(step_of_evaluation <= at for step_of_evaluation in evaluated)
    steps = schedule.total - at
    left = max(1, evaluations - done)
    assert evaluated[-1] == schedule.total
    assert evaluated[done:] == sorted(
        {at + math.ceil(steps * k / left) for k in range(1, left + 1)}
    )
    ends = [0]
    while ends[-1] < schedule.total:
        ends.append(ends[-1] + schedule.steps_to_next_event(ends[-1]))
    assert {*evaluated, *(change for change, *_ in chain[1])} <= {*ends}


# Calls of the engine

STEPS_OF_SMALL = 8
TEXT = "abc" * 21 + "ab"
IDS = np.array(["abc".index(character) for character in TEXT])
SMALL = Batches(length=2 * 4 * STEPS_OF_SMALL + 1, batch_size=2, sequence_length=4, seed=0)


def take_calls(
    folder: Path,
    progress: Progress,
    until: int,
    *,
    seconds_per_step: float = 1e-6,
    soft_targets: Any = None,
) -> list[Any]:
    """Take steps until a step, of 100 in which nothing else happens; return the calls of the engine.

    It reports a loss of 1.5, a norm of 2 and the given time for each step.
    """

    def take_steps(windows: Any, _rates: Any, **_options: Any) -> StepMetrics:
        count = len(windows)
        return StepMetrics(count * [1.5], count * [2.0], seconds_per_step * count)

    config = TrainingConfig(steps=100, log_every=100, evaluations=1)
    run = Run(
        folder / "run", Config(training=config), make_corpus(folder, TEXT, validation_fraction=0)
    )
    engine, log = Mock(rows=slice(None), take_steps=Mock(side_effect=take_steps)), Mock(spec=RunLog)
    schedule = make_schedule(config, SMALL)
    training = ActiveRun(
        run, engine, schedule, Session(), open_text(run), soft_targets, log, progress
    )
    while progress.step < until:
        count = training.next_count(step_seconds=seconds_per_step if progress.seconds else math.inf)
        assert training.take_steps(count) == [1.5] * count
    return [*engine.take_steps.call_args_list]


def test_slow_steps_get_shorter_calls_and_are_counted_in_the_progress(tmp_path: Path) -> None:
    progress = Progress()
    calls = take_calls(tmp_path, progress, 3, seconds_per_step=0.25)
    assert [len(call.args[0]) for call in calls] == [1, 2]
    assert (progress.step, progress.seconds, progress.last_norm) == (3, 0.75, 2.0)
    assert progress.pending_losses == [1.5] * 3


def test_calls_read_the_batches_in_order_and_the_first_of_an_epoch_starts_from_the_zero_state(
    tmp_path: Path,
) -> None:
    calls = take_calls(tmp_path, Progress(), 2 * STEPS_OF_SMALL)
    expected = [
        IDS[SMALL.positions(epoch=epoch, first=0, count=STEPS_OF_SMALL)] for epoch in (0, 1)
    ]
    np.testing.assert_array_equal(
        np.concatenate([call.args[0] for call in calls]), np.concatenate(expected)
    )
    starts = np.cumsum([0, *(len(call.args[0]) for call in calls)])
    resets = [
        start
        for start, call in zip(starts.tolist(), calls, strict=False)
        if call.kwargs["reset_state"]
    ]
    assert resets == [0, STEPS_OF_SMALL]


def test_each_character_is_learnt_with_the_soft_targets_of_its_own_position(tmp_path: Path) -> None:
    (call,) = take_calls(
        tmp_path, Progress(step=5), 6, soft_targets=np.eye(3, dtype=np.float16)[IDS[1:]]
    )
    np.testing.assert_array_equal(call.kwargs["soft_targets"].argmax(-1), call.args[0][:, 1:])
