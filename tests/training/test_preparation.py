"""The preparation of a run: its text, its engine, and the time that its parts take.

Decisions are tested in test_decision.py.
"""

import math
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from arrays import bytes_of
from corpora import make_corpus, text_of
from fake_engine import FakeEngines, Faults
from fake_runs import TEXT, Clock, begin, engine_of, ticking, timed_steps, train

from charlm.config.file import load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams
from charlm.events import Decided, Event, FewSteps, LengthAdded, NgramProgress, NgramsLeftOut
from charlm.hardware import core_count
from charlm.runs.ownership import RunFolder
from charlm.runs.run import Run, open_run, write_config
from charlm.text.corpus import open_corpus
from charlm.text.tokenization import tokenize
from charlm.training.costs import Costs, MachineCosts, TextFacts, estimate_costs
from charlm.training.decision import UserSettings
from charlm.training.preparation import (
    Preparation,
    Text,
    check_memory,
    lengthen,
    new_engine,
    prepare,
    text_name,
)
from charlm.training.schedule import make_schedule
from charlm.training.session import Session
from charlm.training.timing import Deadline, check_reading, measure, time_ngrams
from charlm.training.trainer import time_teachers, train_run

COSTS = Costs(step_seconds=0.1, evaluation_seconds=0.5, start_seconds=2.0, end_seconds=1.05)
NGRAMS = "training.ngram_weight=0.4"


@dataclass
class Preparing:
    """A caller of `prepare` in one folder, whose costs are not measured."""

    folder: Path
    clock: Callable[[], float] = lambda: 0.0
    events: list[Event] = field(default_factory=list)
    measured_seconds: list[float] = field(default_factory=list)
    """Longest time of the timed steps, for each measurement."""

    def measure(self, *_arguments: Any, step_seconds: float, **_options: Any) -> Costs:
        self.measured_seconds.append(step_seconds)
        return COSTS

    def prepare(
        self,
        text: Text | int,
        *overrides: str,
        recipe: str | None = None,
        minutes: float | None = None,
        **options: Any,
    ) -> Preparation:
        """Prepare a run on a text, or on a text of some characters."""
        if isinstance(text, int):
            source = self.folder / "text.txt"
            source.write_text(("abba\n" * text)[:text], encoding="utf-8")
            text = source
        run = self.folder / "run"
        run.mkdir()
        return prepare(
            text,
            user=UserSettings(recipe=recipe, overrides=parse_overrides(overrides), minutes=minutes),
            folder=RunFolder(run),
            engines=FakeEngines(),
            session=Session(self.events.append, clock=self.clock),
            measure=self.measure,
            **options,
        )

    def prepare_minute(self, *overrides: str, **options: Any) -> Preparation:
        """Prepare a run of the recipe tiny with a time limit of a minute."""
        return self.prepare(10_000, *overrides, recipe="tiny", minutes=1, **options)


@pytest.fixture
def preparing(tmp_path: Path) -> Preparing:
    return Preparing(tmp_path)


# The text


def test_a_corpus_has_the_name_of_its_documents(tmp_path: Path) -> None:
    assert text_name(make_corpus(tmp_path, "abba\n", "baab\n")) == "sources"


def test_without_a_text_the_plays_give_the_name() -> None:
    assert text_name(None) == "river_plays"


@pytest.fixture
def windows(tmp_path: Path) -> Callable[..., list[int]]:
    """Return a function of seeds, which returns the positions that the second epoch reads."""
    corpus = make_corpus(tmp_path, "abba\n" * 200)

    def positions(*, seed: int, data_seed: int | None) -> list[int]:
        training = TrainingConfig(
            data_seed=data_seed, shuffle=True, batch_size=4, sequence_length=4
        )
        config = Config(seed=seed, training=training)
        engine = new_engine(config, corpus, FakeEngines(), session=Session())
        read: list[int] = engine.batches.positions(epoch=1, first=0, count=5).ravel().tolist()
        return read

    return positions


