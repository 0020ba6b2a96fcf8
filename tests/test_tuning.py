"""A search whose trials are not really trained: its trials, end, continuation, and its space."""

import contextlib
import os
import signal as signals
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

import optuna
from hypothesis import given
from hypothesis import strategies as st
from limits import file_size_limit

from charlm import tuning
from charlm.config.file import flatten, load_config
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.events import Evaluated, Event, Note
from charlm.runs.run import Outcome
from charlm.training.session import Stopped
from charlm.tuning import SearchResult, Space, load_space, tune

RATE, LAYERS = "training.optimizer.learning_rate", "model.layers"
SPACE = f"""
recipe: tiny
fixed: {{model.units: 8}}
search:
  {RATE}: {{float: [1e-2, 1e-1], log: true}}
  {LAYERS}: {{int: [1, 3]}}
"""
RECIPE = {RATE: 2e-3, LAYERS: 1}
"""The values of the recipe; its rate is outside of the range."""
STEPS = 100


def loss_of(number: int, settings: dict[str, Any]) -> float:
    """Return the loss of a trial: trial 2 is the best."""
    return 1.0 + abs(number - 2) / 4


@dataclass
class Search:
    """Searches in one folder, one after the other, and the trials that they train."""

    folder: Path
    loss: Callable[[int, dict[str, Any]], float] = loss_of
    trained: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    signal: signals.Signals | None = None

    def run(self, *, space: str = SPACE, text: str = "abba\n" * 99, **options: Any) -> SearchResult:
        """Search."""
        path, source = self.folder / "space.yaml", self.folder / "text.txt"
        path.write_text(space, encoding="utf-8")
        source.write_text(text, encoding="utf-8")
        options = {"minutes": 9, "trial_minutes": 1, **options}
        return tune(path, source, out=self.out, on_event=self.keep, **options)

    @property
    def out(self) -> Path:
        """The folder of the search."""
        return self.folder / "out"

    def keep(self, event: Event) -> None:
        """Keep the message of a note."""
        if isinstance(event, Note):
            self.notes.append(event.message)

    def train(self, text: Path, **options: Any) -> Outcome:
        """Report ten evaluations, as `charlm.train` does."""
        settings = flatten(
            load_config(find_recipe(options["recipe"]), overrides=options["overrides"])
        )
        run: Path = options["run"]
        self.trained.append({"text": text, "settings": settings, **options})
        nats = self.loss(int(run.name.removeprefix("trial-")), settings)
        for step in (*range(10, STEPS, 10), 91):  # a time limit ends it early
            options["on_event"](Evaluated(step, STEPS, nats, nats, True, "", 0.0))
        return Outcome(run, "", STEPS, {"nats_per_char": nats}, signal=self.signal)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Return a caller in a folder whose name would have a meaning in a URL."""
    found = Search(tmp_path / "a {b} 100%?#")
    found.folder.mkdir()
    monkeypatch.setattr(tuning, "train", found.train)
    return found


SixTrials = tuple[Search, SearchResult]


@pytest.fixture(scope="module")
def six_trials(tmp_path_factory: pytest.TempPathFactory) -> SixTrials:
    """Search six trials once, for tests that only read them."""
    search = Search(tmp_path_factory.mktemp("search"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "train", search.train)
        return search, search.run(trials=6)


def states(result: SearchResult) -> list[str]:
    return [trial.state.name for trial in result.study.trials]


# Trials


def test_the_first_trial_is_the_recipe_even_outside_the_ranges(
    six_trials: SixTrials,
) -> None:
    search, result = six_trials
    first, *others = (trained["settings"] for trained in search.trained)
    assert {key: first[key] for key in RECIPE} == result.study.trials[0].params == RECIPE
    assert all(settings[RATE] >= 1e-2 for settings in others)


def test_a_trial_is_trained_with_its_values(six_trials: SixTrials) -> None:
    search, result = six_trials
    settings = search.trained[2]["settings"]
    assert {key: settings[key] for key in RECIPE} == result.study.trials[2].params
    assert settings["model.units"] == 8


def test_a_trial_has_a_folder_a_time_limit_and_the_common_text(
    six_trials: SixTrials,
) -> None:
    search, _ = six_trials
    trained = search.trained[1]
    assert (trained["run"], trained["minutes"]) == (search.out / "trial-0001", 1)
    assert trained["text"] == search.out / "corpus"
    assert trained["settings"]["training.evaluations"] == 10


def test_each_trial_is_reported(six_trials: SixTrials) -> None:
    search, _ = six_trials
    assert search.notes[:2] == [
        "trial 0: learning_rate 0.002, layers 1",
        "trial 0: 1.5000 nats per character after 100 steps",
    ]
    assert search.notes[-1] == "trial 5: pruned"


def test_the_best_recipe_has_the_settings_and_steps_of_the_best_trial(
    six_trials: SixTrials,
) -> None:
    _, result = six_trials
    best = result.study.trials[2]
    values = {"model.units": 8, **best.params, "training.steps": STEPS}
    assert load_config(result.best) == load_config(find_recipe("tiny"), overrides=values)


def test_a_poor_trial_is_pruned_after_four_trials_and_three_evaluations(
    six_trials: SixTrials,
) -> None:
    _, result = six_trials
    evaluations = [len(trial.intermediate_values) for trial in result.study.trials]
    assert evaluations == [10, 10, 10, 10, 3, 3]


def test_a_trial_that_does_not_fit_is_not_started(search: Search) -> None:
    with pytest.raises(CharlmError, match="no trial is complete"):
        search.run(minutes=1.0001, trial_minutes=1)
    assert not search.trained


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        pytest.param(0.8, 0.4, id="half of the search"),
        pytest.param(9.9, 0.5, id="half a minute"),
        pytest.param(20.0, 1.0, id="a twentieth"),
    ],
)
def test_a_new_search_has_time_for_twenty_trials(
    minutes: float, expected: float, search: Search
) -> None:
    search.run(minutes=minutes, trial_minutes=None, trials=1)
    assert search.trained[0]["minutes"] == expected


@pytest.mark.parametrize("trial_minutes", [0, 9.1, float("nan")])
def test_a_trial_must_not_be_longer_than_the_search(trial_minutes: float, search: Search) -> None:
    with pytest.raises(
        CharlmError, match=r"^trial_minutes: found .*; must be above 0 and at most 9$"
    ):
        search.run(trial_minutes=trial_minutes)


# Failures and interruptions


def fail_twice(number: int, settings: dict[str, Any]) -> float:
    """Return a loss that trials 1, 2 and all from trial 4 on do not reach."""
    if number in {1, 2} or number > 3:
        raise CharlmError("the loss is nan")
    return 1.0


def test_only_three_failures_in_a_row_end_a_search(search: Search) -> None:
    search.loss = fail_twice
    with pytest.raises(CharlmError, match=r"out: 3 trials in a row failed$"):
        search.run()
    assert len(search.trained) == 7
    assert "trial 1: failed: the loss is nan" in search.notes


def test_a_signal_ends_a_search(search: Search) -> None:
    search.signal = signals.SIGTERM
    with pytest.raises(Stopped):
        search.run()
    search.signal = None
    assert states(search.run(trials=2)) == ["FAIL", "COMPLETE"]


def test_a_continued_search_draws_new_values(search: Search) -> None:
    for trials in (2, 4):
        result = search.run(trials=trials, trial_minutes=None)
    assert len({trial.params[RATE] for trial in result.study.trials}) == 4
    assert {trained["minutes"] for trained in search.trained} == {0.5}


def kill_from_trial_1(number: int, settings: dict[str, Any]) -> float:
    """Kill the process in the second trial."""
    if number == 1:
        os.kill(os.getpid(), signals.SIGKILL)
    return 1.5


def test_a_killed_search_continues(search: Search) -> None:
    if os.fork() == 0:
        search.loss = kill_from_trial_1
        with contextlib.suppress(Exception):  # the child must not go on with the tests
            search.run()
        os._exit(1)
    os.wait()
    result = search.run(trials=3)
    assert states(result) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert result.study.trials[0].value == 1.5


@pytest.mark.slow
def test_a_search_continues_after_a_full_disk(search: Search) -> None:
    search.loss = lambda _number, _settings: 1.0
    search.run(trials=1)
    size = (search.out / "study.db").stat().st_size
    with file_size_limit(size), pytest.raises(CharlmError, match=r"^[^\n]*study\.db: .*disk"):
        search.run()
    assert states(search.run(trials=len(search.trained) + 2))[-1] == "COMPLETE"


def test_the_best_recipe_follows_from_the_study(search: Search) -> None:
    result = search.run(trials=1)
    best = result.best.read_bytes()
    result.best.unlink()
    assert search.run(trials=1).best.read_bytes() == best


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"space": SPACE.replace("1e-1", "5e-2")}, id="range"),
        pytest.param({"space": SPACE.replace("units: 8", "units: 9")}, id="fixed value"),
        pytest.param({"trial_minutes": 2}, id="trial length"),
    ],
)
def test_a_different_search_is_refused(options: dict[str, Any], six_trials: SixTrials) -> None:
    search, _ = six_trials
    with pytest.raises(CharlmError, match="out: has a search with another recipe, space or"):
        search.run(trials=7, **options)


def test_a_text_that_has_changed_is_refused(six_trials: SixTrials) -> None:
    search, _ = six_trials
    with pytest.raises(CharlmError, match="out: began with a different text than"):
        search.run(trials=7, text="baab\n" * 99)


def test_a_damaged_study_is_refused(search: Search) -> None:
    search.out.mkdir()
    (search.out / "study.db").write_bytes(b"no database" * 99)
    with pytest.raises(CharlmError, match=r"study\.db: file is not a database$"):
        search.run()


# The space


def load(text: str) -> Space:
    """Load a text as a space."""
    Path("space.yaml").write_text(text, encoding="utf-8")
    return load_space(Path("space.yaml"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param("{int: [8, 24], step: 8}", {8, 16, 24}, id="whole numbers"),
        pytest.param("{int: [7, 7]}", {7}, id="one number"),
        pytest.param("{categorical: [8, 32]}", {8, 32}, id="list"),
    ],
)
def test_values_are_from_their_range(values: str, expected: set[int]) -> None:
    space = load(f"search: {{model.units: {values}}}")
    study = optuna.create_study()
    assert {space.suggest(study.ask())["model.units"] for _ in range(30)} == expected


UNITS = "{model.units: {int: [8, 16]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"serch: 1\nsearch: {UNITS}", "must have ranges in search"),
        (f"recipe: 5\nsearch: {UNITS}", "must have ranges in search"),
        (f"fixed: {{1: 2}}\nsearch: {UNITS}", "must have ranges in search"),
        (f"recipe: tiyn\nsearch: {UNITS}", "did you mean tiny?"),
        (f'recipe: "a\\0.yaml"\nsearch: {UNITS}', "recipe: found 'a"),
        (
            "search: {model.units: [8, 16]}",
            "model.units: found [8, 16]; must be {int: [low, high]}",
        ),
        ("search: {model.units: {int: [16, 8]}}", "`low <= high` must hold"),
        ("search: {model.units: {int: [8, 16], stp: 2}}", "unexpected keyword argument 'stp'"),
        ("search: {model.units: {categorical: [wide]}}", "model.units: found 'wide'"),
        (f"search: {{{RATE}: {{float: [0, 1], step: 1e-320}}}}", f"{RATE}: found {{"),
        (f"search: {{{RATE}: {{float: [0, 1], log: true}}}}", "`low > 0` must hold"),
        (f"fixed: {{training.steps: 5}}\nsearch: {UNITS}", "training.steps sets the length too"),
    ],
    ids=lambda text: text[:40],
)
def test_an_error_in_a_space_is_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(CharlmError, match=r"^space\.yaml: ") as caught:
        load(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_all_misspelt_keys_are_reported() -> None:
    with pytest.raises(CharlmError) as caught:
        load("fixed: {model.layer: 2}\nsearch: {model.unit: {int: [8, 16]}}")
    assert "did you mean model.layers" in str(caught.value)
    assert "did you mean model.units" in str(caught.value)


@given(st.text(alphabet="{}[]:, \n-abint1.5e", max_size=60))
def test_any_text_is_a_space_or_refused(text: str) -> None:
    with contextlib.suppress(CharlmError):
        assert load(f"search: {text}").search


def test_the_default_space_contains_its_recipe(search: Search) -> None:
    space = find_recipe("space").read_text(encoding="utf-8")
    trials = search.run(space=space, trials=1).study.trials
    assert trials[0].params.keys() == load_space(find_recipe("space")).search.keys()
