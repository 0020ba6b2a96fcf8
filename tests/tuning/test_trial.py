"""A trial: its length, from the time of a step, and its run."""

from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from fake_engine import FakeEngines
from tuning.searches import SearchFolder

from charlm.training.signals import Session
from charlm.tuning.search import EVALUATIONS, plan_trial

RATE = "training.optimizer.learning_rate"


@pytest.mark.parametrize(
    ("trial", "step", "steps", "every"),
    [(25, 0.5, 50, 5), (10, 0.3, 33, 4), (1, 5.0, EVALUATIONS, 1), (3600, 1, 3600, 360)],
)
def test_the_steps_fill_the_time_and_there_are_at_most_ten_evaluations(
    trial: float, step: float, steps: int, every: int, tmp_path: Path
) -> None:
    study, corpus = SearchFolder(tmp_path).open()
    settings, _ = plan_trial(
        *(study.space, {RATE: 0.5}, corpus, FakeEngines()),
        seconds=trial,
        session=Session(),
        time_step=lambda *_: step,
    )
    assert (settings["training.steps"], settings["training.evaluate_every"]) == (steps, every)
    assert (settings[RATE], settings["model.units"], settings["training.epochs"]) == (0.5, 8, None)
    assert -(-steps // every) <= EVALUATIONS