def test_the_windows_depend_on_the_seed(windows: Callable[..., list[int]]) -> None:
    assert windows(seed=1, data_seed=None) != windows(seed=2, data_seed=None)


def test_a_data_seed_replaces_the_seed(windows: Callable[..., list[int]]) -> None:
    assert windows(seed=1, data_seed=2) == windows(seed=2, data_seed=None)


def test_settings_are_checked_before_the_text_is_read(preparing: Preparing) -> None:
    with pytest.raises(CharlmError, match=r"did you mean model\.units"):
        preparing.prepare("missing.txt", "model.unit=5", recipe="tiny")


# The recipe


@pytest.mark.parametrize(("characters", "recipe"), [(66_600, "small"), (66_700, "default")])
def test_nine_tenths_of_a_text_count_for_its_recipe(
    characters: int, recipe: str, preparing: Preparing
) -> None:
    assert preparing.prepare(characters).config.recipe == recipe


@pytest.mark.parametrize(
    ("minutes", "recipe", "measurements"),
    [
        pytest.param(0.26, "small", 1, id="114 steps fit"),
        pytest.param(0.23, "quick", 2, id="102 steps fit"),
    ],
)
def test_a_recipe_that_turns_out_to_be_far_too_slow_is_replaced(
    minutes: float, recipe: str, measurements: int, preparing: Preparing
) -> None:
    """Eight epochs of small have 141 steps, which may be too few by a factor of 1.3."""
    prepared = preparing.prepare(10_000, "training.ngram_weight=0", minutes=minutes)
    assert prepared.config.recipe == prepared.decision.recipe == recipe
    assert prepared.config.model == load_config(find_recipe(recipe)).model
    assert len(preparing.measured_seconds) == measurements


# Texts that are memorised


@pytest.mark.parametrize("characters", [20, 500, 1_999])
def test_a_text_below_2000_characters_is_memorised_whole(
    characters: int,
    preparing: Preparing,
) -> None:
    """The ends of its text are no characters."""
    prepared = preparing.prepare(characters)
    end = prepared.corpus.vocabulary.end_of_text_id
    assert prepared.config.recipe == "memorize"
    assert prepared.config.corpus.validation_fraction == 0
    assert len(prepared.corpus.split("train")) == characters + 2
    assert [prepared.corpus.ids[0], prepared.corpus.ids[-1]] == [end, end]


def test_a_text_of_2000_characters_keeps_its_validation_text(preparing: Preparing) -> None:
    prepared = preparing.prepare(2_000)
    assert prepared.config.recipe == "small"
    assert len(prepared.corpus.split("validation")) == 200


def test_the_ends_of_a_short_text_do_not_count_as_characters(preparing: Preparing) -> None:
    with pytest.raises(CharlmError, match=r"^the text has 19 characters; expected at least 20"):
        preparing.prepare(19)


@pytest.mark.parametrize(
    ("overrides", "recipe"),
    [
        pytest.param([], "tiny", id="named recipe"),
        pytest.param(["corpus.test_fraction=0.1"], None, id="split of the user"),
    ],
)
def test_a_short_text_is_split_if_the_user_has_decided_on_it(
    overrides: list[str],
    recipe: str | None,
    preparing: Preparing,
) -> None:
    prepared = preparing.prepare(500, *overrides, recipe=recipe)
    assert len(prepared.corpus.split("validation")) == 50
    assert not prepared.config.training.until_recited


def test_a_corpus_that_is_memorised_is_left_as_it_was(tmp_path: Path, preparing: Preparing) -> None:
    (tmp_path / "source.txt").write_text(TEXT, encoding="utf-8")
    corpus = tokenize([str(tmp_path / "source.txt")], tmp_path / "corpus", Config().corpus)
    prepared = preparing.prepare(corpus.folder)
    assert text_of(open_corpus(corpus.folder)) == TEXT
    assert open_corpus(corpus.folder).manifest == corpus.manifest
    assert prepared.corpus.folder == tmp_path / "run" / "corpus"
    assert not prepared.corpus.folder.is_symlink()


