"""A search with the fake engine: what it finds, when it ends, and how it goes on after it was interrupted."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import ticking
from tuning.searches import SPACE, TRIAL_SECONDS, SearchFolder, numbers

from charlm.config.file import load_config
from charlm.errors import CharlmError
from charlm.runs.summary import summarize
from charlm.storage.locks import only_writer

pytest.importorskip("optuna", reason="missing: optuna")


pytestmark = pytest.mark.slow

RATE = "training.optimizer.learning_rate"


@pytest.fixture
def searching(tmp_path: Path) -> SearchFolder:
    return SearchFolder(tmp_path)


def test_the_first_trial_is_the_recipe_itself_and_each_has_a_line_at_its_begin_and_at_its_end(
    searching: SearchFolder,
) -> None:
    searching.space = SPACE + "  model.layers: {int: [1, 3]}\n"
    result = searching.run(trials=1)
    assert searching.said == [
        "trial 0: learning_rate 0.002, layers 1",
        f"trial 0: {(nats := result.trials[0].nats_per_char):.4f} nats per character; best {nats:.4f} (trial 0)",
    ]
    assert (result.trials[0].number, result.trials[0].settings) == (0, {RATE: 2e-3, "model.layers": 1})


def test_trials_are_runs_of_equal_length_that_can_be_compared(searching: SearchFolder) -> None:
    result = searching.run(trials=4)
    assert (result.reason, [trial.state for trial in result.trials]) == ("enough trials", ["complete"] * 4)
    for trial in result.trials:
        summary = summarize(trial.run)
        assert summary.nats_per_char == trial.nats_per_char
        assert summary.settings[RATE] == trial.settings[RATE]
        assert summary.settings["training.steps"] == 50
        assert summary.settings["training.evaluate_every"] == 5


@pytest.mark.parametrize("steps", [50, 53, 59, 12])
def test_each_evaluation_of_a_trial_is_reported_under_a_number_of_its_own(
    searching: SearchFolder, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    report = Mock()
    monkeypatch.setattr("optuna.trial.Trial.report", report)
    searching.run(trials=1, seconds_per_step=lambda _: TRIAL_SECONDS / steps)
    numbers = [call.args[1] for call in report.call_args_list]
    assert numbers == sorted({*numbers})
    assert numbers[-1] == 10


def test_a_slower_network_trains_fewer_steps(searching: SearchFolder) -> None:
    searching.space = SPACE.replace("model.units: 8, ", "") + "  model.units: {categorical: [4, 16]}\n"
    result = searching.run(trials=6, seconds_per_step=lambda config: config.model.units / 8)
    steps = {
        trial.settings["model.units"]: summarize(trial.run).settings["training.steps"]
        for trial in result.trials
        if trial.state == "complete"
    }
    assert steps == {4: TRIAL_SECONDS * 2, 16: round(TRIAL_SECONDS / 2)}


def test_the_best_recipe_has_the_values_of_the_best_trial_and_the_length_of_the_recipe(searching: SearchFolder) -> None:
    result = searching.run(trials=5)
    assert result.best is not None
    assert result.recipe is not None
    assert result.best.nats_per_char == min(trial.nats_per_char or 9 for trial in result.trials)
    head = result.recipe.read_text(encoding="utf-8").splitlines()
    assert head[0] == f"# charlm train text.txt -c {result.recipe}"
    assert head[1].startswith(f"# Trial {result.best.number} of 5 of a search over space.yaml: ")
    assert f"{result.best.nats_per_char:.4f} nats" in head[1]
    found = load_config(result.recipe)
    assert found.training.optimizer.learning_rate == result.best.settings[RATE]
    assert (found.model.units, found.training.steps, found.training.evaluate_every) == (8, 60, 30)  # as in tiny


def test_hopeless_trials_end_early_and_are_not_the_best(searching: SearchFolder) -> None:
    result = searching.run(trials=14)
    pruned = list(numbers(result, "pruned"))
    assert pruned
    assert min(pruned) >= 4
    for number in pruned:
        folder = searching.out / f"trial-{number:04}"
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").count('"validation"')
        assert 3 <= lines < 10
    assert result.best is not None
    assert result.best.state == "complete"
    assert any(line.startswith(f"trial {pruned[0]}: pruned; best ") for line in searching.said)


def test_a_trial_that_has_trained_to_its_end_is_not_ended_early(
    searching: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    should_prune = Mock(return_value=False)
    monkeypatch.setattr("optuna.trial.Trial.should_prune", should_prune)
    searching.run(trials=1)
    assert should_prune.call_count == 9  # after 5, 10, ... and 45 of 50 steps


def undisturbed(searching: SearchFolder, *, trials: int) -> list[tuple[object, object]]:
    """Return the values and the losses of the trials of the same search in another folder."""
    other = SearchFolder(searching.folder / "other")
    other.folder.mkdir()
    return [(trial.settings, trial.nats_per_char) for trial in other.run(trials=trials).trials]


@pytest.mark.parametrize(
    "ending", [{"seconds": 5, "clock": ticking(1.0)}, {"faults": interrupt_after(20)}], ids=["time", "signal"]
)
def test_a_trial_that_the_end_of_the_time_or_a_signal_stops_is_run_again_by_the_next_search(
    ending: dict[str, Any], searching: SearchFolder
) -> None:
    result = searching.run(**ending)
    assert result.signal == (signal.SIGINT if "faults" in ending else None)
    assert ([trial.state for trial in result.trials], result.best) == (["running"], None)
    assert result.reason.endswith(" before a trial was complete")
    again = searching.run(trials=1)
    assert [trial.state for trial in again.trials] == ["complete"]
    assert not (searching.out / "trial-0000").exists()
    assert [(trial.settings, trial.nats_per_char) for trial in again.trials] == undisturbed(searching, trials=1)


def test_a_trial_ends_when_the_time_is_over_and_not_only_at_its_next_evaluation(searching: SearchFolder) -> None:
    (trial,) = searching.run(seconds=4, clock=ticking(1.0)).trials
    assert 0 < (summarize(trial.run).step or 0) < 5


def test_a_search_ends_before_its_time_if_another_trial_would_not_fit(searching: SearchFolder) -> None:
    result = searching.run(seconds=90, clock=ticking(1.0))
    assert (result.reason, len(result.trials)) == ("another trial would not fit into the time", 1)


@pytest.mark.parametrize("step", [1, 27, 50])
def test_a_trial_whose_process_crashed_is_run_again_and_none_is_lost(searching: SearchFolder, step: int) -> None:
    searching.run(trials=2)
    with pytest.raises(ZeroDivisionError):
        searching.run(faults=crash_after(step))
    result = searching.run(trials=3)
    assert [trial.state for trial in result.trials] == ["complete"] * 3
    assert [(trial.settings, trial.nats_per_char) for trial in result.trials] == undisturbed(searching, trials=3)


def test_values_that_were_tried_are_not_tried_again_and_the_search_ends_when_all_were(searching: SearchFolder) -> None:
    searching.space = SPACE.replace("{float: [1e-4, 1e-1], log: true}", "{categorical: [1e-3, 2e-3, 4e-3]}")
    result = searching.run()
    assert result.reason == "nothing is left to try"
    assert sorted(trial.settings[RATE] for trial in result.trials) == [1e-3, 2e-3, 4e-3]


def test_a_trial_that_fails_does_not_end_the_search(searching: SearchFolder) -> None:
    diverge = Faults(loss=lambda _step, rate: float("nan") if rate > 3e-3 else None)
    searching.space = SPACE.replace("{float: [1e-4, 1e-1], log: true}", "{categorical: [1e-3, 2e-3, 4e-3]}")
    result = searching.run(faults=diverge)
    failed = [trial for trial in result.trials if trial.state == "fail"]
    assert [trial.settings[RATE] for trial in failed] == [4e-3]
    assert "the loss is nan" in (failed[0].error or "")
    assert any(f"trial {failed[0].number}: failed: " in line for line in searching.said)


def test_a_search_ends_if_every_trial_fails(searching: SearchFolder) -> None:
    with pytest.raises(CharlmError, match=r"out: the last 3 trials have failed; the last one: the loss is nan"):
        searching.run(faults=Faults(loss=lambda _step, _rate: float("nan")))


def test_another_search_in_the_same_folder_is_refused(searching: SearchFolder) -> None:
    searching.run(trials=1)
    for change in ("space", "text"):
        other = SearchFolder(searching.folder)
        other.space = SPACE.replace("1e-1", "5e-2") if change == "space" else SPACE
        other.text = other.text[::-1] if change == "text" else other.text
        with pytest.raises(CharlmError, match=r"out: holds a search with another (search|text)"):
            other.run(trials=2)


def test_a_second_process_in_the_same_folder_is_refused(searching: SearchFolder) -> None:
    study, _ = searching.open()
    with only_writer(study.out), pytest.raises(CharlmError, match=r"out: process .* is training here; wait for it"):
        searching.run(trials=1)


def test_another_length_of_trials_is_refused(searching: SearchFolder) -> None:
    searching.run(trials=1)
    study, _ = searching.open()
    assert study.settle_trial_seconds(None, default=99) == TRIAL_SECONDS
    with pytest.raises(CharlmError, match="trial_minutes: found 1; the trials of this search have"):
        study.settle_trial_seconds(60, default=99)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:40] + b"\n" + whole[40:],
        lambda whole: whole[:300] + b"\xff" * 10 + whole[310:],
        lambda whole: b"\0" * len(whole),
        lambda whole: b"[]\n" + whole,
    ],
    ids=["cut", "garbage", "zeros", "no record"],
)
def test_a_damaged_journal_is_an_error_in_a_line(damage: Callable[[bytes], bytes], searching: SearchFolder) -> None:
    searching.run(trials=1)
    journal = searching.out / "study.journal"
    journal.write_bytes(damage(journal.read_bytes()))
    with pytest.raises(CharlmError, match=r"study\.journal: damaged: .*; put a whole copy in its place"):
        searching.run(trials=2)


def test_half_a_record_at_the_end_and_a_lock_that_was_left_do_not_end_a_search(searching: SearchFolder) -> None:
    searching.run(trials=1)
    journal = searching.out / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code": 4, "wor')
    (searching.out / "study.journal.lock").symlink_to("study.journal")
    assert [trial.state for trial in searching.run(trials=2).trials] == ["complete"] * 2


def test_a_trial_that_a_full_disk_has_ended_is_tried_again(searching: SearchFolder) -> None:
    full = CharlmError("out: cannot be written: No space left on device")
    full.__cause__ = OSError(28, "No space left on device")

    def fill(step: int) -> None:
        if step == 20:
            raise full

    with pytest.raises(CharlmError, match="No space left"):
        searching.run(faults=Faults(after_call=fill))
    assert [trial.state for trial in searching.run(trials=1).trials] == ["complete"]
