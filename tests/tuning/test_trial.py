"""A trial: its length, from the time that its steps, its evaluations and its teachers take."""

from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from fake_engine import FakeEngines
from tuning.searches import SPACE, SearchFolder

from charlm.training.preparation import Preparation
from charlm.training.signals import Session
from charlm.training.timing import Costs, Estimate
from charlm.tuning.search import length_of_trial, prepare_trial

RATE = "training.optimizer.learning_rate"


def prepare(searching: SearchFolder) -> Preparation:
    study, corpus = searching.open()
    return prepare_trial(study.space, {RATE: 0.5}, corpus, FakeEngines(), scratch=searching.folder, session=Session())


@pytest.mark.parametrize(
    ("seconds", "costs", "steps", "every"),
    [
        (25, (0.5, 0, 0), 50, 5),
        (10, (0.3, 0, 0), 33, 4),
        (3600, (1, 0, 0), 3600, 360),
        (1, (5.0, 0, 0), 10, 1),  # never fewer steps than evaluations
        (25, (0.5, 1, 0), 50, 10),  # a fifth of the time is for five evaluations
        (25, (0.5, 9, 0), 50, 13),  # but never fewer than four
        (25, (0.5, 0, 15), 20, 2),
    ],
)
def test_the_steps_fill_the_time_and_evaluations_take_a_fifth_of_it_at_most(
    seconds: float, costs: tuple[float, float, float], steps: int, every: int, tmp_path: Path
) -> None:
    """The costs are the seconds of a step, of an evaluation and of the teachers."""
    step, evaluation, teachers = costs
    found = Estimate(Costs(step, evaluation, 0, 0), teachers)
    assert length_of_trial(prepare(SearchFolder(tmp_path)), found, seconds) == {
        "steps": steps,
        "evaluate_every": every,
        "checkpoint_every": steps,
    }


def test_a_trial_is_the_recipe_with_the_fixed_values_and_those_that_are_tried(tmp_path: Path) -> None:
    config = prepare(SearchFolder(tmp_path)).config
    assert (config.recipe, config.model.units, config.training.optimizer.learning_rate) == ("tiny", 8, 0.5)
    assert (config.training.early_stopping, config.sampling.length) == (None, 0)


def test_a_trial_on_a_corpus_has_the_settings_of_the_corpus(tmp_path: Path) -> None:
    space = SPACE.replace("model.units: 8,", "model.units: 8, corpus.min_count: 2,")
    assert prepare(SearchFolder(tmp_path, space)).config.corpus.min_count == 2