def test_a_recipe_for_reciting_keeps_all_of_the_text(preparing: Preparing) -> None:
    prepared = preparing.prepare(500, recipe="memorize")
    assert len(prepared.corpus.split("train")) == 502
    assert len(prepared.corpus.split("validation")) == 0


@pytest.fixture
def memorized(preparing: Preparing) -> Preparation:
    """Prepare a run that memorises its text."""
    return preparing.prepare(500)


def prepare_again(memorized: Preparation, text: Path, *, has_recipe: bool) -> Preparation:
    """Prepare a run once more, with the config of the first one as its recipe or without one."""
    run = memorized.corpus.folder.parent
    write_config(run, memorized.config)
    again = Preparing(run.with_name("again"))
    again.folder.mkdir()
    return again.prepare(text, recipe=str(run / "config.yaml") if has_recipe else None)


def test_the_config_of_a_memorised_text_repeats_its_ids(
    memorized: Preparation,
    tmp_path: Path,
) -> None:
    again = prepare_again(memorized, tmp_path / "text.txt", has_recipe=True)
    assert again.corpus.ids.tolist() == memorized.corpus.ids.tolist()
    assert again.config == memorized.config


@pytest.mark.parametrize("has_recipe", [True, False], ids=["its config", "no recipe"])
def test_the_corpus_of_a_memorised_text_gets_no_second_ends(
    has_recipe: bool,
    memorized: Preparation,
) -> None:
    again = prepare_again(memorized, memorized.corpus.folder, has_recipe=has_recipe)
    assert again.corpus.ids.tolist() == memorized.corpus.ids.tolist()


# Parts of a batch


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("training.batch_size=32", min(core_count(), 4)),
        ("training.batch_size=8", 1),
        ("training.parts=3", 3),
    ],
)
def test_each_core_has_a_part_of_a_batch(setting: str, parts: int, preparing: Preparing) -> None:
    assert preparing.prepare(10_000, setting, recipe="tiny").config.training.parts == parts


# Memory

WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)
"""Weights of a network of two units over three ids."""
each_optimizer = pytest.mark.parametrize(
    ("optimizer", "numbers"), [("adam", 4), ("adamw", 4), ("sgd", 2)]
)


def check_two_units(optimizer: str, available_bytes: int | None) -> None:
    """Check the memory of a network of two units over three ids."""
    training = {"epochs": 1, "optimizer": {"name": optimizer}}
    config = Config.model_validate({"model": {"units": 2}, "training": training})
    check_memory(config, 3, available_bytes=available_bytes)


@each_optimizer
def test_a_network_that_just_fits_is_accepted(optimizer: str, numbers: int) -> None:
    check_two_units(optimizer, 4 * numbers * WEIGHTS)


@each_optimizer
def test_a_network_that_needs_a_byte_more_is_refused(optimizer: str, numbers: int) -> None:
    message = f"^model: {WEIGHTS} weights; training them with {optimizer} needs"
    with pytest.raises(CharlmError, match=message):
        check_two_units(optimizer, 4 * numbers * WEIGHTS - 1)


def test_nothing_is_refused_if_the_memory_is_unknown() -> None:
    check_two_units("adam", None)


# Measurements


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Begin a run of three steps."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return begin(tmp_path / "small", "training.steps=3", text=tmp_path / "text.txt")


