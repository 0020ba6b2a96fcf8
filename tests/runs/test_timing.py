"""The time of a step and of an evaluation, measured with the first steps of an engine."""

from collections.abc import Callable
from pathlib import Path

import pytest
from arrays import bytes_of
from fake_engine import FakeEngines, Faults
from fake_runs import TEXT, Clock, begin, engine_of, ticking, timed_steps

from charlm.runs.choosing import training_text
from charlm.runs.run import Run
from charlm.runs.session import Session
from charlm.runs.timing import Timing, time_engine


def begin_run(folder: Path, *overrides: str) -> Run:
    """Begin a run of three steps, fewer than are timed."""
    source = folder / "text.txt"
    source.write_text(TEXT, encoding="utf-8")
    return begin(folder / "run", "training.steps=3", *overrides, text=source)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return begin_run(tmp_path)


def time_run(
    run: Run,
    engines: FakeEngines,
    clock: Callable[[], float],
    *,
    minutes: float | None = None,
) -> Timing:
    """Time the parts of a run with a clock."""
    engine = engine_of(run, engines)
    session = Session(clock=clock)
    text = training_text(run.corpus)
    return time_engine(run.config, text, engine, session=session, minutes=minutes)


def test_the_time_of_a_step_is_the_median_of_ten_after_the_first(run: Run) -> None:
    seconds = [0.9, 0.3, 0.1, 0.1, 0.2, 0.1, 0.3, 0.3, 0.1, 0.3, 0.1]
    clock = Clock()
    engines = FakeEngines(timed_steps(clock, lambda step: seconds[step]))
    assert time_run(run, engines, clock).step_seconds == pytest.approx(0.15)
    assert len(engines.made[0].calls) == 11


@pytest.mark.parametrize(
    ("minutes", "steps"),
    [
        (None, 4),
        (10.0, 4),
        (0.8, 2),
        (0.0, 2),
    ],
    ids=[
        "three seconds",
        "three seconds of a long time limit",
        "3 percent of a time limit",
        "at least one after the first",
    ],
)
def test_slow_steps_are_timed_until_a_limit(minutes: float | None, steps: int, run: Run) -> None:
    clock = Clock()
    engines = FakeEngines(timed_steps(clock))
    assert time_run(run, engines, clock, minutes=minutes).step_seconds == 1
    assert len(engines.made[0].calls) == steps


def test_an_evaluation_is_timed(run: Run) -> None:
    clock = Clock()
    engines = FakeEngines(timed_steps(clock, evaluation_seconds=7.0))
    assert time_run(run, engines, clock).evaluation_seconds == 7


def test_timing_leaves_the_engine_as_it_was(run: Run) -> None:
    engines = FakeEngines()
    time_run(run, engines, ticking(0.1))
    assert len(engines.made[0].calls) > 2
    assert bytes_of(engines.made[0].tensors()) == bytes_of(engine_of(run).tensors())


def test_a_network_that_diverges_is_timed(run: Run) -> None:
    engines = FakeEngines(Faults(weights=lambda _step: float("nan")))
    assert time_run(run, engines, ticking(1.0)).step_seconds == 1


def test_a_run_without_steps_is_not_timed(tmp_path: Path) -> None:
    run = begin_run(tmp_path, "training.steps=0")
    assert time_run(run, FakeEngines(), ticking(1.0)) == Timing()
