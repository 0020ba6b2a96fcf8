"""What happens before a run is trained: its text, its engine, and how long its parts take.

How a run is decided on is in test_decision.py.
"""

import math
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
from fake_runs import TEXT, Clock, begin, engine_of, refuse_events, ticking, timed_steps, train

from charlm.cli.progress import describe
from charlm.config.file import load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config, TrainingConfig
from charlm.errors import CharlmError
from charlm.evaluation.ngrams import count_ngrams
from charlm.events import Decided, Event, FewSteps, LengthAdded, NgramsLeftOut
from charlm.hardware import core_count
from charlm.runs.ownership import RunFolder
from charlm.runs.run import Run, open_run, write_config
from charlm.text.corpus import Corpus, open_corpus
from charlm.text.tokenization import tokenize
from charlm.training.costs import Costs, MachineCosts, TextFacts, estimate_costs
from charlm.training.decision import CHOICES, UserSettings
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
from charlm.training.timing import check_reading, measure, time_ngrams
from charlm.training.trainer import time_teachers, train_run

SHORTEST = next(iter(CHOICES.values()))[0]
"""The recipe for the shortest texts that are not memorised."""
COSTS = Costs(step_seconds=0.1, evaluation_seconds=0.5, start_seconds=2.0, end_seconds=1.05)


@dataclass
class Preparing:
    """Prepares runs in one folder, with costs that are given instead of measured."""

    folder: Path
    costs: Costs = COSTS
    clock: Callable[[], float] = lambda: 0.0
    events: list[Event] = field(default_factory=list)
    measured: list[Config] = field(default_factory=list)
    """The configs that were measured."""
    step_seconds: list[float] = field(default_factory=list)
    """For how long steps were timed, each time."""

    @property
    def said(self) -> list[str]:
        """The lines that the user was told."""
        return [line for event in self.events for line in describe(event)]

    def measure(self, config: Config, *_given: Any, step_seconds: float, **_options: Any) -> Costs:
        """Return the given costs."""
        self.measured.append(config)
        self.step_seconds.append(step_seconds)
        return self.costs

    def prepare(
        self,
        text: Text | int,
        *overrides: str,
        recipe: str | None = None,
        minutes: float | None = None,
        **options: Any,
    ) -> Preparation:
        """Prepare a run on a text, or on one of some characters."""
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


@pytest.fixture
def preparing(tmp_path: Path) -> Preparing:
    return Preparing(tmp_path)


# The text