def measure_run(engines: FakeEngines, run: Run, *, seconds: float = 50.0) -> Costs:
    """Measure a run with a clock that advances by a second each time it is read."""
    engine = engine_of(run, engines)
    session = Session(clock=ticking(1.0))
    return measure(run.config, run.corpus, engine, session=session, step_seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        pytest.param(50.0, 20, id="twenty steps"),
        pytest.param(5.0, 5, id="the steps of five seconds"),
        pytest.param(0.0, 1, id="one step"),
    ],
)
def test_steps_are_timed_after_the_first_one(seconds: float, steps: int, run: Run) -> None:
    """They may be more than the three of the run."""
    taken: list[int] = []
    engines = FakeEngines(Faults(after_call=taken.append, is_slow=True))
    costs = measure_run(engines, run, seconds=seconds)
    assert taken == [*range(1, steps + 2)]
    assert costs.step_seconds == 1


def test_the_start_an_evaluation_and_the_end_are_timed(tmp_path: Path) -> None:
    """The end takes 80 times as long as a sample of 200 characters.

    The clock is read three times until the first steps are taken, and three times for an
    evaluation.
    """
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    run = begin(tmp_path / "run", "sampling.length=8", text=tmp_path / "text.txt")
    costs = measure_run(FakeEngines(), run)
    assert (costs.start_seconds, costs.evaluation_seconds, costs.end_seconds) == (3, 3, 80)


def test_a_run_that_chooses_no_temperature_has_no_end(run: Run) -> None:
    assert measure_run(FakeEngines(), run).end_seconds == 0


def test_the_time_of_an_evaluation_of_a_long_text_is_that_of_a_part(tmp_path: Path) -> None:
    """Of 40,000 characters 32,768 are scored in a second, in 64 segments with warm-ups of 256."""
    text = tmp_path / "text.txt"
    text.write_text("abba\n" * 80_000, encoding="utf-8")
    costs = measure_run(FakeEngines(), begin(tmp_path / "run", text=text))
    warm_ups = 64 * 256
    expected = 2 + (40_000 + warm_ups) / (32_768 + warm_ups)
    assert costs.evaluation_seconds == pytest.approx(expected)


def test_steps_that_diverge_are_timed(run: Run) -> None:
    engines = FakeEngines(Faults(loss=lambda _step, _rate: math.nan))
    assert measure_run(engines, run).step_seconds > 0


def test_measuring_leaves_no_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", "scratch")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    measure_run(FakeEngines(), run)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert [*Path("scratch").iterdir()] == []


def test_measuring_leaves_the_engine_as_it_was(run: Run) -> None:
    engines = FakeEngines()
    measure_run(engines, run)
    assert bytes_of(engines.made[0].tensors()) == bytes_of(engine_of(run).tensors())


def test_teachers_take_the_time_of_their_runs(run: Run) -> None:
    """Each of two teachers takes thirteen steps of a second, one of them at its start."""
    Path("teacher.yaml").write_text("training: {steps: 12, evaluations: 2}", encoding="utf-8")
    teachers = "training.teachers={recipe: teacher.yaml, seeds: [2, 3]}"
    text = run.folder.with_name("text.txt")
    taught = begin(run.folder.with_name("taught"), teachers, text=text)
    clock = Clock()
    engines = FakeEngines(timed_steps(clock))
    seconds = time_teachers(taught.config, taught.corpus, engines, session=Session(clock=clock))
    assert seconds == pytest.approx(2 * 13)


def test_a_run_without_teachers_waits_for_none(run: Run) -> None:
    assert time_teachers(run.config, run.corpus, FakeEngines(), session=Session()) == 0


def test_the_time_of_n_grams_is_that_of_a_short_text_in_ten_parts(run: Run) -> None:
    """A second for nine tenths of the text is counted, and one for a tenth is predicted."""
    assert time_ngrams(run.corpus, session=Session(clock=ticking(1.0))) == pytest.approx(9 * 1 + 1)


def test_the_time_of_n_grams_of_a_long_text_is_that_of_a_part(tmp_path: Path) -> None:
    """Of 90,000 characters 50,000 are counted, in a second; sorting makes the rest slower."""
    corpus = make_corpus(tmp_path, "abba\n" * 20_000)
    count = Mock(wraps=count_ngrams)
    seconds = time_ngrams(corpus, session=Session(clock=ticking(1.0)), count=count)
    assert [len(call.args[0]) for call in count.call_args_list] == [50_000]
    assert seconds == pytest.approx(9 * 90_000 / 50_000 * 1.3 + 90_000 / 2_000)


