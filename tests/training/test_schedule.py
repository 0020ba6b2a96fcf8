"""The steps at which something happens in a run, and the learning rates."""

from dataclasses import replace
from typing import Any

import pytest

from charlm.config.schema import OptimizerConfig, ScheduleConfig, TrainingConfig
from charlm.text.batches import Batches
from charlm.training.schedule import Schedule, make_schedule, total_steps

SCHEDULE = Schedule(50, 5, 12, 20, steps_per_epoch=23, peak_rate=1.0, decay=ScheduleConfig())
BATCHES = Batches(length=327, batch_size=4, sequence_length=4, seed=1)
STEPS_PER_EPOCH = 20


@pytest.mark.parametrize(
    ("epochs", "steps", "total"),
    [(2, None, 2 * STEPS_PER_EPOCH), (None, 7, 7), (2, 7, 7), (1, 1000, STEPS_PER_EPOCH)],
)
def test_a_run_ends_at_the_first_of_two_limits(epochs: int | None, steps: int | None, total: int) -> None:
    assert total_steps(epochs, steps, BATCHES) == total


def test_a_schedule_follows_the_config_and_the_text() -> None:
    settings = TrainingConfig(
        optimizer=OptimizerConfig(learning_rate=0.5), epochs=3, log_every=2, evaluate_every=3, checkpoint_every=4
    )
    assert make_schedule(settings, BATCHES) == Schedule(60, 2, 3, 4, STEPS_PER_EPOCH, 0.5, settings.schedule)


@pytest.mark.parametrize("total", [1, 7, 19, 20, 39, 96, 768, 9_999, 10_000, 123_456])
def test_a_run_whose_config_does_not_say_how_often_is_evaluated_at_least_20_times(total: int) -> None:
    schedule = make_schedule(TrainingConfig(steps=total), BATCHES)
    evaluations = [step for step in range(total + 1) if schedule.evaluates_at(step)]
    assert len(evaluations) >= min(20, total)
    assert schedule.evaluate_every <= 500
    assert len(evaluations) < 40 or schedule.evaluate_every == 500


def test_a_run_is_evaluated_periodically_and_at_its_end_but_not_at_its_start() -> None:
    assert [step for step in range(51) if SCHEDULE.evaluates_at(step)] == [12, 24, 36, 48, 50]


def test_a_run_is_saved_at_its_start_periodically_and_at_its_end() -> None:
    assert [step for step in range(51) if SCHEDULE.saves_at(step)] == [0, 20, 40, 50]


def test_a_line_is_logged_before_every_evaluation() -> None:
    assert [step for step in range(1, 26) if SCHEDULE.logs_at(step)] == [5, 10, 12, 15, 20, 24, 25]


def test_steps_end_at_the_next_event_or_the_end_of_an_epoch() -> None:
    steps = [0]
    while steps[-1] < SCHEDULE.total:
        steps.append(steps[-1] + SCHEDULE.steps_to_next_event(steps[-1]))
    assert steps == [0, 5, 10, 12, 15, 20, 23, 24, 25, 30, 35, 36, 40, 45, 46, 48, 50]


# The learning rate


def rates(first: int, count: int, total: int, **schedule: Any) -> list[float]:
    """Return learning rates for a peak of 1."""
    decay = ScheduleConfig(**schedule)
    return list(replace(SCHEDULE, peak_rate=1.0, decay=decay, total=total).rates(first, count))


def test_a_constant_schedule_stays_at_the_peak() -> None:
    assert rates(0, 4, 4, name="constant") == [1, 1, 1, 1]


def test_a_cosine_falls_along_half_a_wave_to_the_final_fraction() -> None:
    assert rates(0, 5, 5, name="cosine", final_fraction=0.2) == pytest.approx(
        [1, 0.6 + 0.4 * 0.5**0.5, 0.6, 0.6 - 0.4 * 0.5**0.5, 0.2]
    )


def test_an_exponential_falls_by_the_same_factor_at_every_step() -> None:
    assert rates(0, 5, 5, name="exponential", final_fraction=1 / 16) == pytest.approx([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])


def test_the_rate_rises_linearly_over_the_warm_up() -> None:
    assert rates(0, 5, 5, name="constant", warmup_steps=3) == pytest.approx([0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("name", ["constant", "cosine", "exponential"])
def test_the_rates_do_not_depend_on_how_steps_are_grouped(name: str) -> None:
    whole = rates(0, 20, 20, name=name, warmup_steps=5)
    chunks = [rates(first, count, 20, name=name, warmup_steps=5) for first, count in ((0, 3), (3, 0), (3, 10), (13, 7))]
    assert [rate for chunk in chunks for rate in chunk] == whole
