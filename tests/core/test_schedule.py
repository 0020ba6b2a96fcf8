"""The schedule of a run: what happens after which step, as a function of step and length."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.config.schema import OptimizerConfig, ScheduleConfig, TrainingConfig
from charlm.core.batches import Batches
from charlm.core.schedule import Schedule, make_schedule

STEPS_PER_EPOCH = 23
BATCHES = Batches(length=375, batch_size=4, sequence_length=4, seed=1)
TOTALS = st.integers(1, 300)


def schedule_of(**options: Any) -> Schedule:
    """Return a schedule with a peak rate of 1; keys of `training.schedule` may be among them."""
    decay = {key: options.pop(key) for key in ScheduleConfig.model_fields.keys() & options.keys()}
    optimizer = OptimizerConfig(learning_rate=1.0)
    config = TrainingConfig(optimizer=optimizer, schedule=ScheduleConfig(**decay), **options)
    return make_schedule(config, BATCHES)


@pytest.mark.parametrize(
    ("epochs", "steps", "total"),
    [
        (2, None, 2 * STEPS_PER_EPOCH),
        (2, 7, 7),
        (1, 1000, STEPS_PER_EPOCH),
        (None, 0, 0),
    ],
)
def test_a_run_ends_at_the_first_of_two_limits(
    epochs: int | None, steps: int | None, total: int
) -> None:
    assert schedule_of(epochs=epochs, steps=steps).total == total


# Events


@given(TOTALS, st.integers(1, 40))
def test_evaluations_are_spread_evenly_up_to_the_last_step(total: int, evaluations: int) -> None:
    schedule = schedule_of(steps=total, evaluations=evaluations)
    found = [step for step in range(total + 2) if schedule.evaluates_at(step)]
    assert found == sorted({math.ceil(total * k / evaluations) for k in range(1, evaluations + 1)})
    assert found[-1] == total


def test_a_run_is_logged_at_evaluations_as_well() -> None:
    schedule = schedule_of(steps=62, evaluations=4)
    assert [step for step in range(1, 21) if schedule.logs_at(step)] == [3, 6, 9, 12, 15, 16, 18]


@given(TOTALS, st.integers(1, 40))
def test_calls_end_at_each_event(total: int, evaluations: int) -> None:
    schedule = schedule_of(steps=total, evaluations=evaluations)
    ends = [0]
    while ends[-1] < total:
        ends.append(ends[-1] + schedule.steps_to_next_event(ends[-1]))
    epochs = range(0, total, STEPS_PER_EPOCH)
    assert ends == [
        step for step in range(total + 1) if schedule.logs_at(step) or step in {0, *epochs}
    ]


# The learning rate


@given(TOTALS, st.integers(0, 60), st.sampled_from([0.01, 0.5, 1.0]))
def test_the_rate_rises_linearly_before_it_falls_along_half_a_cosine(
    total: int, warmup_steps: int, final: float
) -> None:
    """The warm-up takes at most a tenth of the run."""
    rising = min(warmup_steps, total // 10)
    angles = np.linspace(0, math.pi, total - rising)
    expected = [
        *np.linspace(0, 1, rising + 2)[1:-1],
        *(final + (1 - final) * np.cos(angles / 2) ** 2),
    ]
    schedule = schedule_of(steps=total, warmup_steps=warmup_steps, final_fraction=final)
    np.testing.assert_allclose(schedule.rates(0, total), expected, atol=1e-6)