def test_documents_give_a_corpus_its_name(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n", "baab\n")
    assert [text_name(text) for text in (corpus, corpus.folder)] == ["sources", "sources"]


def test_without_a_text_the_plays_give_the_name() -> None:
    assert text_name(None) == "river_plays"


def test_the_windows_depend_on_the_seed_without_a_data_seed(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n" * 200)
    assert windows(corpus, seed=1, data_seed=None) != windows(corpus, seed=2, data_seed=None)


def test_the_windows_depend_on_the_data_seed_if_there_is_one(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "abba\n" * 200)
    assert windows(corpus, seed=2, data_seed=1) == windows(corpus, seed=1, data_seed=1)
    assert windows(corpus, seed=1, data_seed=2) == windows(corpus, seed=2, data_seed=None)


def windows(corpus: Corpus, *, seed: int, data_seed: int | None) -> list[int]:
    """Return the positions that the first steps of the second epoch read."""
    training = TrainingConfig(data_seed=data_seed, shuffle=True, batch_size=4, sequence_length=4)
    engine = new_engine(
        Config(seed=seed, training=training), corpus, FakeEngines(), session=Session()
    )
    found: list[int] = engine.batches.positions(epoch=1, first=0, count=5).ravel().tolist()
    return found


@pytest.mark.parametrize(
    ("recipe", "overrides", "minutes", "message"),
    [
        pytest.param(
            None,
            ["training.epochs=null", "training.steps=null"],
            None,
            "epochs or steps must be set",
            id="no length",
        ),
        pytest.param("tiny", ["model.unit=5"], None, "did you mean model.units", id="unknown key"),
        pytest.param(
            None, ["training.steps=5"], 1.0, "minutes 1: sets the length", id="two lengths"
        ),
        pytest.param(
            "tiny",
            ["training.teachers={recipe: tiny, seeds: [2]}"],
            3.0,
            "training.teachers=null",
            id="teachers",
        ),
    ],
)
def test_a_mistake_is_refused_before_the_text_is_read(
    recipe: str | None,
    overrides: list[str],
    minutes: float | None,
    message: str,
    preparing: Preparing,
) -> None:
    with pytest.raises(CharlmError, match=message):
        preparing.prepare("missing.txt", *overrides, recipe=recipe, minutes=minutes)


# Texts that are memorised


@pytest.mark.parametrize("characters", [20, 500, 1_990])
def test_a_short_text_is_memorised_whole(characters: int, preparing: Preparing) -> None:
    found = preparing.prepare(characters)
    end = found.corpus.vocabulary.end_of_text_id
    assert found.config.recipe == "memorize"
    assert len(found.corpus.split("train")) == characters + 2
    assert [found.corpus.ids[0], found.corpus.ids[-1]] == [end, end]


@pytest.mark.parametrize("characters", [1_998, 1_999])
def test_a_text_just_below_2000_characters_is_memorised(
    characters: int, preparing: Preparing
) -> None:
    """The ends of its text are no characters."""
    assert preparing.prepare(characters).config.recipe == "memorize"


@pytest.mark.parametrize("characters", [2_000, 2_500])
def test_a_text_of_2000_characters_keeps_its_validation_text(
    characters: int, preparing: Preparing
) -> None:
    found = preparing.prepare(characters)
    assert found.config.recipe == SHORTEST.recipe
    assert len(found.corpus.split("validation")) == characters // 10


@pytest.mark.parametrize("characters", [2, 18, 19])
def test_a_text_below_20_characters_is_refused_by_its_length(
    characters: int, preparing: Preparing
) -> None:
    with pytest.raises(
        CharlmError, match=f"^the text has {characters} characters; expected at least 20"
    ):
        preparing.prepare(characters)


@pytest.mark.parametrize(
    ("overrides", "recipe"),
    [
        pytest.param([], "tiny", id="named recipe"),
        pytest.param(["corpus.test_fraction=0.1"], None, id="given split"),
    ],
)
def test_a_short_text_is_split_if_the_user_has_decided_on_it(
    overrides: list[str], recipe: str | None, preparing: Preparing
) -> None:
    found = preparing.prepare(500, *overrides, recipe=recipe)
    assert len(found.corpus.split("validation")) == 50
    assert not found.config.training.until_recited


def test_a_corpus_that_is_memorised_is_left_as_it_was(tmp_path: Path, preparing: Preparing) -> None:
    (tmp_path / "source.txt").write_text(TEXT, encoding="utf-8")
    corpus = tokenize([str(tmp_path / "source.txt")], tmp_path / "corpus", Config().corpus)
    found = preparing.prepare(corpus.folder)
    assert text_of(open_corpus(corpus.folder)) == TEXT
    assert open_corpus(corpus.folder).manifest == corpus.manifest
    assert found.corpus.folder == tmp_path / "run" / "corpus"
    assert not found.corpus.folder.is_symlink()


def test_a_recipe_for_reciting_keeps_all_of_the_text(preparing: Preparing) -> None:
    found = preparing.prepare(500, recipe="memorize")
    assert len(found.corpus.split("train")) == 502
    assert len(found.corpus.split("validation")) == 0


def prepare_again(
    first: Preparation, preparing: Preparing, text: Text, *, has_recipe: bool
) -> Preparation:
    """Prepare a run once more, perhaps with the config of the first one as its recipe."""
    write_config(first.corpus.folder.parent, first.config)
    recipe = str(first.corpus.folder.parent / "config.yaml") if has_recipe else None
    again = Preparing(preparing.folder / "again")
    again.folder.mkdir()
    return again.prepare(text, recipe=recipe)


def test_the_config_of_a_memorised_text_repeats_its_ids(preparing: Preparing) -> None:
    first = preparing.prepare(500)
    again = prepare_again(first, preparing, preparing.folder / "text.txt", has_recipe=True)
    assert again.corpus.ids.tolist() == first.corpus.ids.tolist()
    assert again.config == first.config


@pytest.mark.parametrize("has_recipe", [True, False], ids=["its config", "no recipe"])
def test_the_corpus_of_a_memorised_text_is_memorised_as_it_is(
    has_recipe: bool, preparing: Preparing
) -> None:
    """A run can be repeated from its own corpus: there is no second end before and after the text."""
    first = preparing.prepare(500)
    again = prepare_again(first, preparing, first.corpus.folder, has_recipe=has_recipe)
    assert again.corpus.ids.tolist() == first.corpus.ids.tolist()


def test_the_config_of_a_memorised_text_says_how_it_is_split(preparing: Preparing) -> None:
    assert preparing.prepare(500).config.corpus.validation_fraction == 0


# The recipe


def test_the_user_is_told_the_recipe_that_was_chosen(preparing: Preparing) -> None:
    found = preparing.prepare(10_000)
    expected = load_config(find_recipe(str(SHORTEST.recipe)))
    assert found.config.recipe == SHORTEST.recipe
    assert found.config.model == expected.model
    assert preparing.said[0].startswith(f"recipe {SHORTEST.recipe}: ")


def test_the_user_is_not_told_the_recipe_that_was_named(preparing: Preparing) -> None:
    found = preparing.prepare(10_000, recipe="tiny")
    assert found.config.model == load_config(find_recipe("tiny")).model
    assert not any(line.startswith("recipe") for line in preparing.said)


def test_given_settings_replace_those_of_the_recipe(preparing: Preparing) -> None:
    config = preparing.prepare(10_000, "model.units=9", "corpus.min_count=2").config
    expected = load_config(find_recipe(str(SHORTEST.recipe)))
    assert (config.model.units, config.corpus.min_count) == (9, 2)
    assert config.training.batch_size == expected.training.batch_size


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


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("adamw", 4), ("sgd", 2)])
class TestMemory:
    """A network of two units over three ids."""

    @staticmethod
    def config(optimizer: str) -> Config:
        training = {"epochs": 1, "optimizer": {"name": optimizer}}
        return Config.model_validate({"model": {"units": 2}, "training": training})

    def test_a_network_that_just_fits_is_accepted(self, optimizer: str, numbers: int) -> None:
        check_memory(self.config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS)

    def test_a_network_with_a_byte_less_is_refused(self, optimizer: str, numbers: int) -> None:
        with pytest.raises(
            CharlmError, match=f"^model: {WEIGHTS} weights; training them with {optimizer} needs"
        ):
            check_memory(self.config(optimizer), 3, available_bytes=4 * numbers * WEIGHTS - 1)

    def test_nothing_is_refused_if_the_memory_is_unknown(
        self, optimizer: str, numbers: int
    ) -> None:
        assert numbers
        check_memory(self.config(optimizer), 3, available_bytes=None)


