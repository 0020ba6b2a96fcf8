"""A search with the fake engine: results, end, continuation, and the file of its space."""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from fake_engine import FakeEngines, Faults, interrupt_after
from fake_runs import TEXT, Clock, Kind, timed_steps
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from charlm.cli.progress import describe
from charlm.config.file import load_config
from charlm.config.recipes import find_recipe
from charlm.errors import CharlmError
from charlm.events import Event, TrialEnded, TrialStarted
from charlm.runs.run import open_run
from charlm.runs.summary import summarize
from charlm.storage import only_writer
from charlm.training.session import Session, Stopped, stop_on_signal
from charlm.tuning.journal import Journal
from charlm.tuning.search import SearchResult, search, tune
from charlm.tuning.space import Space, load_space

SPACE = """
recipe: tiny
fixed: {model.units: 8, training.batch_size: 4, training.sequence_length: 4, training.parts: 2}
search:
  training.optimizer.learning_rate: {float: [1e-4, 1e-1], log: true}
"""
TRIAL_SECONDS = 26.0
"""The time limit of a trial; 3% of it are not planned for."""
TRIAL_STEPS = 48
"""The steps of half a second that fit, after two steps that are timed."""
"""Seconds by which the clock advances each time it is read: too few to change the steps."""


@dataclass
class SearchFolder:
    """A folder with a space and a text, in which searches run one after the other."""

    folder: Path
    space: str = SPACE
    text: str = TEXT
    clock: Clock = field(default_factory=Clock)
    name: str = "out"
    events: list[Event] = field(default_factory=list)

    @property
    def said(self) -> list[str]:
        """The lines that the user was told."""
        return [line for event in self.events for line in describe(event)]

    def of_type(self, kind: type[Kind]) -> list[Kind]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def out(self) -> Path:
        """The folder of the search."""
        return self.folder / self.name

    def run(self, faults: Faults | None = None, **options: Any) -> SearchResult:
        """Search; each step takes half a second."""
        path, source = self.folder / "space.yaml", self.folder / "text.txt"
        path.write_text(self.space, encoding="utf-8")
        source.write_text(self.text, encoding="utf-8")
        options = {"seconds": 1000.0, "trial_seconds": TRIAL_SECONDS, **options}
        wrong = faults or Faults()
        timed = timed_steps(self.clock, lambda _step: 0.5)

        def after_call(step: int) -> None:
            """Set the clock forward, and do what the faults do."""
            timed.after_call(step)
            wrong.after_call(step)

        engines = FakeEngines(replace(wrong, after_call=after_call, is_slow=True))
        session = Session(self.events.append, clock=self.clock)
        with stop_on_signal(session.interruption):
            return search(load_space(path), source, self.out, engines, session, **options)


RATE = "training.optimizer.learning_rate"
THREE_RATES = SPACE.replace("{float: [1e-4, 1e-1], log: true}", "{categorical: [1e-3, 2e-3, 4e-3]}")


@pytest.fixture
def searching(tmp_path: Path) -> SearchFolder:
    return SearchFolder(tmp_path)


def states(result: SearchResult) -> list[str]:
    return [trial.state.name for trial in result.study.trials]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchFolder, SearchResult]:
    """Search in two dimensions with four trials; tests only read the result."""
    searching = SearchFolder(tmp_path_factory.mktemp("searched"))
    searching.space = SPACE + "  model.layers: {int: [1, 3]}\n"
    return searching, searching.run(trials=4)


Searched = tuple[SearchFolder, SearchResult]


def test_every_trial_is_complete(searched: Searched) -> None:
    assert states(searched[1]) == ["COMPLETE"] * 4


def test_the_first_trial_is_the_recipe(searched: Searched) -> None:
    assert searched[1].study.trials[0].params == {RATE: 2e-3, "model.layers": 1}