# Costs on this machine

TINY = Config(recipe="tiny", training=TrainingConfig(steps=9, batch_size=8))
WIDE = TINY.model_copy(update={"model": TINY.model.model_copy(update={"units": 1024})})
FACTS = TextFacts(training=100_000, validation=10_000, vocabulary=60)


@pytest.fixture
def measured() -> MachineCosts:
    """Return the costs on a machine where the recipe tiny was measured."""
    costs = MachineCosts()
    costs.note(TINY, FACTS, COSTS)
    return costs


def test_costs_are_estimated_until_a_run_is_measured() -> None:
    assert MachineCosts()(TINY, FACTS) == estimate_costs(TINY, FACTS, slowness=1.2)


def test_measured_costs_replace_the_estimate_without_the_start(measured: MachineCosts) -> None:
    expected = Costs(step_seconds=0.1, evaluation_seconds=0.5, end_seconds=1.05)
    assert measured(TINY, FACTS) == expected


def test_other_recipes_are_estimated_from_the_measured_speed(measured: MachineCosts) -> None:
    slowness = 0.1 / estimate_costs(TINY, FACTS).step_seconds
    expected = slowness * estimate_costs(WIDE, FACTS).step_seconds
    assert measured(WIDE, FACTS).step_seconds == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weight", "seconds"),
    [(0.4, 7.0), (0.0, 0.0)],
    ids=["with n-grams", "without"],
)
def test_the_time_of_n_grams_counts_only_for_a_run_that_learns_from_them(
    weight: float,
    seconds: float,
) -> None:
    training = TINY.training.model_copy(update={"ngram_weight": weight})
    costs = MachineCosts()
    costs.ngram_seconds = 7.0
    config = TINY.model_copy(update={"training": training})
    assert costs(config, FACTS).ngram_seconds == seconds


# A time limit


@pytest.mark.parametrize(
    ("started", "steps"),
    [
        pytest.param(0.0, 550, id="at once"),
        pytest.param(-20.0, 350, id="20 s after the command began"),
        pytest.param(-600.0, 1, id="after the limit"),
    ],
)
def test_the_config_has_the_steps_that_fit(
    started: float,
    steps: int,
    preparing: Preparing,
) -> None:
    """57.6 s are planned: three evaluations of 0.5 s and the end leave 55.05 s."""
    prepared = preparing.prepare_minute("training.evaluations=3", started=started)
    assert prepared.config.training.steps == prepared.decision.steps == steps
    assert prepared.config.training.epochs is None


def test_the_deadline_begins_with_the_command(preparing: Preparing) -> None:
    deadline = preparing.prepare_minute(started=-20.0).deadline
    assert deadline is not None
    assert (deadline.seconds, deadline.started) == (60, -20)
    assert deadline.fixed_share == 0  # tiny uses Adam


def test_a_run_without_a_time_limit_is_not_measured(preparing: Preparing) -> None:
    prepared = preparing.prepare(10_000, recipe="tiny")
    assert preparing.measured_seconds == []
    assert (prepared.deadline, prepared.costs) == (None, None)


@pytest.mark.parametrize(("minutes", "seconds"), [(0.2, 0.36), (1.0, 1.8), (60.0, 3.0)])
def test_steps_are_timed_for_3_percent_of_the_limit_up_to_three_seconds(
    minutes: float,
    seconds: float,
    preparing: Preparing,
) -> None:
    preparing.prepare(10_000, recipe="tiny", minutes=minutes)
    assert preparing.measured_seconds == [pytest.approx(seconds)]


