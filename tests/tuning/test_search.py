"""A search with the fake engine: what it finds, when it ends, and how it goes on after it was interrupted."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna", reason="missing: optuna")

from fake_engine import Faults, interrupt_after
from optuna.trial import TrialState
from tuning.searches import SPACE, TRIAL_SECONDS, SearchFolder

from charlm.config.file import load_config
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.runs.summary import summarize
from charlm.storage import only_writer
from charlm.training.signals import Stopped
from charlm.training.timing import Costs
from charlm.tuning.search import SearchResult

RATE = "training.optimizer.learning_rate"
THREE_RATES = SPACE.replace("{float: [1e-4, 1e-1], log: true}", "{categorical: [1e-3, 2e-3, 4e-3]}")


@pytest.fixture
def searching(tmp_path: Path) -> SearchFolder:
    return SearchFolder(tmp_path)


def states(result: SearchResult) -> list[str]:
    return [trial.state.name for trial in result.study.trials]


def test_trials_are_runs_of_one_length_the_first_is_the_recipe_the_best_becomes_one(searching: SearchFolder) -> None:
    searching.space = SPACE + "  model.layers: {int: [1, 3]}\n"
    result = searching.run(trials=4)
    trials = result.study.trials
    assert states(result) == ["COMPLETE"] * 4
    assert trials[0].params == {RATE: 2e-3, "model.layers": 1}
    assert searching.said[:3] == [
        "the recipe is tiny; each trial trains for 25 s",
        "trial 0: learning_rate 0.002, layers 1",
        f"trial 0: {trials[0].value:.4f} nats per character; best {trials[0].value:.4f} (trial 0)",
    ]
    for trial in trials:
        summary = summarize(searching.out / f"trial-{trial.number:04}")
        assert (summary.nats_per_char, summary.settings[RATE]) == (trial.value, trial.params[RATE])
        assert (summary.settings["training.steps"], summary.settings["training.evaluations"]) == (50, 10)
    best = min(trials, key=lambda trial: trial.value or 9)
    head = result.best.read_text(encoding="utf-8").splitlines()
    assert head[0] == f"# {result.command}" == f"# charlm train {searching.folder}/text.txt -c {result.best}"
    assert head[1].startswith(f"# Trial {best.number} of 4 of a search: {best.value:.4f} nats per character")
    found, trained = load_config(result.best), load_config(searching.out / f"trial-{best.number:04}" / "config.yaml")
    assert (found.model, found.training, found.corpus) == (trained.model, trained.training, trained.corpus)
    assert found.sampling.length > trained.sampling.length == 0


def test_without_a_recipe_the_space_is_over_the_one_that_suits_the_text(searching: SearchFolder) -> None:
    searching.space = SPACE.replace("recipe: tiny", "")
    searching.run(trials=1)
    assert searching.said[0] == "the recipe is small; each trial trains for 25 s"


def lengths(searching: SearchFolder, trials: int, costs: Callable[[Config], Costs]) -> dict[Any, Any]:
    """Return how many steps each width of a network trains."""
    searching.space = SPACE.replace("model.units: 8, ", "") + "  model.units: {categorical: [4, 16]}\n"
    result = searching.run(trials=trials, costs=costs)
    assert all([*trial.intermediate_values] == [*range(1, 11)] for trial in result.study.trials)
    runs = {trial.params["model.units"]: searching.out / f"trial-{trial.number:04}" for trial in result.study.trials}
    return {units: summarize(run).step for units, run in runs.items()}


@pytest.mark.parametrize(
    ("step", "evaluation", "steps"), [(0.5, 0.0, 50), (0.3, 0.0, 83), (0.5, 1.0, 30), (5.0, 9.0, 10)]
)
def test_steps_and_ten_evaluations_fill_the_time(
    step: float, evaluation: float, steps: int, searching: SearchFolder
) -> None:
    assert {*lengths(searching, 1, lambda _: Costs(step, evaluation, 0.0)).values()} == {steps}


def test_a_slower_network_trains_fewer_steps(searching: SearchFolder) -> None:
    assert lengths(searching, 4, lambda config: Costs(config.model.units / 8, 0.0, 0.0)) == {4: 50, 16: 12}


@pytest.mark.slow
def test_hopeless_trials_end_early_and_are_not_the_best(searching: SearchFolder) -> None:
    result = searching.run(trials=14)
    pruned = result.study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    assert pruned[0].number >= 4
    assert all(3 <= len(trial.intermediate_values) < 10 for trial in pruned)
    assert result.study.best_trial not in pruned
    assert any(line.startswith(f"trial {pruned[0].number}: pruned; best ") for line in searching.said)


def test_a_search_begins_no_trial_that_does_not_fit_into_its_time(searching: SearchFolder) -> None:
    assert states(searching.run(seconds=TRIAL_SECONDS + 0.001)) == ["COMPLETE"]


def test_a_signal_ends_the_search_its_trial_has_failed_and_the_next_search_goes_on(searching: SearchFolder) -> None:
    with pytest.raises(Stopped):
        searching.run(faults=interrupt_after(20))
    assert states(searching.run(trials=3)) == ["FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.slow
def test_a_killed_process_leaves_a_failed_trial_and_the_next_search_goes_on(searching: SearchFolder) -> None:
    kill = (
        "import os, signal; from pathlib import Path; from fake_engine import Faults; "
        "from tuning.searches import SearchFolder; "
        "die = lambda step: os.kill(os.getpid(), signal.SIGKILL) if step >= 20 else None; "
        f"SearchFolder(Path({str(searching.folder)!r})).run(faults=Faults(after_call=die))"
    )
    tests = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", kill], cwd=tests, check=False).returncode == -9
    assert states(searching.run(trials=2)) == ["FAIL", "COMPLETE"]


def test_a_search_that_goes_on_does_not_draw_the_same_values_again(searching: SearchFolder) -> None:
    for trials in (2, 3, 4):
        result = searching.run(trials=trials)
    assert len({trial.params[RATE] for trial in result.study.trials}) == 4


def test_a_trial_that_fails_does_not_end_the_search(searching: SearchFolder) -> None:
    searching.space = THREE_RATES
    result = searching.run(faults=Faults(loss=lambda _step, rate: float("nan") if rate > 3e-3 else None), trials=6)
    failed = result.study.get_trials(states=(TrialState.FAIL,))
    assert {trial.params[RATE] for trial in failed} == {4e-3}
    assert any(line.startswith(f"trial {failed[0].number}: failed: the loss is nan") for line in searching.said)


def test_a_search_ends_if_every_trial_fails(searching: SearchFolder) -> None:
    with pytest.raises(CharlmError, match="the last 3 trials have failed"):
        searching.run(faults=Faults(loss=lambda _step, _rate: float("nan")))


def test_a_search_keeps_its_length_and_what_does_not_fit_it_is_refused(searching: SearchFolder) -> None:
    searching.run(trials=1)
    searching.run(trials=2, trial_seconds=None)
    assert summarize(searching.out / "trial-0001").settings["training.steps"] == 50
    changes: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({"space": SPACE.replace("1e-1", "5e-2")}, {}, "out: holds a search with another search; name another --out"),
        ({"space": SPACE.replace("units: 8", "units: 9")}, {}, "out: holds a search with another recipe; name"),
        ({}, {"trial_seconds": 60.0}, "holds a search with another length of trials"),
        ({}, {"seconds": 25.0, "trial_seconds": None}, r"minutes: found 0\.416667; a trial of .* takes 0\.416667"),
    ]
    for fields, options, message in changes:
        with pytest.raises(CharlmError, match=message):
            SearchFolder(searching.folder, **fields).run(trials=3, **options)
    with only_writer(searching.out), pytest.raises(CharlmError, match=r"out: process .* wait for it"):
        searching.run(trials=3)
    assert len(searching.run(trials=2).study.trials) == 2


def test_a_new_search_has_twenty_trials_of_half_a_minute_and_more(tmp_path: Path) -> None:
    for seconds, length in ((50.0, 25), (600.0, 30), (601.0, 30.05), (2000.0, 100)):
        searching = SearchFolder(tmp_path / str(seconds))
        searching.folder.mkdir()
        searching.run(trials=1, seconds=seconds, trial_seconds=None, costs=lambda _: Costs(0.05, 0.0, 0.0))
        assert summarize(searching.out / "trial-0000").settings["training.steps"] == int(length / 0.05)


def test_a_folder_with_something_else_and_a_damaged_journal_are_refused(searching: SearchFolder) -> None:
    searching.out.mkdir()
    (searching.out / "letter.txt").touch()
    with pytest.raises(CharlmError, match="out: is not empty, and not the folder of a search"):
        searching.run()
    (searching.out / "study.journal").write_bytes(b"half a rec\n{}\n")
    with pytest.raises(CharlmError, match=r"study\.journal: damaged: "):
        searching.run()