# What is measured


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Begin a small run."""
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return begin(tmp_path / "small", "training.steps=3", text=tmp_path / "text.txt")


def measure_run(engines: FakeEngines, run: Run, *, seconds: float = 50.0) -> Costs:
    """Measure a run with a clock that goes on by a second each time it is read."""
    engine = new_engine(run.config, run.corpus, engines, session=Session(refuse_events))
    session = Session(clock=ticking(1.0))
    return measure(run.config, run.corpus, engine, session=session, step_seconds=seconds)


@pytest.mark.parametrize(("seconds", "calls"), [(50.0, 20), (5.0, 5), (0.0, 1)])
def test_twenty_steps_are_timed_or_those_of_some_seconds(
    seconds: float, calls: int, run: Run
) -> None:
    """The first call is not timed; steps beyond the three of the run are."""
    taken: list[int] = []
    engines = FakeEngines(Faults(after_call=taken.append, is_slow=True))
    costs = measure_run(engines, run, seconds=seconds)
    assert taken == [*range(1, calls + 2)]
    assert costs.step_seconds == 1


def test_steps_that_diverge_are_timed(run: Run) -> None:
    engines = FakeEngines(Faults(loss=lambda _step, _rate: math.nan))
    assert measure_run(engines, run).step_seconds > 0


def test_measuring_leaves_no_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", "scratch")
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    measure_run(FakeEngines(), run)
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before
    assert list(Path("scratch").iterdir()) == []


def test_measuring_leaves_the_engine_as_it_was(run: Run) -> None:
    engines = FakeEngines()
    measure_run(engines, run)
    new_engine(run.config, run.corpus, engines, session=Session(refuse_events))
    used, new = (bytes_of(engine.tensors()) for engine in engines.made)
    assert used == new


def test_teachers_take_the_time_of_their_runs(run: Run) -> None:
    """Two teachers: each a step at its start, and twelve steps, of a second each; nothing else takes time."""
    Path("teacher.yaml").write_text("training: {steps: 12, evaluations: 2}", encoding="utf-8")
    text = run.folder.parent / "text.txt"
    taught = begin(
        run.folder.with_name("taught"),
        "training.teachers={recipe: teacher.yaml, seeds: [2, 3]}",
        text=text,
    )
    clock = Clock()
    engines = FakeEngines(timed_steps(clock))
    found = time_teachers(taught.config, taught.corpus, engines, session=Session(clock=clock))
    assert found == pytest.approx(2 * (1 + 12))


def test_a_run_without_teachers_waits_for_none(run: Run) -> None:
    assert time_teachers(run.config, run.corpus, FakeEngines(), session=Session()) == 0


def test_the_time_of_n_grams_is_that_of_a_short_text_in_ten_parts(run: Run) -> None:
    """Counting is read as a second and predicting as another, of nine and one times the whole text."""
    assert time_ngrams(run.corpus, session=Session(clock=ticking(1.0))) == pytest.approx(9 * 1 + 1)


def test_the_time_of_n_grams_of_a_long_text_is_that_of_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 90,000 training characters 50,000 are counted, in a second; sorting makes the rest slower."""
    corpus = make_corpus(tmp_path, "abba\n" * 20_000)
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.timing.count_ngrams", count)
    found = time_ngrams(corpus, session=Session(clock=ticking(1.0)))
    assert [len(call.args[0]) for call in count.call_args_list] == [50_000]
    assert found == pytest.approx(9 * 90_000 / 50_000 * 1.3 + 90_000 / 2_000)