def test_the_end_of_each_trial_is_reported(searched: Searched) -> None:
    searching, result = searched
    first = result.study.trials[0]
    assert searching.said[:5] == [
        "recipe tiny; 26 s per trial, time for 38 trials",
        "trial 0: learning_rate 0.002, layers 1",
        "trial 0: 48 steps will teach the network little; allow more time with",
        "  --trial-minutes",
        f"trial 0: {first.value:.4f} nats per character; best {first.value:.4f} (trial 0)",
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_trial_is_a_run_with_its_values(searched: Searched, number: int) -> None:
    searching, result = searched
    trial = result.study.trials[number]
    summary = summarize(searching.out / f"trial-{number:04}")
    assert summary.nats_per_char == trial.value
    assert summary.settings[RATE] == trial.params[RATE]


@pytest.mark.parametrize("number", range(4))
def test_every_trial_has_the_same_length(searched: Searched, number: int) -> None:
    settings = summarize(searched[0].out / f"trial-{number:04}").settings
    assert (settings["training.steps"], settings["training.evaluations"]) == (TRIAL_STEPS, 10)


def test_the_best_recipe_starts_with_its_trial(searched: Searched) -> None:
    _, result = searched
    best = min(result.study.trials, key=lambda trial: trial.value or 9)
    head = result.best.read_text(encoding="utf-8").splitlines()
    assert head[0].startswith(
        f"# Trial {best.number} of 4 of a search: {best.value:.4f} nats per character"
    )


def test_a_search_returns_its_text(searched: Searched) -> None:
    searching, result = searched
    assert result.sources == (str(searching.folder / "text.txt"),)


def test_the_best_recipe_has_the_settings_of_the_best_trial(searched: Searched) -> None:
    searching, result = searched
    best = min(result.study.trials, key=lambda trial: trial.value or 9)
    found = load_config(result.best)
    trained = load_config(searching.out / f"trial-{best.number:04}" / "config.yaml")
    assert (found.model, found.training, found.corpus) == (
        trained.model,
        trained.training,
        trained.corpus,
    )
    assert found.sampling.length > trained.sampling.length == 0


def test_the_default_recipe_of_a_search_depends_on_the_text(
    searching: SearchFolder,
) -> None:
    searching.space = SPACE.replace("recipe: tiny", "")
    searching.run(trials=1)
    recipe = searching.said[0].removeprefix("recipe ").partition(";")[0]
    assert recipe in {"small", "quick"}


def test_a_hopeless_trial_is_pruned_after_four_trials_and_three_evaluations(
    searching: SearchFolder,
) -> None:
    """The last two trials have worse weights than the others."""

    def weights(_step: int) -> float:
        return -9.0 if len(searching.of_type(TrialStarted)) > 3 else 1.0

    result = searching.run(Faults(weights=weights), trials=5)
    assert states(result) == [*4 * ["COMPLETE"], "PRUNED"]
    assert [len(trial.intermediate_values) for trial in result.study.trials] == [10, 10, 10, 10, 3]
    best = result.study.best_trial
    assert searching.of_type(TrialEnded)[-1] == TrialEnded(4, None, best.value or 0, best.number)


def test_the_times_of_a_search_are_given_in_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    called = create_autospec(search)
    monkeypatch.setattr("charlm.tuning.search.search", called)
    tune("space", "t.txt", minutes=2, trial_minutes=0.5, trials=3)
    space, text, folder, *_ = called.call_args.args
    assert (space.path.name, text, folder) == ("space.yaml", "t.txt", Path("runs/tune-space"))
    assert called.call_args.kwargs == {"seconds": 120, "trial_seconds": 30, "trials": 3}


def test_a_trial_that_does_not_fit_is_not_started(searching: SearchFolder) -> None:
    assert states(searching.run(seconds=TRIAL_SECONDS + 4)) == ["COMPLETE"]


def test_a_search_continues_after_a_signal(
    searching: SearchFolder,
) -> None:
    with pytest.raises(Stopped):
        searching.run(faults=interrupt_after(20))
    assert states(searching.run(trials=3)) == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_continued_search_draws_new_values(searching: SearchFolder) -> None:
    for trials in (2, 3, 4):
        result = searching.run(trials=trials)
    assert len({trial.params[RATE] for trial in result.study.trials}) == 4


def test_a_trial_that_fails_does_not_end_the_search(searching: SearchFolder) -> None:
    searching.space = THREE_RATES
    result = searching.run(
        faults=Faults(loss=lambda _step, rate: float("nan") if rate > 3e-3 else None), trials=6
    )
    failed = result.study.get_trials(states=(TrialState.FAIL,))
    assert {trial.params[RATE] for trial in failed} == {4e-3}
    assert any(
        line.startswith(f"trial {failed[0].number}: failed: the loss is nan")
        for line in searching.said
    )


def test_a_search_ends_if_every_trial_fails(searching: SearchFolder) -> None:
    with pytest.raises(CharlmError, match="the last 3 trials failed"):
        searching.run(faults=Faults(loss=lambda _step, _rate: float("nan")))


def test_a_continued_search_keeps_the_length_of_its_trials(searching: SearchFolder) -> None:
    searching.run(trials=1)
    searching.run(trials=2, trial_seconds=None)
    assert summarize(searching.out / "trial-0001").settings["training.steps"] == TRIAL_STEPS


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        pytest.param(
            {"space": SPACE.replace("1e-1", "5e-2")},
            {},
            "out: contains a search with a different search; choose another folder",
            id="range",
        ),
        pytest.param(
            {"space": SPACE.replace("units: 8", "units: 9")},
            {},
            "out: contains a search with a different recipe; choose",
            id="recipe",
        ),
        pytest.param(
            {},
            {"trial_seconds": 60.0},
            "contains a search with a different length of trials",
            id="length",
        ),
        pytest.param(
            {},
            {"seconds": 26.0, "trial_seconds": None},
            r"minutes: found 0\.433333; must be more than 0\.433333",
            id="time",
        ),
    ],
)
def test_a_different_search_is_refused(
    fields: dict[str, Any], options: dict[str, Any], message: str, searching: SearchFolder
) -> None:
    searching.run(trials=1)
    with pytest.raises(CharlmError, match=message):
        SearchFolder(searching.folder, **fields).run(trials=3, **options)
    assert len(searching.run(trials=1).study.trials) == 1


