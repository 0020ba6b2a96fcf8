"""How long a run takes: the arithmetic, and the timed steps, with the fake engine and a clock of its own."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from arrays import bytes_of
from fake_engine import FakeEngines, Faults
from fake_runs import TEXT, begin, engine_of, ticking, train

from charlm.config.file import parse_overrides
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams
from charlm.runs.run import Run, begin_run, open_run
from charlm.training.preparation import Preparation, new_engine, prepare
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session
from charlm.training.timing import Costs, estimate, fit_to_minutes, lengthen, measure, time_ngrams
from charlm.training.trainer import train_run

COSTS = Costs(step_seconds=1.0, mark_seconds=10.0, start_seconds=1000.0, teacher_seconds=7.0, ngram_seconds=3.0)
SETTINGS = TrainingConfig(steps=1, evaluations=5)


def test_a_run_is_what_comes_before_it_its_steps_and_its_marks() -> None:
    for steps, seconds in ((0, 10), (1, 10 + 1 + 10), (5, 10 + 5 + 50), (100, 10 + 100 + 50)):
        assert COSTS.run_seconds(SETTINGS, steps) == seconds
    growing = TrainingConfig(steps=1, growing_windows=True, evaluations=5)  # a step takes as long as its characters
    assert COSTS.run_seconds(growing, 1500) == pytest.approx(10 + 1000 + 50)
    assert COSTS.steps_within(growing, 1060.1) == 1500


def test_the_largest_number_of_steps_that_fits_is_planned_and_marks_take_a_fifth_of_the_time_at_most() -> None:
    for seconds, steps in ((0, 0), (60.9, 0), (61, 1), (160, 100), (1e12, 10**9)):
        assert COSTS.steps_within(SETTINGS, seconds) == steps
    for seconds, marks in ((10, 3), (209, 3), (210, 4), (260, 5), (1e6, 5)):  # but there are three
        assert COSTS.with_marks_for(SETTINGS, seconds).evaluations == marks
        assert COSTS.with_marks_for(TrainingConfig(steps=1, evaluations=2), seconds).evaluations == 2


def prepare_long(folder: Path, *overrides: str) -> Preparation:
    """Prepare a training of `tiny` on 600,000 characters, with the fake engine; advised with 0.3 minutes."""
    (folder / "text.txt").write_text("abba\n" * 120_000, encoding="utf-8")
    options: dict[str, Any] = {"folder": folder, "engines": FakeEngines(), "session": Session()}
    prepared = prepare(folder / "text.txt", recipe="tiny", overrides=parse_overrides(overrides), **options)
    return replace(prepared, advised_minutes=0.3)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Begin a small run."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return begin(tmp_path / "run", "training.steps=3", text=tmp_path / "text.txt")


def test_teachers_and_n_grams_take_the_time_of_their_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each teacher its start, its steps and its marks; the n-grams ten times what one of their parts takes."""
    Path("teacher.yaml").write_text("training: {steps: 12, evaluations: 2}", encoding="utf-8")
    text = run.folder.parent / "text.txt"
    taught = begin(run.folder.with_name("taught"), "training.teachers={recipe: teacher.yaml, seeds: [2, 3]}", text=text)
    monkeypatch.setattr("charlm.training.timing.measure", lambda *_given, **_options: Costs(1.0, 10.0, 1000.0))
    found = estimate(taught.config, taught.corpus, engine_of(taught), FakeEngines(), session=Session())
    assert found.teacher_seconds == pytest.approx(2 * (1000 + 12 * 1 + 2 * 10))
    counted = begin(run.folder.with_name("counted"), "training.ngram_weight=0.4", text=text)
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.soft_targets.count_ngrams", count)
    assert time_ngrams(counted.config, counted.corpus, session=Session(clock=ticking(1.0))) == 10
    assert count.call_count == 1


def measure_with(engines: FakeEngines, run: Run, *, seconds: float = 50.0) -> Costs:
    engine = new_engine(run.config, run.corpus, engines, session=Session(pytest.fail))
    session = Session(clock=ticking(1.0))
    return measure(run.config, run.corpus, engine, session=session, step_seconds=seconds)


@pytest.mark.parametrize(("seconds", "calls"), [(50.0, 20), (5.0, 5), (0.0, 1)])
def test_twenty_steps_are_timed_or_those_of_some_seconds_and_the_first_call_is_not(
    seconds: float, calls: int, run: Run
) -> None:
    taken: list[int] = []
    costs = measure_with(FakeEngines(Faults(after_call=taken.append, is_slow=True)), run, seconds=seconds)
    assert taken == [*range(1, calls + 2)]  # beyond the three steps of the run, too
    assert costs.step_seconds == 1  # a second a call


def test_measuring_changes_neither_the_engine_nor_the_run_and_leaves_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    engines = FakeEngines(Faults(loss=lambda _step, _rate: math.nan))  # steps that diverge are timed all the same
    assert measure_with(engines, run).step_seconds > 0
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert list((tmp_path / "scratch").iterdir()) == []
    new_engine(run.config, run.corpus, engines, session=Session(pytest.fail))
    used, new = (bytes_of(engine.tensors()) for engine in engines.made)
    assert used == new