# Costs of this machine

TINY = Config(recipe="tiny", training=TrainingConfig(steps=9, batch_size=8))
WIDE = TINY.model_copy(update={"model": TINY.model.model_copy(update={"units": 1024})})
FACTS = TextFacts(training=100_000, validation=10_000, vocabulary=60)


def test_costs_are_estimated_until_something_is_measured() -> None:
    assert MachineCosts()(TINY, FACTS) == estimate_costs(TINY, FACTS, slowness=1.2)


def test_measured_costs_replace_the_estimate_without_the_start() -> None:
    costs = MachineCosts()
    costs.note(TINY, FACTS, COSTS)
    assert costs(TINY, FACTS) == Costs(step_seconds=0.1, evaluation_seconds=0.5, end_seconds=1.05)


def test_other_recipes_are_estimated_from_the_speed_that_was_measured() -> None:
    costs = MachineCosts()
    estimated, other = (estimate_costs(config, FACTS) for config in (TINY, WIDE))
    costs.note(TINY, FACTS, COSTS)
    found = costs(WIDE, FACTS)
    assert found.step_seconds / other.step_seconds == pytest.approx(
        COSTS.step_seconds / estimated.step_seconds
    )


@pytest.mark.parametrize(
    ("weight", "seconds"), [(0.4, 7.0), (0.0, 0.0)], ids=["with n-grams", "without"]
)
def test_the_time_of_n_grams_counts_only_for_a_run_that_learns_from_them(
    weight: float, seconds: float
) -> None:
    config = TINY.model_copy(
        update={"training": TINY.training.model_copy(update={"ngram_weight": weight})}
    )
    costs = MachineCosts()
    costs.ngram_seconds = 7.0
    assert costs(config, FACTS).ngram_seconds == seconds


# A time limit


def test_the_steps_that_fit_are_in_the_config(preparing: Preparing) -> None:
    """Of 60 seconds 57.6 are planned for: 3 evaluations of 0.5 and the end leave 55.05; the start is over then."""
    found = preparing.prepare(10_000, "training.evaluations=3", recipe="tiny", minutes=1)
    assert (found.config.training.steps, found.config.training.epochs) == (550, None)
    assert found.decision.steps == 550