def test_a_text_that_has_changed_is_refused(searching: SearchFolder) -> None:
    searching.run(trials=1)
    changed = SearchFolder(searching.folder, text=TEXT.replace("a", "b"))
    with pytest.raises(CharlmError, match="out: began with a different text than"):
        changed.run(trials=2)


def test_a_search_whose_folder_was_moved_continues(searching: SearchFolder) -> None:
    searching.run(trials=1)
    searching.out.rename(searching.folder / "moved")
    searching.name = "moved"
    assert len(searching.run(trials=2).study.trials) == 2
    for number in range(2):
        assert len(open_run(searching.out / f"trial-{number:04}").corpus.ids) > 0


def test_a_search_continues_without_the_run_of_its_best_trial(searching: SearchFolder) -> None:
    first = searching.run(trials=1)
    best = first.best.read_bytes()
    shutil.rmtree(searching.out / "trial-0000")
    assert len(searching.run(trials=1).study.trials) == 1
    assert first.best.read_bytes() == best


@pytest.mark.slow
def test_a_folder_in_which_another_process_searches_is_refused(searching: SearchFolder) -> None:
    searching.run(trials=1)
    with (
        only_writer(searching.out),
        pytest.raises(CharlmError, match=r"out: process .* wait for it"),
    ):
        searching.run(trials=3)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        pytest.param(50.0, "25 s per trial, time for 2 trials", id="half of a short search"),
        pytest.param(599.0, "30 s per trial, time for 19 trials", id="half a minute"),
        pytest.param(2000.0, "100 s per trial, time for 20 trials", id="a twentieth"),
    ],
)
def test_a_new_search_has_twenty_trials_of_half_a_minute_or_more(
    seconds: float, shown: str, searching: SearchFolder
) -> None:
    with pytest.raises(CharlmError, match="no trial is complete"):
        searching.run(trials=0, seconds=seconds, trial_seconds=None)
    assert f"recipe tiny; {shown}" in searching.said


