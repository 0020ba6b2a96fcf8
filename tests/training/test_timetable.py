"""When what happens in a run."""

import pytest

from charlm.batches import Batches
from charlm.config import TrainingConfig
from charlm.training.timetable import Timetable, make_timetable, total_steps

TABLE = Timetable(total=50, log_every=5, evaluate_every=12, checkpoint_every=20, steps_per_epoch=23)
CUT = Batches(length=327, batch_size=4, sequence_length=4, seed=1)
STEPS_PER_EPOCH = 20


@pytest.mark.parametrize(
    ("epochs", "steps", "total"),
    [(2, None, 2 * STEPS_PER_EPOCH), (None, 7, 7), (2, 7, 7), (1, 1000, STEPS_PER_EPOCH)],
)
def test_epochs_or_steps_whichever_comes_first(epochs: int | None, steps: int | None, total: int) -> None:
    assert total_steps(epochs, steps, CUT) == total


def test_a_timetable_follows_the_config_and_the_text() -> None:
    settings = TrainingConfig(epochs=3, log_every=2, evaluate_every=3, checkpoint_every=4)
    assert make_timetable(settings, CUT) == Timetable(60, 2, 3, 4, STEPS_PER_EPOCH)


def test_a_run_is_evaluated_once_in_a_while_and_at_its_end_but_not_at_its_beginning() -> None:
    assert [step for step in range(51) if TABLE.evaluates_at(step)] == [12, 24, 36, 48, 50]


def test_a_run_is_saved_at_its_beginning_once_in_a_while_and_at_its_end() -> None:
    assert [step for step in range(51) if TABLE.saves_at(step)] == [0, 20, 40, 50]


def test_a_line_is_logged_before_every_evaluation() -> None:
    assert [step for step in range(1, 26) if TABLE.logs_at(step)] == [5, 10, 12, 15, 20, 24, 25]


def test_steps_go_up_to_the_next_event_or_border_of_an_epoch() -> None:
    steps = [0]
    while steps[-1] < TABLE.total:
        steps.append(steps[-1] + TABLE.steps_to_next_event(steps[-1]))
    assert steps == [0, 5, 10, 12, 15, 20, 23, 24, 25, 30, 35, 36, 40, 45, 46, 48, 50]


@pytest.mark.parametrize("step", [50, 60])
def test_a_run_that_is_past_its_end_is_evaluated_and_saved(step: int) -> None:
    assert TABLE.evaluates_at(step)
    assert TABLE.saves_at(step)