def test_the_time_before_the_run_counts(tmp_path: Path) -> None:
    """The command began 20 seconds before."""
    preparing = Preparing(tmp_path)
    found = preparing.prepare(
        10_000, "training.evaluations=3", recipe="tiny", minutes=1, started=-20.0
    )
    assert found.config.training.steps == 350


def test_the_deadline_is_that_of_the_command(preparing: Preparing) -> None:
    found = preparing.prepare(10_000, recipe="tiny", minutes=1, started=-20.0)
    assert found.deadline is not None
    assert (found.deadline.seconds, found.deadline.started) == (60, -20)
    assert found.deadline.fixed_share == 0  # tiny uses Adam


def test_a_run_without_a_time_limit_is_not_measured(preparing: Preparing) -> None:
    found = preparing.prepare(10_000, recipe="tiny")
    assert (preparing.measured, found.deadline, found.costs) == ([], None, None)


@pytest.mark.parametrize(("minutes", "seconds"), [(0.2, 0.36), (0.5, 0.9), (1.0, 1.8), (60.0, 3.0)])
def test_steps_are_timed_for_a_twentieth_of_the_limit_up_to_three_seconds(
    minutes: float, seconds: float, preparing: Preparing
) -> None:
    preparing.prepare(10_000, recipe="tiny", minutes=minutes)
    assert preparing.step_seconds == [pytest.approx(seconds)]


def test_the_user_is_told_the_length_that_was_decided_last(preparing: Preparing) -> None:
    found = preparing.prepare(10_000, recipe="tiny", minutes=1)
    told = [line for line in preparing.said if line.startswith("training for 1 min: ")]
    assert len(told) == 1
    assert f" {found.decision.steps} steps " in told[0]


def test_a_time_limit_that_is_over_still_allows_one_step(preparing: Preparing) -> None:
    found = preparing.prepare(10_000, recipe="tiny", minutes=1, started=-600.0)
    assert found.config.training.steps == 1


def write_sparse(folder: Path, name: str, size: int) -> Path:
    """Write a file of so many zero bytes, which takes no space."""
    path = folder / name
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
    name: str, size: int, tmp_path: Path
) -> None:
    """20 MB are read in a second; a byte that is compressed stands for four."""
    with pytest.raises(
        CharlmError, match=r"^minutes 1: reading 0\.3 GB of text takes about 15s; allow 2 minutes"
    ):
        check_reading([str(write_sparse(tmp_path, name, size))], 1)


def test_a_text_that_takes_less_to_read_is_accepted(tmp_path: Path) -> None:
    check_reading([str(write_sparse(tmp_path, "text.txt", 299_000_000))], 1)


def test_the_files_of_a_folder_are_read_one_after_the_other(tmp_path: Path) -> None:
    for number in range(4):
        write_sparse(tmp_path, f"{number}.txt", 100_000_000)
    with pytest.raises(CharlmError, match=r"reading 0\.4 GB of text"):
        check_reading([str(tmp_path)], 1)


def test_the_size_of_standard_input_is_not_known() -> None:
    check_reading(["-"], 1e-9)


