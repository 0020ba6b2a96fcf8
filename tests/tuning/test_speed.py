"""How long a step takes: measured once for all configs that are equally fast."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import make_corpus
from fake_engine import FakeEngine
from numpy.typing import NDArray

from charlm.config.file import parse_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.text.batches import Batches
from charlm.text.corpus import Corpus
from charlm.training.engine import StepMetrics
from charlm.tuning.trial import StepTimer, speed_key


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


def test_short_calls_are_repeated_for_a_second(corpus: Corpus) -> None:
    engines = TimedEngines(*[0.25] * 20)
    StepTimer(corpus, engines).seconds_per_step(config())
    assert len(list(engines.seconds)) == 20 - 1 - 4


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