def test_a_folder_with_other_files_is_refused(searching: SearchFolder) -> None:
    searching.out.mkdir()
    (searching.out / "letter.txt").touch()
    with pytest.raises(CharlmError, match="out: not empty, and not the folder of a search"):
        searching.run()


def test_a_damaged_journal_is_refused(searching: SearchFolder) -> None:
    searching.out.mkdir()
    (searching.out / "study.journal").write_bytes(b"half a rec\n{}\n")
    with pytest.raises(CharlmError, match=r"study\.journal: damaged: "):
        searching.run()


# Processes that are killed, and full disks


def check_is_best(result: SearchResult) -> None:
    """Check that best.yaml is the config of the trial with the lowest loss."""
    complete = [trial for trial in result.study.trials if trial.state == TrialState.COMPLETE]
    best = min(complete, key=lambda trial: trial.value or 9)
    trained = load_config(result.folder / f"trial-{best.number:04}" / "config.yaml")
    found = load_config(result.best)
    assert (found.model, found.training, found.corpus) == (
        trained.model,
        trained.training,
        trained.corpus,
    )


@dataclass
class Killed:
    """The folder of a search as a process that is killed leaves it, at many moments."""

    searching: SearchFolder
    snapshots: list[Path]

    def at(self, moment: int) -> SearchFolder:
        """Return the search as it was left at a moment; negative ones count from the last."""
        searching = SearchFolder(self.searching.folder, name=f"killed-{moment}")
        shutil.rmtree(searching.out, ignore_errors=True)
        shutil.copytree(self.snapshots[moment], searching.out)
        return searching


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Search with two trials, and copy the folder in the middle and at the end of each record."""
    folder = tmp_path_factory.mktemp("killed")
    found = Killed(SearchFolder(folder), [])
    append = Journal.append_logs

    def append_slowly(journal: Journal, logs: list[dict[str, Any]]) -> None:
        """Append records, and copy the folder in the middle and at the end."""
        middle, end = (folder / f"moment-{len(found.snapshots) + index}" for index in (0, 1))
        shutil.copytree(found.searching.out, middle)
        with (middle / "study.journal").open("ab") as file:
            file.write(b'{"op_code":')
        append(journal, logs)
        shutil.copytree(found.searching.out, end)
        found.snapshots += [middle, end]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "append_logs", append_slowly)
        found.searching.run(trials=2)
    return found


@pytest.mark.parametrize(
    "percent",
    [
        50,
        *(
            pytest.param(percent, marks=pytest.mark.slow)
            for percent in range(0, 101, 4)
            if percent != 50
        ),
    ],
)
def test_a_search_continues_after_a_kill_in_a_record_of_its_journal(
    percent: int, killed: Killed
) -> None:
    moment = round(percent / 100 * (len(killed.snapshots) - 1))
    result = killed.at(moment).run(trials=2)
    assert sorted(states(result)) in (["COMPLETE", "COMPLETE"], ["COMPLETE", "FAIL"])
    check_is_best(result)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(-2, id="in the last result", marks=pytest.mark.slow),
        pytest.param(-1, id="after it"),
    ],
)
def test_the_best_recipe_is_written_after_a_kill_without_another_trial(
    moment: int, killed: Killed
) -> None:
    searching = killed.at(moment)
    (searching.out / "best.yaml").unlink()
    check_is_best(searching.run(trials=0))


def test_the_best_recipe_of_an_older_trial_is_replaced_without_another_trial(
    searching: SearchFolder,
) -> None:
    best = searching.run(trials=2).best
    expected = best.read_bytes()
    best.write_text("recipe: tiny", encoding="utf-8")
    searching.run(trials=0)
    assert best.read_bytes() == expected


def test_a_search_without_a_complete_trial_has_no_best_recipe(searching: SearchFolder) -> None:
    with pytest.raises(CharlmError, match="the last 3 trials failed"):
        searching.run(faults=Faults(loss=lambda _step, _rate: float("nan")))
    (searching.out / "best.yaml").touch()
    with pytest.raises(
        CharlmError, match="out: no trial is complete; repeat the search to continue it"
    ):
        searching.run(trials=0)


@pytest.mark.parametrize(
    "syncs", [3, *(pytest.param(syncs, marks=pytest.mark.slow) for syncs in [0, *range(4, 16)])]
)
def test_a_search_continues_after_a_full_disk(
    syncs: int, searching: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after the journal was synced some times."""
    journal, fsync, left = searching.out / "study.journal", os.fsync, [syncs]

    def full(descriptor: int) -> None:
        """Sync a file."""
        if journal.exists() and os.path.samestat(os.fstat(descriptor), journal.stat()):
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            CharlmError, match=r"study\.journal: cannot be written: No space left on device"
        ):
            searching.run()
    result = searching.run(trials=2)
    assert states(result)[-1] == "COMPLETE"
    check_is_best(result)