def test_a_text_that_is_too_large_for_the_limit_is_not_read(preparing: Preparing) -> None:
    text = write_sparse(preparing.folder, "large.txt", 40_000_000)
    with pytest.raises(CharlmError, match=r"^minutes 0\.1: reading 0\.0 GB of text"):
        preparing.prepare(text, minutes=0.1)
    assert list((preparing.folder / "run").iterdir()) == []


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Count how often n-grams are counted for soft targets."""
    count = Mock(wraps=count_ngrams)
    monkeypatch.setattr("charlm.training.soft_targets.count_ngrams", count)
    return count


def test_n_grams_of_a_run_with_a_time_limit_are_counted_once(
    counting: Mock, preparing: Preparing
) -> None:
    """Ten parts of the text: when the run is prepared, and not again when it is trained."""
    prepared = preparing.prepare(5_000, "training.ngram_weight=0.4", recipe="tiny", minutes=1)
    assert counting.call_count == 10
    run = prepared.begin(RunFolder(preparing.folder / "run"))
    train_run(run, prepared.engine, FakeEngines(), session=Session(), text=prepared.text)
    assert counting.call_count == 10


def test_n_grams_of_a_plan_are_not_counted(counting: Mock, preparing: Preparing) -> None:
    preparing.prepare(5_000, "training.ngram_weight=0.4", recipe="tiny", minutes=1, is_plan=True)
    assert counting.call_count == 0


def test_n_grams_that_would_take_too_long_are_not_counted(counting: Mock, tmp_path: Path) -> None:
    """Each reading of the clock takes a second, so that counting is estimated at many times the limit."""
    preparing = Preparing(tmp_path, clock=ticking(1.0))
    found = preparing.prepare(50_000, "training.ngram_weight=0.4", recipe="tiny", minutes=0.1)
    assert found.config.training.ngram_weight == 0
    assert counting.call_count == 0


@pytest.mark.parametrize("is_plan", [False, True], ids=["train", "plan"])
def test_a_decision_notes_that_n_grams_are_left_out(is_plan: bool, tmp_path: Path) -> None:
    preparing = Preparing(tmp_path, clock=ticking(1.0))
    found = preparing.prepare(
        50_000, "training.ngram_weight=0.4", recipe="tiny", minutes=0.1, is_plan=is_plan
    )
    assert found.decision.config.training.ngram_weight == 0
    assert any(isinstance(note, NgramsLeftOut) for note in found.decision.notes)


def test_what_was_decided_is_told_with_its_notes_last(tmp_path: Path) -> None:
    preparing = Preparing(tmp_path, clock=ticking(1.0))
    found = preparing.prepare(50_000, "training.ngram_weight=0.4", recipe="tiny", minutes=0.1)
    notes = found.decision.notes
    told = [
        event for event in preparing.events if isinstance(event, (Decided, NgramsLeftOut, FewSteps))
    ]
    assert told == [found.decision.event(found.engine.batches), *notes]


def test_a_plan_tells_nothing_since_it_returns_what_was_decided(tmp_path: Path) -> None:
    preparing = Preparing(tmp_path, clock=ticking(1.0))
    preparing.prepare(50_000, "training.ngram_weight=0.4", recipe="tiny", minutes=0.1, is_plan=True)
    assert not [
        event for event in preparing.events if isinstance(event, (Decided, NgramsLeftOut, FewSteps))
    ]


# A run that goes on


@pytest.mark.parametrize("growing", ["false", "true"])
def test_a_run_gets_the_steps_that_fit_into_more_minutes(growing: str, tmp_path: Path) -> None:
    """A step takes a second, and the measurement some of the 576 seconds that are planned for."""
    trained = train(
        tmp_path / "trained", f"training.growing_windows={growing}", "training.steps=60"
    )
    run = open_run(trained.folder)
    clock = Clock()
    engine = engine_of(run, FakeEngines(timed_steps(clock)))
    session = Session(clock=clock)
    longer, _ = lengthen(run, engine, minutes=10, started=0.0, session=session)
    schedule = make_schedule(longer.config.training, engine.batches)
    characters = schedule.characters(schedule.total) - schedule.characters(60)
    steps = characters / engine.batches.characters_per_step
    assert steps == pytest.approx(576 - clock.now, abs=2)


def test_a_run_that_gets_more_minutes_keeps_its_other_settings(tmp_path: Path) -> None:
    run = open_run(train(tmp_path / "trained").folder)
    clock = Clock()
    engine = engine_of(run, FakeEngines(timed_steps(clock)))
    longer, deadline = lengthen(run, engine, minutes=10, started=0.0, session=Session(clock=clock))
    changed = longer.config.training.model_dump(include={"steps", "evaluations"})
    changed["earlier_lengths"] = longer.config.training.earlier_lengths
    training = run.config.training.model_copy(update=changed)
    assert longer.config == run.config.model_copy(update={"training": training})
    assert deadline.seconds == 600


def test_the_user_is_told_how_many_more_steps_a_run_gets(tmp_path: Path) -> None:
    run = open_run(train(tmp_path / "trained").folder)
    events: list[Event] = []
    clock = Clock()
    engine = engine_of(run, FakeEngines(timed_steps(clock)))
    longer, _ = lengthen(
        run, engine, minutes=2, started=0.0, session=Session(events.append, clock=clock)
    )
    assert longer.config.training.steps is not None
    assert events[-1] == LengthAdded(2, longer.config.training.steps - 50)
