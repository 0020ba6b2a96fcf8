"""The steps at which something happens, the learning rates, and the windows that calls of the engine read."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from unittest.mock import Mock

import numpy as np
import pytest
from corpora import make_corpus

from charlm.config.schema import Config, OptimizerConfig, ScheduleConfig, TrainingConfig
from charlm.runs.run import Run
from charlm.text.batches import Batches
from charlm.training.checkpoints import Progress
from charlm.training.evaluating import open_text
from charlm.training.events import RunLog
from charlm.training.interface import StepMetrics
from charlm.training.marks import Training
from charlm.training.schedule import Phase, Schedule, make_schedule, mean_growth
from charlm.training.signals import Session

BATCHES = Batches(length=375, batch_size=4, sequence_length=4, seed=1)
STEPS_PER_EPOCH = 23
SCHEDULE = Schedule(50, 5, 4, BATCHES, (Phase(0, 0, BATCHES),), peak_rate=1.0, decay=ScheduleConfig())


def test_a_run_ends_at_the_first_of_two_limits() -> None:
    for epochs, steps, total in ((2, None, 2 * STEPS_PER_EPOCH), (None, 7, 7), (2, 7, 7), (1, 1000, STEPS_PER_EPOCH)):
        assert make_schedule(TrainingConfig(epochs=epochs, steps=steps), BATCHES).total == total


def test_a_schedule_follows_the_config_and_the_text() -> None:
    settings = TrainingConfig(optimizer=OptimizerConfig(learning_rate=0.5), epochs=3, log_every=2, evaluations=3)
    phases = (Phase(0, 0, BATCHES),)
    expected = Schedule(3 * STEPS_PER_EPOCH, 2, 3, BATCHES, phases, 0.5, settings.schedule)
    assert make_schedule(settings, BATCHES) == expected


@pytest.mark.parametrize("total", [1, 7, 19, 20, 39, 96, 768, 9_999])
@pytest.mark.parametrize("evaluations", [1, 3, 20])
def test_marks_are_spread_evenly_over_a_run_and_the_last_one_is_its_end(total: int, evaluations: int) -> None:
    schedule = make_schedule(TrainingConfig(steps=total, evaluations=evaluations), BATCHES)
    marks = [step for step in range(total + 1) if schedule.is_mark(step)]
    assert marks == sorted({math.ceil(total * k / evaluations) for k in range(1, evaluations + 1)})
    expected = [next(mark for mark in marks if mark > step) for step in range(total)]
    assert [schedule.next_mark(step) for step in range(total)] == expected


def test_a_run_is_logged_at_its_steps_and_its_marks_where_calls_end_as_at_the_end_of_an_epoch() -> None:
    assert [step for step in range(51) if SCHEDULE.is_mark(step)] == [13, 25, 38, 50]
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
    assert [schedule.place(step)[0].sequence_length for step in (399, 999, 1399, 1500)] == [1, 2, 4, 8]
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
    assert make_schedule(TrainingConfig(steps=11, growing_windows=True), short).lengths == (1, 2, 4, 5)


def test_the_rate_falls_with_the_characters_read() -> None:
    schedule = growing(steps=1500, optimizer=OptimizerConfig(learning_rate=1.0), schedule=ScheduleConfig(name="cosine"))
    final = schedule.decay.final_fraction
    assert schedule.rates(1100, 1)[0] == pytest.approx((1 + final) / 2, abs=3e-3)  # half of the characters


# The learning rate


def rates(first: int, count: int, total: int, **schedule: Any) -> list[float]:
    """Return learning rates for a peak of 1."""
    decay = ScheduleConfig(**schedule)
    return list(replace(SCHEDULE, peak_rate=1.0, decay=decay, total=total).rates(first, count))


def test_the_first_rates_are_those_of_the_schedule_however_steps_are_grouped() -> None:
    for total, schedule, expected in (
        (5, {"name": "constant"}, [1, 1, 1, 1, 1]),
        (5, {"name": "cosine", "final_fraction": 0.2}, [1, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2]),
        (30, {"name": "constant", "warmup_steps": 3}, [0.25, 0.5, 0.75, 1, 1]),
        (20, {"name": "constant", "warmup_steps": 50}, [1 / 3, 2 / 3, 1, 1, 1]),  # at most a tenth of the steps,
    ):
        names = get_args(ScheduleConfig.model_fields["name"].annotation)
        assert {*names} == {"constant", "cosine"}  # each has a case here
        found = [rate for first, count in ((0, 3), (3, 0), (3, 2)) for rate in rates(first, count, total, **schedule)]
        assert found == rates(0, 5, total, **schedule) == pytest.approx(expected)


# Calls of the engine

STEPS_OF_SMALL = 8
TEXT = "abc" * 21 + "ab"
IDS = np.array(["abc".index(character) for character in TEXT])
SMALL = Batches(length=2 * 4 * STEPS_OF_SMALL + 1, batch_size=2, sequence_length=4, seed=0)


def take_calls(
    folder: Path, progress: Progress, until: int, *, seconds_per_step: float = 1e-6, soft_targets: Any = None
) -> list[Any]:
    """Take steps until a step, of 100 in which nothing else happens; return the calls of the engine.

    It reports a loss of 1.5, a norm of 2 and the given time for each step.
    """

    def take_steps(windows: Any, _rates: Any, **_options: Any) -> StepMetrics:
        count = len(windows)
        return StepMetrics(count * [1.5], count * [2.0], seconds_per_step * count)

    config = TrainingConfig(steps=100, log_every=100, evaluations=1)
    run = Run(folder / "run", Config(training=config), make_corpus(folder, TEXT, validation_fraction=0))
    engine, log = Mock(rows=slice(None), take_steps=Mock(side_effect=take_steps)), Mock(spec=RunLog)
    schedule = make_schedule(config, SMALL)
    training = Training(run, engine, schedule, Session(), open_text(run), soft_targets, log, progress)
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


def test_calls_read_the_batches_in_order_and_the_first_of_an_epoch_starts_from_the_zero_state(tmp_path: Path) -> None:
    calls = take_calls(tmp_path, Progress(), 2 * STEPS_OF_SMALL)
    expected = [IDS[SMALL.positions(epoch=epoch, first=0, count=STEPS_OF_SMALL)] for epoch in (0, 1)]
    np.testing.assert_array_equal(np.concatenate([call.args[0] for call in calls]), np.concatenate(expected))
    starts = np.cumsum([0, *(len(call.args[0]) for call in calls)])
    resets = [start for start, call in zip(starts.tolist(), calls, strict=False) if call.kwargs["reset_state"]]
    assert resets == [0, STEPS_OF_SMALL]


def test_each_character_is_learnt_with_the_soft_targets_of_its_own_position(tmp_path: Path) -> None:
    (call,) = take_calls(tmp_path, Progress(step=5), 6, soft_targets=np.eye(3, dtype=np.float16)[IDS[1:]])
    np.testing.assert_array_equal(call.kwargs["soft_targets"].argmax(-1), call.args[0][:, 1:])
