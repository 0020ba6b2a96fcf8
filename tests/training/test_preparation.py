"""What is settled before a training: the recipe that a text gets, every setting, the memory, and the time."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from arrays import bytes_of
from corpora import make_corpus
from fake_engine import FakeEngines, Faults
from fake_runs import TEXT, begin, engine_of, ticking, train

from charlm.config.file import Overrides, load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.baselines import count_ngrams
from charlm.hardware import core_count
from charlm.runs.run import Run, begin_run, open_run
from charlm.training.preparation import Preparation, Text, check_memory, new_engine, prepare, text_name
from charlm.training.schedule import make_schedule
from charlm.training.signals import Session
from charlm.training.timing import Costs, check_minutes, estimate, fit_to_minutes, lengthen, measure, time_ngrams
from charlm.training.trainer import train_run

SHORT, MEDIUM, LONG, LONGEST = 1000, 100_000, 1_000_000, 6_000_000


def prepare_text(
    text: Text | int, recipe: str | None = None, overrides: Overrides = (), folder: Path | None = None, say: Any = str
) -> Preparation:
    """Prepare a training on a text, or one of some characters, which is tokenized into a new folder."""
    if isinstance(text, int):
        Path("text.txt").write_text(("abba\n" * text)[:text], encoding="utf-8")
        text = Path("text.txt")
    folder, session = folder or Path(tempfile.mkdtemp(dir=Path.cwd())), Session(say)
    given = parse_overrides(overrides)
    return prepare(text, recipe=recipe, overrides=given, folder=folder, engines=FakeEngines(), session=session)


def test_a_text_alone_gets_the_recipe_for_its_size_and_the_user_is_told() -> None:
    for characters, recipe, minutes in (
        *((SHORT, "small", None), (MEDIUM, "default", None), (LONG, "shakespeare", None), (LONGEST, "5mb", 10)),
    ):
        said: list[str] = []
        prepared, expected = prepare_text(characters, say=said.append), load_config(find_recipe(recipe))
        assert (prepared.is_advised, prepared.config.recipe, prepared.advised_minutes) == (True, recipe, minutes)
        assert prepared.config.model == expected.model
        assert prepared.config.training.optimizer == expected.training.optimizer
        assert said[0].startswith(f"recipe: {recipe}: ")


def test_a_corpus_has_the_name_of_its_documents_and_no_text_that_of_the_plays(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n", "baab\n")
    assert [text_name(text) for text in (corpus, corpus.folder, None)] == ["sources", "sources", "river_plays"]


def test_the_windows_depend_on_the_data_seed_if_there_is_one(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n" * 200)

    def windows(seed: int, data_seed: int | None) -> list[int]:
        training = TrainingConfig(data_seed=data_seed, shuffle=True, batch_size=4, sequence_length=4)
        engine = new_engine(Config(seed=seed, training=training), corpus, FakeEngines(), session=Session())
        found: list[int] = engine.batches.positions(epoch=1, first=0, count=5).ravel().tolist()
        return found

    assert windows(1, None) == windows(2, 1) == windows(1, 1) != windows(2, None)
    assert windows(1, 2) == windows(2, None)


@pytest.mark.parametrize("overrides", [["model.units=9", "corpus.min_count=2"], {"model.units": 9}])
def test_what_the_user_gives_counts_more_than_the_advice(overrides: Any) -> None:
    config = prepare_text(SHORT, overrides=overrides).config
    assert config.model.units == 9
    assert config.training.batch_size == load_config(find_recipe("small")).training.batch_size
    assert config.corpus.min_count == (2 if isinstance(overrides, list) else 1)
    for setting, parts in (("training.batch_size=32", min(core_count(), 4)), ("training.parts=3", 3)):
        assert prepare_text(SHORT, "tiny", setting).config.training.parts == parts  # a part for each core


def test_a_length_that_the_user_gives_takes_the_place_of_the_minutes_of_the_advice() -> None:
    overrides: Any
    for overrides in (["training.epochs=1"], "training={epochs: 1}", {"training.steps": 9}, {"training": {"steps": 9}}):
        assert prepare_text(LONGEST, overrides=overrides).advised_minutes is None


def test_a_recipe_that_is_named_and_the_plays_are_left_as_they_are() -> None:
    for text, recipe in ((LONG, "tiny"), (None, None)):
        prepared = prepare_text(text, recipe=recipe)
        assert not prepared.is_advised
        assert prepared.config.model == load_config(find_recipe(recipe or "default")).model
        assert prepared.config.recipe == (recipe or "default")


def test_a_setting_that_is_wrong_is_refused_before_the_text_is_read() -> None:
    with pytest.raises(CharlmError, match="epochs or steps must be given"):
        prepare_text("missing.txt", None, "training.epochs=null")


# Memory

WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("adamw", 4), ("sgd", 2)])
def test_a_network_that_just_fits_is_accepted_and_with_a_byte_less_it_is_refused(optimizer: str, numbers: int) -> None:
    training = {"epochs": 1, "optimizer": {"name": optimizer}}
    config = Config.model_validate({"model": {"units": 2}, "training": training})
    check_memory(config, 3, available_bytes=4 * numbers * WEIGHTS)
    with pytest.raises(CharlmError, match=f"^model: {WEIGHTS} weights; training them with {optimizer} needs"):
        check_memory(config, 3, available_bytes=4 * numbers * WEIGHTS - 1)


# Minutes


def test_minutes_must_be_a_number_more_than_0_and_decide_the_length_alone() -> None:
    for minutes in (0, -1, math.nan, math.inf):
        with pytest.raises(CharlmError, match=r"^minutes: found .*; must be a finite number above 0$"):
            check_minutes(minutes, {})
    overrides: Any
    for overrides in (["model.units=3", " training.steps = 5"], "training={epochs: 5}"):
        with pytest.raises(CharlmError, match=r"^minutes 3: decides training\.(steps|epochs), which an override gives"):
            check_minutes(3, parse_overrides(overrides))


# How long a run takes


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


def test_twenty_steps_are_timed_or_those_of_some_seconds_and_the_first_call_is_not(run: Run) -> None:
    for seconds, calls in ((50.0, 20), (5.0, 5), (0.0, 1)):
        taken: list[int] = []
        costs = measure_with(FakeEngines(Faults(after_call=taken.append, is_slow=True)), run, seconds=seconds)
        assert taken == [*range(1, calls + 2)]  # beyond the three steps of the run, too
        assert costs.step_seconds == 1  # a second a call


def test_measuring_changes_nothing_and_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", "scratch")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    engines = FakeEngines(Faults(loss=lambda _step, _rate: math.nan))  # steps that diverge are timed all the same
    assert measure_with(engines, run).step_seconds > 0
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert list(Path("scratch").iterdir()) == []
    new_engine(run.config, run.corpus, engines, session=Session(pytest.fail))
    used, new = (bytes_of(engine.tensors()) for engine in engines.made)
    assert used == new


def test_minutes_become_the_steps_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare_text(600_000, "tiny", "training.evaluations=3", folder=tmp_path)
    prepared = replace(prepared, advised_minutes=0.3)
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
def test_a_run_is_lengthened_by_steps_that_fit(growing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_time_that_is_over_and_teachers_are_refused(tmp_path: Path) -> None:
    for overrides, minutes, message in (
        ((), 0.1, r"minutes 0.1: the start and one step take 10 min; give more"),
        ("training.teachers={recipe: tiny, seeds: [2]}", 3, r"minutes 3: .*: -s training\.teachers=null"),
    ):
        prepared, session = prepare_text(600_000, "tiny", overrides), Session(clock=ticking(0.01))
        with pytest.raises(CharlmError, match=f"^{message}$"):
            fit_to_minutes(prepared, tmp_path, minutes=minutes, started=-600.0, session=session)


def test_n_grams_are_counted_once_before_steps_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.soft_targets.count_ngrams", count)
    settings = ("training.ngram_weight=0.4", "corpus.validation_fraction=0.99")
    prepared = prepare_text(600_000, "tiny", settings, folder=tmp_path)
    fit_to_minutes(prepared, tmp_path, minutes=1, started=0.0, session=Session(clock=ticking(0.01)))
    run = begin_run(tmp_path, prepared.config, prepared.corpus)
    train_run(run, prepared.engine, FakeEngines(), session=Session())
    assert count.call_count == 10


LARGEST = [(30, "shakespeare"), (10, "default"), (1, "small"), (None, "shakespeare")]


@pytest.mark.parametrize(("minutes", "taken"), LARGEST)
def test_the_largest_recipe_of_which_1000_steps_fit_is_taken(
    minutes: float | None, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {320: 2.0, 256: 0.5, 192: 0.1}  # by the width of the recipe
    measured = Mock(side_effect=lambda config, *_given, **_options: Costs(seconds[config.model.units], 0.0, 0.0))
    monkeypatch.setattr("charlm.training.timing.measure", measured)
    monkeypatch.setattr("charlm.training.timing.open_soft_targets", Mock())
    said: list[str] = []
    prepared = prepare_text(600_000, folder=tmp_path, say=said.append)
    assert said[0].startswith("recipe: shakespeare: ")
    session = Session(said.append, clock=lambda: 0.0)
    found = fit_to_minutes(prepared, tmp_path, minutes=minutes, started=0.0, session=session)
    assert (found.config.recipe, found.engine is prepared.engine) == (taken, taken == "shakespeare")
    assert found.config.training.ngram_weight == 0  # counting the n-grams of so long a text would take the minutes
    line = f"recipe: {taken} instead: 1,000 steps of {'shakespeare' if taken == 'default' else 'default'} take "
    assert any(each.startswith(line) for each in said) == (taken != "shakespeare")
    better = "better, in about 6 times the time: -c shakespeare-15m"  # which does not fit into some minutes
    assert (better in said) == (minutes is None)
