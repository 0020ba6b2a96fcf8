"""`charlm runs`: the runs under runs/, as a table and as JSON."""

import json
import os
import statistics
from pathlib import Path

import pytest
from commands import charlm, messages
from run_folders import make_run, make_scored_run

from charlm.network.model_file import TrainedModel


@pytest.fixture(autouse=True)
def wide_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder and to a terminal in which a run is a line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_each_run_is_a_line_the_newest_first(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/old"), trained, 1.5)
    os.utime("runs/old/metrics.jsonl", (0, 0))
    (make_run(Path("runs/new")) / "ended.json").touch()
    text, heads, new, old = (line.split() for line in charlm("runs").stdout.splitlines()[:4])
    assert text == ["text:", "not", "known"]
    assert heads == ["run", "state", "step", "nats", "above", "best", "chars/s", "weights", "age", "recipe"]
    assert new[:4] == ["new", "done", "-", "-"]
    assert old[:4] == ["old", "stopped", "9", "1.5000"]


def test_json_is_a_list_with_what_the_table_has(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/a"), trained, 1.5)
    (run,) = json.loads(charlm("runs", "--json").stdout)
    assert 0 <= run["age_seconds"] < 600
    assert (run["name"], run["run"], run["state"], run["text"]) == ("a", "runs/a", "stopped", None)
    assert (run["step"], run["best_step"], run["nats_per_char"]) == (9, 7, 1.5)


def test_the_distance_from_the_best_run_has_the_standard_error_of_the_difference(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/best"), trained, 1.5, block_means=[1.0, 2.0, 1.5])
    make_scored_run(Path("runs/other"), trained, 1.75, block_means=[1.25, 2.5, 1.5])
    make_scored_run(Path("runs/shorter"), trained, 2.0, block_means=[2.0, 2.0])
    make_scored_run(Path("runs/train"), trained, 1.0, split="train", block_means=[1.0, 1.0, 1.0])
    runs = {run["name"]: run for run in json.loads(charlm("runs", "--json").stdout)}
    error = statistics.stdev([0.25, 0.5, 0]) / 3**0.5
    assert runs["other"]["above_best"] == {"nats_per_char": 0.25, "standard_error": pytest.approx(error)}
    assert runs["other"]["standard_error"] == pytest.approx(statistics.stdev([1.25, 2.5, 1.5]) / 3**0.5)
    assert runs["shorter"]["above_best"] == {"nats_per_char": 0.5, "standard_error": None}
    assert runs["best"]["above_best"] is runs["train"]["above_best"] is None
    table = charlm("runs").stdout
    assert f"+0.2500 ± {error:.4f}" in table
    assert "+0.5000 " in table


def test_runs_that_differ_in_their_seeds_alone_are_one_line_with_mean_and_deviation(trained: TrainedModel) -> None:
    scores = {"seed: 1": 1.5, "seed: 2": 1.6, "training: {data_seed: 3}": 1.75, "model: {units: 7}": 1.0}
    for number, (config, score) in enumerate(scores.items()):
        folder = make_scored_run(Path(f"runs/{number}"), trained, score)
        (folder / "config.yaml").write_text(config, encoding="utf-8")
        os.utime(folder / "metrics.jsonl", (-number, -number))
    make_run(Path("runs/unscored"))
    seeds, other = json.loads(charlm("runs", "0", "1", "2", "3", "unscored", "--group", "--json").stdout)
    mean, deviation = statistics.mean([1.5, 1.6, 1.75]), statistics.stdev([1.5, 1.6, 1.75])
    assert (seeds["scored"], seeds["nats_per_char"]) == (3, pytest.approx(mean))
    assert seeds["standard_deviation"] == pytest.approx(deviation)
    assert (seeds["lowest"], seeds["highest"]) == (1.5, 1.75)
    assert sorted(seeds["runs"]) == ["runs/0", "runs/1", "runs/2", "runs/unscored"]
    assert (other["scored"], other["standard_deviation"], other["settings"]) == (1, None, {"model.units": 7})
    lines = charlm("runs", "--group").stdout.splitlines()
    assert lines[1].split() == ["runs", "mean", "nats", "deviation", "lowest", "highest", "recipe"]
    assert lines[2].split()[:3] == ["3", f"{mean:.4f}", f"{deviation:.4f}"]


def test_a_run_that_cannot_be_read_is_a_line_and_does_not_hide_the_others() -> None:
    make_run(Path("runs/red\x1b[31m"))
    (make_run(Path("runs/bad")) / "config.yaml").write_text("units: 3", encoding="utf-8")
    command = charlm("runs")
    assert (command.exit_code, len(command.stdout.splitlines())) == (0, 3)
    assert command.stdout.replace("\n", "").isprintable()
    (message,) = messages(command)
    assert message.startswith("charlm: runs/bad/config.yaml: units: found")


def test_settings_that_differ_are_listed_below_each_run_and_parts_of_names_choose_runs(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/narrow"), trained, 1.5, units=3)
    make_scored_run(Path("runs/wide"), trained, 1.25, units=4)
    listed = sorted(line for line in charlm("runs").stdout.splitlines() if line.startswith("  "))
    assert listed == ["  model.units 3", "  model.units 4"]
    assert [run["name"] for run in json.loads(charlm("runs", "wid", "--json").stdout)] == ["wide"]
    assert charlm("runs", "wid", "none").exit_code == 1