@pytest.mark.parametrize(
    ("minutes", "names"),
    [(0.9, {"5-gram"}), (1.0, {"5-gram", "lzma"}), (None, None)],
    ids=["below a minute", "a minute", "no limit"],
)
def test_a_run_of_less_than_a_minute_is_not_compared_with_lzma(
    minutes: float | None, names: set[str] | None, preparing: Preparing
) -> None:
    text = preparing.folder / "text.txt"
    text.write_text("".join(random.Random(1).choices("abcde ", k=20_000)), encoding="utf-8")
    prepared = preparing.prepare(text, recipe="tiny", minutes=minutes)
    found = None if prepared.text is None else {*prepared.text.baselines}
    assert found == names


def write_sparse(path: Path, size: int) -> Path:
    """Write a file of zero bytes that takes no space on the disk."""
    with path.open("wb") as file:
        file.truncate(size)
    return path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param("text.txt", 301_000_000, id="text"),
        pytest.param("text.gz", 76_000_000, id="compressed text"),
    ],
)
def test_a_text_that_takes_a_quarter_of_the_limit_to_read_is_refused(
    name: str,
    size: int,
    tmp_path: Path,
) -> None:
    """20 MB are read in a second; a compressed byte counts as four."""
    path = write_sparse(tmp_path / name, size)
    message = r"^minutes 1: reading 0\.3 GB of text takes about 15s; allow 2 minutes"
    with pytest.raises(CharlmError, match=message):
        check_reading([str(path)], 1)


def test_a_text_that_takes_less_to_read_is_accepted(tmp_path: Path) -> None:
    check_reading([str(write_sparse(tmp_path / "text.txt", 299_000_000))], 1)


def test_the_sizes_of_the_files_of_a_folder_are_added(tmp_path: Path) -> None:
    for number in range(4):
        write_sparse(tmp_path / f"{number}.txt", 100_000_000)
    with pytest.raises(CharlmError, match=r"reading 0\.4 GB of text"):
        check_reading([str(tmp_path)], 1)


def test_the_size_of_standard_input_is_not_known() -> None:
    check_reading(["-"], 1e-9)


def test_a_text_that_is_too_large_for_the_limit_is_not_read(preparing: Preparing) -> None:
    text = write_sparse(preparing.folder / "large.txt", 40_000_000)
    with pytest.raises(CharlmError, match=r"^minutes 0\.1: reading 0\.0 GB of text"):
        preparing.prepare(text, minutes=0.1)
    assert [*(preparing.folder / "run").iterdir()] == []


def counted_parts(events: list[Event]) -> list[int]:
    """Return how many parts of the text were counted at each event of n-grams."""
    return [event.done for event in events if isinstance(event, NgramProgress)]


def test_n_grams_of_a_run_with_a_time_limit_are_counted_once(preparing: Preparing) -> None:
    """Ten parts of the text are counted when the run is prepared, and none when it is trained."""
    prepared = preparing.prepare(5_000, NGRAMS, recipe="tiny", minutes=1)
    assert counted_parts(preparing.events) == [*range(11)]
    run = prepared.begin(RunFolder(preparing.folder / "run"))
    events: list[Event] = []
    session = Session(events.append)
    train_run(run, prepared.engine, FakeEngines(), session=session, text=prepared.text)
    assert counted_parts(events) == []


def test_the_steps_fill_the_time_that_is_left_after_the_n_grams_are_counted(
    preparing: Preparing,
) -> None:
    """Each look at the clock takes a second; at the last one, the steps are decided.

    The evaluations take 1.5 s, and the end 1.05 s.
    """
    preparing.clock = ticking(1.0)
    settings = (NGRAMS, "training.evaluations=3")
    prepared = preparing.prepare(2_500, *settings, recipe="tiny", minutes=1)
    spent = preparing.clock() - 1
    assert 5 < spent < 40
    assert counted_parts(preparing.events) == [*range(11)]
    left = 57.6 - spent - 1.5 - 1.05
    assert prepared.config.training.steps == pytest.approx(10 * left, abs=1)


