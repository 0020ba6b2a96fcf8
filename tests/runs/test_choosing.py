"""The choice of how a text is trained: recipe, length, evaluations, n-grams and initial weights."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from corpora import make_corpus
from fake_engine import FakeEngine, FakeEngines
from fake_runs import Clock, timed_steps

from charlm.config.file import load_config, parse_overrides
from charlm.config.recipes import find_recipe
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.events import Event, Note
from charlm.runs.choosing import (
    CANDIDATES,
    FINETUNING,
    Plan,
    Request,
    candidates_for,
    choose,
    new_engine,
)
from charlm.runs.folder import BASE, DEFAULT_CORPUS
from charlm.runs.initial_weights import InitialModel, read_initial_model
from charlm.runs.session import Session
from charlm.runs.trainer import read_corpus
from charlm.wording import counted

FAST = ("training.ngram_weight=0", "sampling.length=0", "corpus.validation_fraction=0")
"""Settings that leave out everything but the steps."""


@dataclass
class Choosing:
    """A caller of `choose` on a machine where a step and an evaluation take some time."""

    folder: Path
    step_seconds: float = 0.11
    evaluation_seconds: float = 0.0
    spent_seconds: float = 0.0
    """Time since the command began."""
    events: list[Event] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    @property
    def notes(self) -> list[str]:
        """The messages for the user."""
        return [event.message for event in self.events if isinstance(event, Note)]

    def plan(
        self,
        characters: int,
        *overrides: str,
        recipe: str | None = "tiny",
        minutes: float | None = None,
        init: InitialModel | None = None,
        is_random: bool = False,
        documents: int = 1,
        text: str = "abba\n",
    ) -> Plan:
        """Plan a run on documents of some characters, which repeat a text."""
        sources = []
        for number in range(documents):
            source = self.folder / f"{number}.txt"
            source.write_text((text * characters)[:characters], encoding="utf-8")
            sources.append(str(source))
        faults = timed_steps(
            self.clock, lambda _step: self.step_seconds, evaluation_seconds=self.evaluation_seconds
        )
        self.clock.now = 0.0
        session = Session(self.on_event, clock=self.clock)
        self.clock.now = self.spent_seconds
        run = self.folder / f"run-{len(self.events)}"
        run.mkdir()
        request = Request(recipe, parse_overrides(overrides), init, minutes, is_random=is_random)
        return choose(
            read_corpus(sources, request, run, session),
            request,
            folder=run,
            engines=FakeEngines(faults),
            session=session,
        )


@pytest.fixture
def choosing(tmp_path: Path) -> Choosing:
    return Choosing(tmp_path)


# The recipe


@pytest.mark.parametrize(
    ("characters", "recipe"),
    [
        (59_999, "small"),
        (60_000, "default"),
        (499_999, "default"),
        (500_000, "shakespeare"),
        (1_999_999, "shakespeare"),
        (2_000_000, "5mb"),
    ],
)
def test_the_recipe_follows_from_the_size_of_the_training_text(
    characters: int, recipe: str, tmp_path: Path
) -> None:
    """Two ids of the text are its ends."""
    text = ("abba\n" * characters)[: characters - 2]
    corpus = make_corpus(tmp_path, text, validation_fraction=0)
    assert candidates_for(corpus, Request())[0].recipe == recipe


def test_without_a_time_limit_the_best_recipe_is_trained_for_its_length(choosing: Choosing) -> None:
    choosing.step_seconds = 60.0
    plan = choosing.plan(500_000, *FAST, recipe=None)
    assert (plan.config.recipe, plan.limit) == ("shakespeare", None)
    assert plan.config.training.epochs == load_config(find_recipe("shakespeare")).training.epochs
    assert plan.seconds == pytest.approx(60 * plan.schedule.total)


@pytest.mark.parametrize(
    ("characters", "minutes", "steps", "recipes"),
    [
        (51_200, 1, 8 * 51_200 / 512, ["small", "quick"]),
        (102_400, 1, 8 * 102_400 / 1024, ["default", "quick"]),
        (2_000_000, 10, 16_000_000 / 8192, ["5mb", "shakespeare"]),
        (2_000_000, 1, 1_800_000 / 8192, ["shakespeare", "quick"]),
    ],
    ids=["8 epochs of small", "8 of default", "16 million", "long text"],
)
def test_a_recipe_needs_time_to_read_enough(
    characters: int, minutes: float, steps: float, recipes: list[str], choosing: Choosing
) -> None:
    """Four fifths of what the end leaves are for steps; timing takes up to a tenth of it."""
    longest = 0.8 * (0.97 * 60 * minutes - 2) / steps
    for step_seconds, recipe in zip((0.9 * longest, longest), recipes, strict=True):
        choosing.step_seconds = step_seconds
        assert (
            choosing.plan(characters, *FAST, recipe=None, minutes=minutes).config.recipe == recipe
        )


@pytest.mark.parametrize(
    ("settings", "options", "expected"),
    [
        ([], {}, 10),
        (["training.steps=77"], {}, None),
        ([], {"minutes": 3}, 3),
    ],
    ids=["its own ten minutes", "steps of the user", "minutes of the user"],
)
def test_a_long_text_has_a_time_limit(
    settings: list[str], options: dict[str, Any], expected: float | None, choosing: Choosing
) -> None:
    plan = choosing.plan(2_000_000, *FAST, *settings, **{"recipe": None, **options})
    assert plan.minutes == expected
    assert (plan.limit and plan.limit.end) == (expected and 60 * expected)


CHOSEN = [*CANDIDATES.values(), *FINETUNING.values()]
NAMED = {candidate.recipe for candidates in CHOSEN for candidate in candidates}


@pytest.mark.parametrize("recipe", sorted({"memorize", "tiny", "default"} | NAMED))
def test_a_named_recipe_keeps_all_of_its_settings(recipe: str) -> None:
    named = load_config(find_recipe(recipe))
    assert Request(recipe).config(recipe) == named.model_copy(update={"recipe": recipe})


# Short texts


@pytest.mark.parametrize("characters", [20, 1_999])
def test_a_short_text_is_memorised_whole(characters: int, choosing: Choosing) -> None:
    """The ends of its text are no characters."""
    plan = choosing.plan(characters, recipe=None)
    end = plan.corpus.vocabulary.end_of_text_id
    assert plan.config.recipe == "memorize"
    assert plan.config.training.target_loss is not None
    assert len(plan.corpus.split("train")) == characters + 2
    assert [plan.corpus.ids[0], plan.corpus.ids[-1]] == [end, end]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"characters": 2_000}, []),
        ({"recipe": "tiny"}, []),
        ({"documents": 2}, []),
        ({}, ["corpus.test_fraction=0.1"]),
        ({"init": True}, []),
    ],
    ids=[
        "2,000 characters",
        "named recipe",
        "several documents",
        "split of the user",
        "initial weights",
    ],
)
def test_other_texts_keep_a_tenth_for_validation(
    options: dict[str, Any], settings: list[str], choosing: Choosing, model_file: Path
) -> None:
    if "init" in options:
        options = {"init": read_initial_model(model_file)}
    options = {"characters": 500, "recipe": None, **options}
    plan = choosing.plan(options.pop("characters"), *settings, **options)
    assert plan.config.recipe != "memorize"
    share = len(plan.corpus.split("validation")) / len(plan.corpus.ids)
    assert share == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("characters", "length"), [(1, "1 character"), (19, "19 characters")])
def test_a_text_below_20_characters_is_refused(
    characters: int, length: str, choosing: Choosing
) -> None:
    with pytest.raises(CharlmError, match=f"^the text has {length}; expected at least 20"):
        choosing.plan(characters, recipe=None)


# Checks before the text is read


MOMENTUM = "training.optimizer.momentum=0.9"
"""A setting that recipes with Muon accept and recipes with Adam refuse."""


def test_an_override_that_some_recipe_accepts_is_accepted_without_a_recipe() -> None:
    config = Request(overrides=parse_overrides([MOMENTUM])).check()
    assert config.training.optimizer.momentum == 0.9


# The length


TIMED = 11 * 0.11
"""Seconds of the timed steps."""


@pytest.mark.parametrize(
    ("times", "settings", "steps", "evaluations"),
    [
        ((0, 0), [], (56.2 - TIMED) / 0.11, 2),
        ((20, 0), [], (36.2 - TIMED) / 0.11, 2),
        ((600, 0), [], 1, 1),
        ((0, 10), [], (46.2 - TIMED - 10) / 0.11, 1),
        ((0, 10), ["training.evaluations=3"], (46.2 - TIMED - 30) / 0.11, 3),
    ],
    ids=[
        "at once",
        "20 s after the start",
        "after the limit",
        "a fifth for evaluations",
        "of the user",
    ],
)
def test_steps_and_evaluations_fill_a_minute_except_its_end(
    times: tuple[float, float],
    settings: list[str],
    steps: float,
    evaluations: int,
    choosing: Choosing,
) -> None:
    choosing.spent_seconds, choosing.evaluation_seconds = times
    plan = choosing.plan(10_000, "sampling.length=0", *settings, minutes=1)
    training = plan.config.training
    assert (training.steps, training.epochs) == (int(steps), None)
    assert training.evaluations == plan.evaluations == evaluations
    assert plan.limit is not None
    assert plan.limit.end == 60
    assert plan.limit.evaluation_seconds == plan.timing.evaluation_seconds
    is_noted = f"only {counted(evaluations, 'evaluation')} fit into 1 min" in choosing.notes
    assert is_noted == (evaluations == 1)


def test_a_time_limit_replaces_the_length_of_a_recipe_without_steps(choosing: Choosing) -> None:
    Path("untrained.yaml").write_text("training: {steps: 0}", encoding="utf-8")
    settings = ("sampling.length=0", "model.units=16")
    plan = choosing.plan(10_000, *settings, recipe="untrained.yaml", minutes=1)
    assert plan.schedule.total > 100


def test_few_steps_within_a_time_limit_are_noted(choosing: Choosing) -> None:
    choosing.step_seconds = 5.0
    steps = choosing.plan(10_000, "sampling.length=0", minutes=1).schedule.total
    note = f"{steps} steps will teach the network little; train with more --minutes"
    assert note in choosing.notes


@pytest.mark.parametrize(
    ("setting", "is_noted"),
    [
        ("training.epochs=1", True),
        ("training.epochs=40", False),
        ("training.steps=5", False),
    ],
    ids=["epochs", "enough epochs", "steps of the user"],
)
def test_few_epochs_are_noted(
    setting: str,
    is_noted: bool,
    choosing: Choosing,
) -> None:
    choosing.plan(1_000, setting)
    note = "7 steps will teach the network little; train with more --epochs"
    assert (note in choosing.notes) == is_noted


# N-grams


NEEDED = 2 * 8_999 * 3
"""Bytes of the predictions: two for each of 3 ids at each character of 9,000 but the first."""


@pytest.mark.parametrize(
    ("overrides", "recipe", "expected"),
    [
        ((), None, 0.0),
        (("training.ngram_weight=0.3",), None, 0.3),
        ((), "small", 0.5),
    ],
    ids=str,
)
def test_a_regular_text_is_learnt_without_n_grams(
    overrides: tuple[str, ...],
    recipe: str | None,
    expected: float,
    choosing: Choosing,
) -> None:
    plan = choosing.plan(10_000, *overrides, recipe=recipe)
    assert plan.ngram is not None
    assert plan.ngram.nats_per_char < 1
    assert isinstance(plan.engine, FakeEngine)
    assert plan.config.training.ngram_weight == expected
    assert plan.engine.config.training.ngram_weight == expected
    assert (plan.soft_targets is None) == (expected == 0)
    assert any("this text is regular" in note for note in choosing.notes) == (expected == 0)


def test_a_text_of_random_letters_is_learnt_from_n_grams(choosing: Choosing) -> None:
    text = "".join(random.Random(0).choices("abcd", k=10_000))
    plan = choosing.plan(10_000, recipe=None, text=text)
    assert plan.config.training.ngram_weight == 0.5


@pytest.mark.parametrize(("missing_bytes", "weight"), [(0, 0.4), (1, 0.0)])
def test_n_grams_too_large_for_the_memory_are_left_out(
    missing_bytes: int, weight: float, choosing: Choosing, monkeypatch: pytest.MonkeyPatch
) -> None:
    available = 4 * NEEDED - missing_bytes
    monkeypatch.setattr("charlm.runs.choosing.memory_bytes", lambda: available)
    plan = choosing.plan(10_000, "training.ngram_weight=0.4")
    assert isinstance(plan.engine, FakeEngine)
    assert plan.config.training.ngram_weight == weight
    assert plan.engine.config.training.ngram_weight == weight
    assert any("training without n-grams: " in note for note in choosing.notes) != bool(weight)


# Initial weights


def test_a_network_with_initial_weights_has_the_shape_of_their_model(
    choosing: Choosing, model_file: Path
) -> None:
    init = read_initial_model(model_file)
    plan = choosing.plan(500, recipe=None, init=init)
    assert plan.candidate in FINETUNING[40_000]
    assert plan.config.training.initial_weights == init.sha256
    assert (plan.config.model.layers, plan.config.model.units) == (2, 4)
    assert plan.initial is not None
    bias = plan.engine.weights()["logits.bias"]
    assert bias.tolist() == plan.initial.parameters.logits_bias.tolist()


@pytest.fixture(scope="module")
def plays() -> str:
    return DEFAULT_CORPUS.read_text(encoding="utf-8")


def test_an_english_text_begins_with_the_base(choosing: Choosing, plays: str) -> None:
    plan = choosing.plan(20_000, recipe=None, text=plays)
    base = read_initial_model(BASE)
    training = plan.config.training
    assert (training.initial_model, training.initial_weights) == ("english", base.sha256)
    assert plan.config.model.units == base.model.architecture.units
    note = next(note for note in choosing.notes if note.startswith("begins with english ("))
    assert note == f"begins with {plan.beginning}"
    assert note.endswith("--init none begins with random weights")


@pytest.mark.parametrize(
    ("minutes", "step_seconds", "steps"),
    [(None, 0.01, 200), (1, 0.01, 200), (1, 1.0, 54)],
    ids=["no limit", "more time than needed", "less time than needed"],
)
def test_a_time_limit_can_only_shorten_the_training_from_the_base(
    minutes: float | None, step_seconds: float, steps: int, choosing: Choosing, plays: str
) -> None:
    choosing.step_seconds = step_seconds
    plan = choosing.plan(20_000, recipe=None, text=plays, minutes=minutes)
    assert plan.schedule.total == steps
    is_warned = any("will teach the network little" in note for note in choosing.notes)
    assert is_warned == (steps < 200)


@pytest.mark.parametrize("minutes", [None, 60], ids=["no limit", "an hour"])
def test_the_few_steps_of_a_complete_training_from_the_base_are_no_reason_to_warn(
    minutes: float | None, choosing: Choosing, plays: str
) -> None:
    plan = choosing.plan(50_000, recipe=None, text=plays, minutes=minutes)
    assert (plan.config.recipe, plan.schedule.total) == ("finetune-long", 84)
    assert not any("will teach the network little" in note for note in choosing.notes)


def test_a_text_unlike_the_base_begins_with_random_weights(choosing: Choosing) -> None:
    plan = choosing.plan(20_000, recipe=None)
    assert (plan.config.recipe, plan.initial) == ("small", None)
    assert plan.config.training.initial_model is None
    assert any("random weights; english does not suit" in note for note in choosing.notes)


@pytest.mark.parametrize(
    ("overrides", "options"),
    [((), {"is_random": True}), ((), {"recipe": "small"}), (("model.units=192",), {})],
    ids=["random weights", "named recipe", "shape of the network"],
)
def test_a_user_who_chooses_gets_random_weights(
    overrides: tuple[str, ...], options: dict[str, Any], choosing: Choosing, plays: str
) -> None:
    plan = choosing.plan(20_000, *overrides, text=plays, **{"recipe": None, **options})
    assert (plan.config.recipe, plan.initial, plan.beginning) == ("small", None, "")


# The engine


WEIGHTS = (3 * 2 + 2 * 2 + 2) + (2 * 3 + 3)
"""Weights of a network of two units over three ids."""


@pytest.mark.parametrize(("optimizer", "numbers"), [("adam", 4), ("adamw", 4), ("sgd", 2)])
def test_a_network_must_fit_into_the_memory(
    optimizer: str, numbers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path, "abc" * 20)
    training = {"epochs": 1, "optimizer": {"name": optimizer}}
    config = Config.model_validate({"model": {"layers": 1, "units": 2}, "training": training})
    available = iter([4 * numbers * WEIGHTS, 4 * numbers * WEIGHTS - 1])
    monkeypatch.setattr("charlm.runs.choosing.memory_bytes", lambda: next(available))
    new_engine(config, corpus, FakeEngines())
    message = f"^model: {WEIGHTS} weights; training them with {optimizer} needs"
    with pytest.raises(CharlmError, match=message):
        new_engine(config, corpus, FakeEngines())
