"""`charlm tune`: what it refuses before anything is trained, and what it prints."""

import json
from pathlib import Path
from signal import Signals
from unittest.mock import Mock

import pytest
from commands import charlm, check_failure, table

from charlm.training.signals import Stopped

SPACE = "recipe: tiny\nsearch: {model.units: {int: [8, 24], step: 8}}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with search spaces and a text the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE, encoding="utf-8")
    (tmp_path / "text.txt").write_text("To be, or not to be, that is the question. " * 50, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@table("""
tune space.yaml text.txt --minutes 1 --out runs      | runs: is not empty, and not the folder of a search
tune space.yaml text.txt --minutes 1 --out text.txt  | text.txt: cannot be written
""")
def test_a_place_that_cannot_be_a_search_is_refused(line: str, expected: str) -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    Path("runs/other").mkdir(parents=True)
    check_failure(line, expected)


@pytest.mark.usefixtures("folder")
def test_a_missing_optuna_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_failure("tune space.yaml --minutes 1", "charlm tune needs Optuna: pip install '.[tune]'")


@pytest.mark.usefixtures("folder")
def test_whoever_stops_a_search_is_told_how_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charlm.tuning.search.tune", Mock(side_effect=Stopped(Signals.SIGTERM)))
    command = charlm("tune", "space.yaml", "text.txt", "--minutes", 1)
    assert command.exit_code == 143
    assert command.stderr.splitlines()[0] == "charlm: stopped by SIGTERM; the same command goes on with the search"


@pytest.mark.slow
def test_the_best_recipe_is_named_on_standard_output_and_training_it_repeats_the_best_trial(folder: Path) -> None:
    pytest.importorskip("optuna", reason="missing: optuna")
    command = charlm("tune", "space.yaml", "text.txt", "--minutes", 5, "--trial-minutes", 0.02, "--trials", 2)
    assert command.exit_code == 0
    assert command.stdout.startswith("runs/tune-space/best.yaml: ")
    assert command.stdout.count("\n") == 1
    assert "2 trials: 0 pruned, 0 failed" in command.stderr
    train = command.stderr.splitlines()[-1].partition("train it with: charlm ")[2]
    assert train == "train text.txt -c runs/tune-space/best.yaml"
    charlm(*train.split(), "--run", "again")
    trials = sorted((folder / "runs/tune-space").glob("trial-*"))
    table = json.loads(charlm("runs", *trials, "again", "--json").stdout)
    scores = {run["name"]: run["nats_per_char"] for run in table}
    again = scores.pop("again")
    assert again == min(scores.values())
    assert f"{again:.4f} nats per character" in command.stdout