def test_a_lock_file_of_optuna_is_not_waited_for(
    searching: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's own journal would wait forever: the link of a relative path leads nowhere."""
    monkeypatch.chdir(searching.folder)
    relative = SearchFolder(Path())
    relative.run(trials=1)
    Path("out/study.journal.lock").symlink_to("out/study.journal")
    assert states(relative.run(trials=2)) == ["COMPLETE", "COMPLETE"]


def test_a_search_that_was_killed_early_starts_again(
    searching: SearchFolder,
) -> None:
    searching.out.mkdir()
    for name in (".lock", ".12.corpus.tmp"):
        (searching.out / name).touch()
    assert states(searching.run(trials=1)) == ["COMPLETE"]
    assert not (searching.out / ".12.corpus.tmp").exists()


# The space


def load(text: str) -> Space:
    """Load a text as a space."""
    Path("space.yaml").write_text(text, encoding="utf-8")
    return load_space(Path("space.yaml"))


def test_each_kind_of_range_is_read() -> None:
    space = load(f"""
        recipe: tiny
        fixed: {{model.layers: 2, model.rnn: {{use_bias: false}}}}
        search:
          model.units: {{int: [8, 32], step: 8}}
          {RATE}: {{float: [1e-3, 1], log: true}}
          model.embedding: {{categorical: [null, 8]}}
        """)
    assert space.search == {
        "model.units": IntDistribution(8, 32, step=8),
        RATE: FloatDistribution(1e-3, 1, log=True),
        "model.embedding": CategoricalDistribution([None, 8]),
    }
    config = space.config({"model.units": 24})
    assert (config.model.layers, config.model.units, config.model.rnn.use_bias) == (2, 24, False)
    assert config.training.batch_size == 8


def test_a_recipe_file_is_found_next_to_the_space() -> None:
    Path("other").mkdir()
    Path("other/mine.yaml").write_text("model: {units: 7}\ntraining: {epochs: 1}", encoding="utf-8")
    Path("other/space.yaml").write_text(
        "recipe: mine.yaml\nsearch: {model.layers: {int: [1, 2]}}", encoding="utf-8"
    )
    assert load_space(Path("other/space.yaml")).config().model.units == 7


UNITS = "{model.units: {int: [8, 16]}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "search: is missing"),
        ("search: {}", "search: found {}; must have at least 1 item"),
        (
            f"serch: 1\nsearch: {UNITS}",
            "serch: found 1; there is no such key; did you mean search?",
        ),
        (f"recipe: tiyn\nsearch: {UNITS}", "did you mean tiny?"),
        (
            f"fixed: {{model.layer: 2}}\nsearch: {UNITS}",
            "fixed: model.layer: found 2; there is no such key",
        ),
        (f"fixed: {{model.units: 8}}\nsearch: {UNITS}", "model.units: is in both fixed and search"),
        (
            "search: {model.unit: {int: [8, 16]}}",
            "search: model.unit: found 8; there is no such key",
        ),
        (
            "search: {training.optimizer: {categorical: [adam]}}",
            "training.optimizer: found 'adam'; must be a mapping of keys to values; did you mean "
            "training.optimizer.name?",
        ),
        (
            "search: {model.units: [8, 16]}",
            "search: model.units: found [8, 16]; must be {int: [low, high]}",
        ),
        (
            "search: {model.units: {int: [8, 16], float: [8, 16]}}",
            "search: model.units: float: there is no such option",
        ),
        (
            "search: {model.units: {int: [8, 16, 32]}}",
            "found {'int': [8, 16, 32]}; must be {int: [low, high]}",
        ),
        ("search: {model.units: {int: [16, 8]}}", "found {'int': [16, 8]}; "),
        ("search: {model.units: {int: [0, 16]}}", "search: model.units: found 0"),
        ("search: {model.units: {categorical: [8, wide]}}", "search: model.units: found 'wide'"),
        (
            "search: {model.layer_dropout: {float: [0, 1.5]}}",
            "search: model.layer_dropout: found 1.5",
        ),
        (f"search: {{{RATE}: {{float: [0, 1], log: true}}}}", f"{RATE}: found {{"),
        (
            f"fixed: {{training: {{steps: 5}}}}\nsearch: {UNITS}",
            "fixed: training.steps: a trial has a time limit",
        ),
        ("search: {seed: {int: [1, 9]}}", "seed: the best seed is luck"),
        ("search: {sampling.top_k: {int: [1, 9]}}", "sampling.top_k: it does not change the loss"),
        ("search: {training.steps: {int: [1, 9]}}", "training.steps: a trial has a time limit"),
    ],
    ids=lambda text: text[:40],
)
def test_an_error_in_a_space_is_reported_in_one_line(text: str, message: str) -> None:
    with pytest.raises(CharlmError) as caught:
        load(text)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
    assert ".yaml" in str(caught.value) or "no such recipe" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        pytest.param(
            "search: {model.units: 3, model.layers: {int: 3}, model.embedding: {int: [1, 2]}}",
            ["model.units", "model.layers"],
            id="ranges",
        ),
        pytest.param(
            f"fixed: {{training: {{steps: 5}}}}\nsearch: {{seed: {{int: [1, 2]}}, {UNITS[1:-1]}}}",
            ["training.steps", "seed"],
            id="keys",
        ),
        pytest.param(
            "search: {model.unit: {int: [1, 2]}, model.units: {int: [0, 2]}, "
            "model.layers: {int: [1, 2]}}",
            ["model.unit", "model.units"],
            id="ends",
        ),
        pytest.param(
            f"fixed: {{model.layer: 2, sed: 1}}\nsearch: {UNITS}",
            ["model.layer", "sed"],
            id="fixed values",
        ),
        pytest.param(
            "search: {model.units: 3, seed: {int: [1, 2]}, model.layers: {int: [0, 2]}}",
            ["model.units", "seed", "model.layers"],
            id="a range, a key and an end",
        ),
        pytest.param(
            "fixed: {training.steps: 5, model.layer: 2}\nsearch: {model.units: 3}",
            ["model.units", "training.steps", "model.layer"],
            id="a range, a key and a fixed value",
        ),
    ],
)
def test_all_errors_in_a_space_are_reported(text: str, keys: list[str]) -> None:
    with pytest.raises(CharlmError) as caught:
        load(text)
    first, *problems = caught.value.lines
    assert first == f"space.yaml: {len(keys)} errors"
    assert [problem.split(": ")[1] for problem in problems] == keys


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param(
            "{float: [0, 1], step: 1e-320}",
            "the step is too small for the range",
            id="too many steps",
        ),
        pytest.param(
            "{float: [0, 1], step: 0.3}",
            "the range is not divisible by `step`",
            id="step that does not reach the end",
        ),
        pytest.param(
            "{float: [0, 1], step: 0}", "step: found 0; must be a number, above 0", id="no step"
        ),
        pytest.param(
            "{int: [1, 4], step: 1e-320}",
            "step: found 1e-320; must be a whole number",
            id="tiny whole step",
        ),
        pytest.param(
            "{int: [1, 4], step: 1.5}",
            "step: found 1.5; must be a whole number",
            id="fraction as whole step",
        ),
        pytest.param(
            "{int: [1, 4], step: null}",
            "step: found None; must be a whole number",
            id="null as step",
        ),
        pytest.param(
            "{int: [1, 4], log: maybe}",
            "log: found 'maybe'; must be True or False",
            id="text as flag",
        ),
        pytest.param(
            "{int: [1, 4], name: x}",
            "name: there is no such option; a range may have step",
            id="option",
        ),
        pytest.param("{int: [true, 4]}", "must be {int: [low, high]}", id="flag as end"),
        pytest.param("{float: [a, 4]}", "must be {int: [low, high]}", id="text as end"),
        pytest.param(
            "{categorical: [1], step: 1}", "must be {int: [low, high]}", id="step of a list"
        ),
    ],
)
def test_a_range_that_optuna_would_misread_is_refused(values: str, problem: str) -> None:
    with pytest.raises(CharlmError) as caught:
        load(f"search: {{model.units: {values}}}")
    assert str(caught.value).startswith("space.yaml: search: model.units: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "name", ['"a\\0.yaml"', "x" * 300, '""'], ids=["zero", "long name", "empty name"]
)
def test_a_recipe_that_cannot_be_a_file_is_refused(name: str) -> None:
    with pytest.raises(CharlmError, match=r"^space\.yaml: recipe: "):
        load(f"recipe: {name}\nsearch: {UNITS}")


