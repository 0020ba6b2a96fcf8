"""`train(minutes=...)`: the number of steps that fits into a time."""

import math
from pathlib import Path
from typing import Any

import pytest

import charlm
from charlm.api.minutes import check_minutes, fit_to_minutes
from charlm.api.sources import start_engine
from charlm.config.file import load_config
from charlm.config.recipes import DEFAULT_CORPUS, find_recipe
from charlm.errors import CharlmError
from charlm.runs.run import begin_run
from charlm.training import loop
from charlm.training.signals import stop_on_signal
from charlm.training.stopwatch import Stopwatch

QUICK = {"training.log_every": 1000, "training.evaluate_every": 1000, "training.checkpoint_every": 1000}


@pytest.mark.parametrize("minutes", [0, -1, math.nan, math.inf])
def test_minutes_must_be_a_number_more_than_0(minutes: float) -> None:
    with pytest.raises(CharlmError, match=r"^--minutes .*: must be a number more than 0$"):
        check_minutes(minutes, [])


@pytest.mark.parametrize("overrides", [["model.units=3", " training.steps = 5"], {"training.epochs": 5}])
def test_the_length_is_not_given_twice(overrides: Any) -> None:
    with pytest.raises(CharlmError, match=r"^--minutes 3: decides training\.(steps|epochs), which --set gives"):
        check_minutes(3, overrides)


def test_other_settings_may_be_given() -> None:
    check_minutes(3, ["training.max_minutes=5", "seed=3"])


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the beginning of the plays to a file."""
    path = tmp_path_factory.mktemp("texts") / "text.txt"
    path.write_text(DEFAULT_CORPUS.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_run_by_the_clock_has_its_steps_in_its_config_and_can_be_repeated_to_the_bit(
    text: Path, tmp_path: Path
) -> None:
    settings = {**QUICK, "model.layer_dropout": 0.1, "model.layers": 2, "training.average_momentum": 0.9}
    begun = begin_run(tmp_path / "timed", load_config(find_recipe("tiny"), overrides=settings), text)
    said: list[str] = []
    with stop_on_signal() as request:
        watch = Stopwatch(clock=lambda: 0.0)  # as if the start had taken no time, however busy the machine is
        run, make_engine = fit_to_minutes(
            begun, start_engine(request), minutes=0.02, watch=watch, request=request, say=said.append
        )
        timed = loop.train(run, make_engine, resume=False, request=request, say=said.append, show_progress=False)
    config = charlm.load(tmp_path / "timed").config
    assert (config.training.steps, config.training.epochs) == (timed.progress.step, None)
    assert timed.reason == "all steps done"
    assert said[0].startswith(f"0.02 minutes: {timed.progress.step:,} steps of ")

    charlm.train(text, recipe=tmp_path / "timed/config.yaml", run=tmp_path / "again")
    for name in ("weights.safetensors", "config.yaml"):
        assert (tmp_path / "again/last" / name).read_bytes() == (tmp_path / "timed/last" / name).read_bytes()


@pytest.mark.slow
def test_a_time_that_the_start_takes_up_is_refused_and_nothing_is_left(text: Path, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"^--minutes 0.0001: the start and one step take .* minutes; give more$"):
        charlm.train(text, recipe="tiny", minutes=0.0001, run=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
