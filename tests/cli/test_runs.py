"""`charlm runs`: the runs under runs/, as a table and as JSON."""

import json
import os
from pathlib import Path

import pytest
from commands import charlm, check_failure, messages
from run_folders import make_run, make_scored_run

from charlm.network.bundle import Bundle


@pytest.fixture(autouse=True)
def wide_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder and to a terminal in which a run is a line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_each_run_is_a_line_the_newest_first(bundle: Bundle) -> None:
    make_scored_run(Path("runs/old"), bundle, 1.5)
    os.utime("runs/old/metrics.jsonl", (0, 0))
    (make_run(Path("runs/new")) / "ended.json").touch()
    heads, new, old = (line.split() for line in charlm("runs").stdout.splitlines())
    assert heads == ["run", "state", "step", "nats", "size", "age", "recipe", "text"]
    assert new[:4] == ["new", "done", "-", "-"]
    assert old[:4] == ["old", "stopped", "9", "1.5000"]


def test_json_is_a_list_with_what_the_table_has(bundle: Bundle) -> None:
    make_scored_run(Path("runs/a"), bundle, 1.5)
    (run,) = json.loads(charlm("runs", "--json").stdout)
    assert run["disk_bytes"] == sum(path.stat().st_size for path in Path("runs/a").rglob("*") if path.is_file())
    assert 0 <= run["age_seconds"] < 600
    assert {key: run[key] for key in ("name", "state", "step", "nats_per_char", "best_step", "text", "run")} == {
        "name": "a",
        "state": "stopped",
        "step": 9,
        "nats_per_char": 1.5,
        "best_step": 7,
        "text": None,
        "run": "runs/a",
    }


def test_a_run_that_cannot_be_read_is_a_line_and_does_not_hide_the_others() -> None:
    make_run(Path("runs/good"))
    (make_run(Path("runs/bad")) / "config.yaml").write_text("units: 3", encoding="utf-8")
    command = charlm("runs")
    assert (command.exit_code, len(command.stdout.splitlines())) == (0, 2)
    (message,) = messages(command)
    assert message.startswith("charlm: runs/bad/config.yaml: units: unknown key")


def test_it_is_a_failure_if_there_is_no_run() -> None:
    check_failure("runs", "runs/: no run here")


def test_names_cannot_steer_the_terminal() -> None:
    make_run(Path("runs/red\x1b[31m"))
    assert charlm("runs").stdout.replace("\n", "").isprintable()