def test_the_recipe_is_read_once() -> None:
    Path("mine.yaml").write_text("model: {units: 7}\ntraining: {epochs: 1}", encoding="utf-8")
    space = load(f"recipe: mine.yaml\nsearch: {UNITS}")
    Path("mine.yaml").unlink()
    assert space.config({"model.layers": 2}).model.units == 7


@given(st.text(alphabet="{}[]:, \n-abint1.5e", max_size=60))
def test_any_text_is_a_space_or_refused(text: str) -> None:
    with contextlib.suppress(CharlmError):
        assert load(f"search: {text}").search


def test_the_default_space_contains_its_recipe() -> None:
    space = load_space(find_recipe("space"))
    assert len(space.search) == len(space.values()) >= 5


LAYERS = load_config(find_recipe("default")).model.layers


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param(LAYERS, 64, {"model.layers": LAYERS}, id="lower end"),
        pytest.param(1, LAYERS, {"model.layers": LAYERS}, id="upper end"),
        pytest.param(LAYERS + 1, 64, {}, id="below the range"),
        pytest.param(1, LAYERS - 1, {}, id="above the range"),
    ],
)
def test_a_search_starts_with_the_values_of_the_recipe(
    first: int, last: int, expected: dict[str, int]
) -> None:
    model = load_config(find_recipe("default")).model
    layers = f"model.layers: {{int: [{first}, {last}]}}"
    units = f"model.units: {{categorical: [8, {model.units}]}}"
    space = load(f"fixed: {{model: {{output_dropout: 0.5}}}}\nsearch: {{{layers}, {units}}}")
    assert space.values() == {"model.units": model.units, **expected}
    assert space.config().model == model.model_copy(update={"output_dropout": 0.5})
