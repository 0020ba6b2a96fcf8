"""A trial: how long a step takes, its length from that, and its run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("optuna", reason="missing: optuna")
from corpora import make_corpus
from fake_engine import FakeEngine, FakeEngines
from numpy.typing import NDArray
from tuning.spaces import SPACE, TEXT

from charlm.config.file import load_config, parse_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.text.batches import Batches
from charlm.text.corpus import Corpus
from charlm.training.engine import StepMetrics
from charlm.training.signals import stop_on_signal
from charlm.tuning.search_folder import prepare_folder
from charlm.tuning.space import load_space
from charlm.tuning.trial import EVALUATIONS, StepTimer, Workplace, evaluation_index, plan_trial, speed_key, train_trial

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


def config(**model: Any) -> Config:
    training = {"steps": 5, "batch_size": 2, "sequence_length": 4}
    return parse_config({"model": {"units": 8, **model}, "training": training}, origin="test")


class TimedEngines:
    """Makes fake engines whose calls take the given seconds, one after the other, and counts them."""

    def __init__(self, *seconds: float) -> None:
        self.seconds: Iterator[float] = iter(seconds)
        self.made = 0
        self.rates: list[float] = []

    def __call__(self, config: Config, batches: Batches, *, vocabulary_size: int, precision: str) -> FakeEngine:
        self.made += 1
        engines = self

        class Timed(FakeEngine):
            def take_steps(
                self,
                windows: NDArray[np.int32],
                rates: NDArray[np.float32],
                *,
                reset_state: bool,
                soft_targets: NDArray[np.float16] | None = None,
            ) -> StepMetrics:
                engines.rates += rates.tolist()
                taken = super().take_steps(windows, rates, reset_state=reset_state)
                return taken._replace(seconds=next(engines.seconds))

        from fake_engine import Faults

        return Timed(config, batches, vocabulary_size=vocabulary_size, faults=Faults())


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return make_corpus(tmp_path, "abcd" * 50)


def test_the_time_is_the_median_of_the_calls_after_the_first(corpus: Corpus) -> None:
    engines = TimedEngines(100.0, 1.0, 2.0, 9.0)
    timer = StepTimer(corpus, engines)
    assert timer.seconds_per_step(config()) == pytest.approx(2.0 / 10)  # 10 steps in a call
    assert set(engines.rates) == {0.0}


def test_equally_fast_configs_are_measured_once(corpus: Corpus) -> None:
    engines = TimedEngines(*[1.0] * 8)
    timer = StepTimer(corpus, engines)
    assert timer.seconds_per_step(config(layer_dropout=0.1)) == timer.seconds_per_step(config(layer_dropout=0.4))
    assert engines.made == 1
    timer.seconds_per_step(config(layer_dropout=0.0))
    assert engines.made == 2


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        ({"layer_dropout": 0.3}, False),
        ({"layer_dropout": 0.0}, True),
        ({"units": 16}, True),
        ({"layers": 2}, True),
        ({"rnn": {"activation": "relu"}}, True),
        ({"skip_connections": True}, True),
    ],
)
def test_fractions_do_not_change_the_speed_unless_they_are_zero(change: dict[str, Any], differs: bool) -> None:
    before = config(layer_dropout=0.1)
    assert (speed_key(config(**{"layer_dropout": 0.1, **change})) != speed_key(before)) == differs


def test_a_text_too_short_to_train_on_is_refused(tmp_path: Path) -> None:
    timer = StepTimer(make_corpus(tmp_path, "a"), TimedEngines())
    with pytest.raises(CharlmError, match="at least 2 are needed"):
        timer.seconds_per_step(config())
