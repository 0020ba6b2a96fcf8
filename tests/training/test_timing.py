"""How long a run takes: the arithmetic, and the timed steps, with the fake engine and a clock of its own."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_engine import FakeEngines, Faults
from fake_runs import TEXT, begin, ticking

from charlm.config.file import parse_overrides
from charlm.config.schema import TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams
from charlm.runs.run import Run
from charlm.training.interface import Engine
from charlm.training.preparation import Preparation, new_engine, prepare
from charlm.training.signals import Session
from charlm.training.timing import (
    MAX_STEPS,
    Costs,
    Estimate,
    afford_evaluations,
    estimate,
    fit_to_minutes,
    measure,
    teacher_seconds,
    time_ngrams,
)

COSTS = Costs(step_seconds=1.0, evaluation_seconds=10.0, checkpoint_seconds=100.0, start_seconds=1000.0)
SETTINGS = TrainingConfig(steps=1, evaluate_every=5, checkpoint_every=3)


@pytest.mark.parametrize(("steps", "seconds"), [(0, 100), (1, 1 + 10 + 200), (5, 5 + 10 + 300), (6, 6 + 20 + 400)])
def test_a_run_is_its_steps_its_evaluations_and_its_checkpoints(steps: int, seconds: float) -> None:
    assert COSTS.run_seconds(SETTINGS, steps) == seconds


def test_evaluations_that_a_short_run_gets_in_addition_take_their_time() -> None:
    settings = TrainingConfig(steps=1, evaluate_every=500, checkpoint_every=500)
    assert COSTS.run_seconds(settings, 100) == 100 + 10 + 200
    assert COSTS.run_seconds(settings, 100, fewest=10) == 100 + 100 + 1100


@pytest.mark.parametrize("fewest", [0, 10])
@pytest.mark.parametrize("evaluate_every", [5, 70, None])
@pytest.mark.parametrize("seconds", [50, 230.9, 231, 335, 345.9, 346, 2000])
def test_of_all_numbers_of_steps_the_largest_that_fits_is_planned(
    seconds: float, evaluate_every: int | None, fewest: int
) -> None:
    settings = TrainingConfig(steps=1, evaluate_every=evaluate_every, checkpoint_every=3)
    fits = [steps for steps in range(3000) if COSTS.run_seconds(settings, steps, fewest=fewest) <= seconds]
    assert COSTS.steps_within(settings, seconds, fewest=fewest) == max(fits, default=0)


def test_a_period_of_evaluations_or_a_time_without_end_has_steps() -> None:
    settings = TrainingConfig(steps=1, evaluate_every=MAX_STEPS - 1)
    assert 50_000 < Costs(0.001, 10.0, 0.0, 0.0).steps_within(settings, 200.0, fewest=10) < 200_000
    assert COSTS.steps_within(SETTINGS, math.inf) == MAX_STEPS - 1  # the most that a checkpoint holds


def prepare_long(folder: Path, *overrides: str) -> tuple[Preparation, Engine]:
    """Prepare a training of `tiny` on 600,000 characters, with the fake engine; advised with 0.3 minutes."""
    (folder / "text.txt").write_text("abba\n" * 120_000, encoding="utf-8")
    options: dict[str, Any] = {"folder": folder, "engines": FakeEngines(), "session": Session()}
    prepared = prepare(folder / "text.txt", recipe="tiny", overrides=parse_overrides(overrides), **options)
    engine = new_engine(prepared.config, prepared.corpus, FakeEngines(), session=Session())
    return replace(prepared, advised_minutes=0.3), engine


@pytest.mark.parametrize(
    ("overrides", "seconds", "characters"),
    [
        ("", 5000, 60_000),  # ten evaluations take 1000 s, a fifth
        ("", 3000, 29_446),  # 600 s for what reads 0.6 of 60,000 and of 64 times 256 before the pieces
        ("", 100, 20_000),
        ("training.evaluate_every=7", 100, 60_000),
    ],
)
def test_evaluations_that_would_take_more_than_a_fifth_of_the_time_read_less(
    overrides: str, seconds: float, characters: int, tmp_path: Path
) -> None:
    prepared, _ = prepare_long(tmp_path, *filter(None, [overrides]))
    found = Estimate(Costs(1.0, 100.0, 1.0, 1.0), 0.0)
    prepared, found = afford_evaluations(prepared, found, FakeEngines(), seconds=seconds)
    assert min(60_000, prepared.config.training.evaluate_characters) == characters
    assert found.costs.evaluation_seconds == pytest.approx(100 * (characters + 16_384) / 76_384)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Begin a small run."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return begin(tmp_path / "run", "training.steps=3", text=tmp_path / "text.txt")


def test_teachers_take_their_steps_and_read_the_training_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    settings = "training.teacher_settings={training: {steps: 12, evaluate_every: 6, checkpoint_every: 4}}"
    run = begin(tmp_path / "run", "training.teacher_seeds=[2, 3]", settings, text=tmp_path / "text.txt")
    monkeypatch.setattr("charlm.training.timing.measure", lambda *_given, **_options: COSTS)
    found = teacher_seconds(run.config, run.corpus, FakeEngines(), session=Session(), step_seconds=1.0)
    reading = COSTS.evaluation_seconds * len(run.corpus.split("train")) / len(run.corpus.split("validation"))
    assert found == pytest.approx(2 * (1000 + 12 * 1 + 2 * 10 + 5 * 100 + reading))


def test_n_grams_take_ten_times_what_one_of_their_parts_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    run = begin(tmp_path / "run", "training.ngram_weight=0.4", text=tmp_path / "text.txt")
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.soft_targets.count_ngrams", count)
    assert time_ngrams(run.config, run.corpus, clock=ticking(1.0)) == 10
    assert count.call_count == 1
    monkeypatch.setattr("charlm.training.timing.measure", lambda *_given, **_options: COSTS)
    engine = new_engine(run.config, run.corpus, FakeEngines(), session=Session())
    found = estimate(run.config, run.corpus, engine, FakeEngines(), session=Session())
    assert found.seconds_before == found.ngram_seconds > 0


def measure_with(engines: FakeEngines, run: Run, *, seconds: float = 5.0) -> Costs:
    engine = new_engine(run.config, run.corpus, engines, session=Session(pytest.fail))
    return measure(run.config, run.corpus, engine, session=Session(), step_seconds=seconds, clock=ticking(1.0))


def test_steps_are_timed_beyond_the_length_of_the_run_and_the_first_call_is_not(run: Run) -> None:
    taken: list[int] = []
    costs = measure_with(FakeEngines(Faults(after_call=taken.append)), run)
    first, *_, last = taken
    assert last > 3
    assert costs.step_seconds == (len(taken) - 1) / (last - first)  # a second a call


def test_the_engine_is_left_in_its_first_state(run: Run) -> None:
    engines = FakeEngines()
    measure_with(engines, run)
    new_engine(run.config, run.corpus, engines, session=Session(pytest.fail))
    used, new = ({name: tensor.tobytes() for name, tensor in engine.tensors().items()} for engine in engines.made)
    assert used == new


def test_nothing_is_written_to_the_run_or_left_in_the_temporary_folder(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    measure_with(FakeEngines(), run)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert list((tmp_path / "scratch").iterdir()) == []


def test_steps_that_diverge_are_timed_all_the_same(run: Run) -> None:
    assert measure_with(FakeEngines(Faults(loss=lambda _step, _rate: math.nan)), run).step_seconds > 0


@pytest.mark.parametrize(("minutes", "started"), [(0.2, 0.0), (None, -1e6)])  # advised minutes begin now
def test_minutes_become_the_steps_of_the_config(minutes: float | None, started: float, tmp_path: Path) -> None:
    prepared, engine = prepare_long(tmp_path)
    said: list[str] = []
    options: dict[str, Any] = {"minutes": minutes, "started": started, "clock": ticking(0.01)}
    settings = fit_to_minutes(prepared, engine, FakeEngines(), **options, session=Session(said.append)).training
    assert settings.epochs is None
    assert f"{settings.steps:,} steps of " in said[0]
    assert said[0].startswith("0.2 min: " if minutes else "0.3 min: ")


@pytest.mark.parametrize("overrides", [(), ("training.evaluate_every=7",)])  # ten evaluations at least, or none
def test_a_time_that_is_over_is_refused_with_what_the_start_and_a_step_take(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    prepared, engine = prepare_long(tmp_path, *overrides)
    options: dict[str, Any] = {"minutes": 0.1, "started": -600.0, "session": Session(), "clock": ticking(0.01)}
    with pytest.raises(CharlmError, match=r"^minutes 0.1: the start and one step take 10 min; give more$"):
        fit_to_minutes(prepared, engine, FakeEngines(), **options)