def test_n_grams_of_a_plan_are_not_counted(preparing: Preparing) -> None:
    preparing.prepare_minute(NGRAMS, is_plan=True)
    assert counted_parts(preparing.events) == []


def prepare_without_time(preparing: Preparing, *, is_plan: bool = False) -> Preparation:
    """Prepare a run whose n-grams take too long, since each look at the clock takes a second."""
    preparing.clock = ticking(1.0)
    return preparing.prepare(50_000, NGRAMS, recipe="tiny", minutes=0.1, is_plan=is_plan)


def decision_events(preparing: Preparing) -> list[Event]:
    kinds = (Decided, NgramsLeftOut, FewSteps)
    return [event for event in preparing.events if isinstance(event, kinds)]


def test_n_grams_that_would_take_too_long_are_not_counted(preparing: Preparing) -> None:
    assert prepare_without_time(preparing).config.training.ngram_weight == 0
    assert counted_parts(preparing.events) == []


def test_the_notes_of_a_decision_follow_its_event(preparing: Preparing) -> None:
    prepared = prepare_without_time(preparing)
    decision = prepared.decision
    assert decision_events(preparing) == [
        decision.event(prepared.engine.batches),
        *decision.notes,
    ]


def test_a_plan_returns_its_decision_without_an_event(preparing: Preparing) -> None:
    decision = prepare_without_time(preparing, is_plan=True).decision
    assert decision.config.training.ngram_weight == 0
    assert [type(note) for note in decision.notes] == [NgramsLeftOut, FewSteps]
    assert decision_events(preparing) == []


# A run that continues with a time limit


@dataclass
class Lengthened:
    """A run before and after it got more minutes."""

    before: Run
    after: Run
    deadline: Deadline
    events: list[Event]
    measured_seconds: float
    """Time of the measurement."""


def lengthen_run(folder: Path, *overrides: str, minutes: float) -> Lengthened:
    """Train a run, and lengthen it on a machine where a step takes a second."""
    run = open_run(train(folder, *overrides).folder)
    clock = Clock()
    engine = engine_of(run, FakeEngines(timed_steps(clock)))
    events: list[Event] = []
    session = Session(events.append, clock=clock)
    longer, deadline = lengthen(run, engine, minutes=minutes, started=0.0, session=session)
    return Lengthened(run, longer, deadline, events, clock.now)


@pytest.mark.parametrize("growing", ["false", "true"])
def test_a_run_gets_the_steps_that_fit_into_more_minutes(growing: str, tmp_path: Path) -> None:
    """576 s are planned; the measurement takes a part of them."""
    setting = f"training.growing_windows={growing}"
    lengthened = lengthen_run(tmp_path / "run", setting, minutes=10)
    batches = engine_of(lengthened.before).batches
    schedule = make_schedule(lengthened.after.config.training, batches)
    characters = schedule.characters(schedule.total) - schedule.characters(50)
    steps = characters / batches.characters_per_step
    assert steps == pytest.approx(576 - lengthened.measured_seconds, abs=2)


def test_a_run_that_gets_more_minutes_keeps_its_other_settings(tmp_path: Path) -> None:
    lengthened = lengthen_run(tmp_path / "run", minutes=10)
    before = lengthened.before.config.model_dump()
    after = lengthened.after.config.model_dump()
    for key in ("steps", "evaluations", "earlier_lengths"):
        before["training"].pop(key)
        after["training"].pop(key)
    assert after == before
    assert lengthened.deadline.seconds == 600


def test_the_user_is_told_how_many_more_steps_a_run_gets(tmp_path: Path) -> None:
    lengthened = lengthen_run(tmp_path / "run", minutes=2)
    steps = lengthened.after.config.training.steps
    assert steps is not None
    assert lengthened.events[-1] == LengthAdded(2, steps - 50)
