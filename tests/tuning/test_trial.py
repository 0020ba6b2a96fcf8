"""A trial: its length, from the time of a step, and its run."""

from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from fake_engine import FakeEngines
from tuning.searches import SearchFolder

from charlm.config.file import load_config
from charlm.training.signals import Session
from charlm.tuning.search import EVALUATIONS, evaluation_index, plan_trial, train_trial

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
    last = [evaluation_index(step, settings) for step in (every, 2 * every, steps)]
    assert last == [1, 2, -(-steps // every)]
    assert last[-1] <= EVALUATIONS


def test_a_trial_takes_the_steps_that_were_timed_and_writes_no_sampled_texts(tmp_path: Path) -> None:
    study, corpus = SearchFolder(tmp_path).open()
    space, session = study.space, Session()
    settings, engine = plan_trial(space, {RATE: 0.05}, corpus, FakeEngines(), seconds=0.01, session=session)
    outcome = train_trial(tmp_path / "run", space, settings, corpus, engine, session=session)
    assert outcome.progress.step == settings["training.steps"] >= EVALUATIONS
    assert load_config(tmp_path / "run/config.yaml").sampling.length == 0
