"""A trial: its length from its speed, and its run."""

from pathlib import Path

import pytest
from fake_engine import FakeEngines
from tuning.spaces import SPACE, TEXT

from charlm.config.file import load_config
from charlm.training.signals import stop_on_signal
from charlm.tuning.folder import prepare_folder
from charlm.tuning.space import load_space
from charlm.tuning.trial import EVALUATIONS, Workplace, evaluation_index, plan_trial, train_trial

RATE = "training.optimizer.learning_rate"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Return what the trials of a search share: a step takes half a second."""
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    space = load_space(tmp_path / "space.yaml")
    corpus, _ = prepare_folder(tmp_path / "out", space, [tmp_path / "text.txt"])
    with stop_on_signal() as request:
        return Workplace(space, corpus, FakeEngines(), lambda _: 0.5, 25.0, request)


def with_seconds(place: Workplace, *, trial: float, step: float) -> Workplace:
    return Workplace(place.space, place.corpus, place.make_engine, lambda _: step, trial, place.request)


def test_a_trial_has_the_fixed_values_its_own_and_its_length(place: Workplace) -> None:
    settings = plan_trial(place, {RATE: 0.5})
    assert settings[RATE] == 0.5
    assert settings["model.units"] == 8
    assert (settings["training.steps"], settings["training.evaluate_every"]) == (50, 5)
    assert settings["training.epochs"] is None


@pytest.mark.parametrize(
    ("trial", "step", "steps", "every"),
    [(25, 0.5, 50, 5), (10, 0.3, 33, 4), (1, 5.0, EVALUATIONS, 1), (3600, 1, 3600, 360)],
)
def test_the_steps_fill_the_time_and_there_are_at_most_ten_evaluations(
    place: Workplace, trial: float, step: float, steps: int, every: int
) -> None:
    settings = plan_trial(with_seconds(place, trial=trial, step=step), {RATE: 0.5})
    assert (settings["training.steps"], settings["training.evaluate_every"]) == (steps, every)
    assert evaluation_index(steps, settings) <= EVALUATIONS


def test_evaluations_are_counted_from_one_to_ten(place: Workplace) -> None:
    settings = plan_trial(with_seconds(place, trial=33, step=1), {})  # every 4 steps, and after the last one
    assert [evaluation_index(step, settings) for step in (4, 8, 32, 33)] == [1, 2, 8, 9]


def test_a_trial_writes_no_sampled_texts(place: Workplace, tmp_path: Path) -> None:
    settings = plan_trial(place, {RATE: 0.05})
    train_trial(place, tmp_path / "run", settings, say=lambda _: None, on_evaluation=lambda *_: None)
    assert load_config(tmp_path / "run" / "config.yaml").sampling.length == 0