def test_minutes_become_the_steps_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare_long(tmp_path, "training.evaluations=3")
    for minutes, started, step_seconds, steps in (
        (0.2, 0.0, 0.0499, 200),  # of 12 seconds, 2 go to marks
        (0.2, 0.0, 0.051, 196),
        (None, -1e6, 0.1, 200),  # advised minutes, 0.3, begin now, and take 200 steps at least
    ):
        measure, said = Mock(return_value=Costs(step_seconds, 2 / 3, 0.5)), list[str]()
        monkeypatch.setattr("charlm.training.timing.measure", measure)
        session = Session(said.append, clock=lambda: 0.0)
        found = fit_to_minutes(prepared, tmp_path, minutes=minutes, started=started, session=session).config.training
        assert (found.epochs, found.steps) == (None, steps)
        assert measure.call_args.kwargs["step_seconds"] == pytest.approx(60 * (minutes or 0.3) / 20)
        assert said[0].startswith(f"{minutes or 0.3:g} min: {steps:,} steps of ")
        assert any("will teach the network little; --minutes " in line for line in said) == (steps < 200)


@pytest.mark.parametrize("growing", ["false", "true"])
def test_a_run_is_lengthened_by_the_steps_whose_characters_and_marks_fit(
    growing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes a second and a mark ten; windows that grow read more characters in the steps to come."""
    trained = train(tmp_path / "run", f"training.growing_windows={growing}", "training.steps=60")
    run, engine = open_run(trained.folder), engine_of(open_run(trained.folder))
    monkeypatch.setattr("charlm.training.timing.measure", lambda *_given, **_options: Costs(1.0, 10.0, 0.0))
    options: dict[str, Any] = {"minutes": 10, "started": 0.0, "session": Session(clock=lambda: 0.0)}
    found = lengthen(run, engine, **options).training
    assert (found.epochs, found.evaluations) == (None, 6 if growing == "false" else found.evaluations)
    assert found.steps is not None
    schedule = make_schedule(found, engine.batches)
    read = (schedule.characters(found.steps) - schedule.characters(60)) / engine.batches.characters_per_step
    assert 548 <= read <= 550  # and five marks
    with pytest.raises(CharlmError, match=r"^minutes 0\.1: the start and one step take longer; give more"):
        lengthen(run, engine, **{**options, "minutes": 0.1})


@pytest.mark.parametrize(
    ("overrides", "minutes", "message"),
    [
        ((), 0.1, r"minutes 0.1: the start and one step take 10 min; give more"),
        (("training.teachers={recipe: tiny, seeds: [2]}",), 3, r"minutes 3: .*: -s training\.teachers=null"),
    ],
)
def test_a_time_that_is_over_and_a_recipe_with_teachers_are_refused(
    overrides: tuple[str, ...], minutes: float, message: str, tmp_path: Path
) -> None:
    prepared, session = prepare_long(tmp_path, *overrides), Session(clock=ticking(0.01))
    with pytest.raises(CharlmError, match=f"^{message}$"):
        fit_to_minutes(prepared, tmp_path, minutes=minutes, started=-600.0, session=session)


def test_n_grams_are_counted_before_the_steps_are_timed_and_not_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.soft_targets.count_ngrams", count)
    prepared = prepare_long(tmp_path, "training.ngram_weight=0.4", "corpus.validation_fraction=0.99")
    fit_to_minutes(prepared, tmp_path, minutes=1, started=0.0, session=Session(clock=ticking(0.01)))
    run = begin_run(tmp_path, prepared.config, prepared.corpus)
    train_run(run, prepared.engine, FakeEngines(), session=Session())
    assert count.call_count == 10


@pytest.mark.parametrize(
    ("minutes", "taken"), [(30, "shakespeare"), (10, "default"), (1, "small"), (None, "shakespeare")]
)
def test_without_a_recipe_the_largest_is_taken_of_which_a_thousand_steps_fit(
    minutes: float | None, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure_by_width(config: Config, *_given: Any, **_options: Any) -> Costs:
        return Costs({320: 2.0, 256: 0.5, 192: 0.1}[config.model.units], 0.0, 0.0)

    monkeypatch.setattr("charlm.training.timing.measure", measure_by_width)
    monkeypatch.setattr("charlm.training.timing.open_soft_targets", lambda *_given, **_options: None)
    (tmp_path / "text.txt").write_text("abba\n" * 120_000, encoding="utf-8")
    given: dict[str, Any] = {"recipe": None, "overrides": {}, "folder": tmp_path, "engines": FakeEngines()}
    said: list[str] = []
    session = Session(said.append, clock=lambda: 0.0)
    prepared = prepare(tmp_path / "text.txt", **given, session=session)
    assert said[0].startswith("recipe: shakespeare: ")
    found = fit_to_minutes(prepared, tmp_path, minutes=minutes, started=0.0, session=session)
    assert (found.config.recipe, found.engine is prepared.engine) == (taken, taken == "shakespeare")
    assert found.config.training.ngram_weight == 0  # counting the n-grams of so long a text would take the minutes
    line = f"recipe: {taken}: 1,000 steps of {'shakespeare' if taken == 'default' else 'default'} take longer than "
    assert any(each.startswith(line) for each in said) == (taken != "shakespeare")
