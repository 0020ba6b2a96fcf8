"""What `charlm compare` prints, as a table and as JSON."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import charlm, check_failure, check_usage_error, table
from run_folders import make_run, make_scored_run

from charlm.network.bundle import Bundle


def names(output: str) -> list[str]:
    """Return the last part of the first column of each row."""
    return [Path(row.split()[0]).name for row in output.splitlines()[1:]]


def compare_as_json(*arguments: str | Path) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(charlm("compare", *arguments, "--json").stdout)["runs"]
    return runs


def test_json_has_the_summary_of_each_run(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    assert compare_as_json(run) == [
        {
            "run": str(run),
            "split": "validation",
            "nats_per_char": 1.5,
            "bits_per_char": pytest.approx(2.16404256),
            "step": 7,
            "seconds": 2.0,
            "characters_per_second": 500.0,
            "weights": (5 * 4 + 4 * 4 + 4) + (4 * 4 + 4 * 4 + 4) + (4 * 5 + 5),
            "bundle_bytes": sum(path.stat().st_size for path in (run / "best").iterdir()),
            "settings": {},
        }
    ]


def test_row_has_the_summary_of_a_run(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5, seconds=3725.4)
    row = charlm("compare", run).stdout.splitlines()[1].split()
    size = sum(path.stat().st_size for path in (run / "best").iterdir())
    assert row == [str(run), "1.5000", "2.1640", "validation", "7", "1:02:05", "0", "101", f"{size:,}"]


def test_time_of_less_than_a_minute_is_shown_in_seconds(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5, seconds=12.34)
    assert "  12.3 s  " in charlm("compare", run).stdout


def test_only_settings_that_differ_are_shown(bundle: Bundle, tmp_path: Path) -> None:
    runs = [make_scored_run(tmp_path / f"{units}", bundle, 1.0, units=units, layers=2) for units in (8, 16)]
    assert charlm("compare", *runs).stdout.splitlines()[0].split()[9:] == ["model.units"]
    assert [run["settings"] for run in compare_as_json(*runs)] == [{"model.units": 16}, {"model.units": 8}]


def test_setting_that_a_run_does_not_have_is_shown_as_a_dash(tmp_path: Path) -> None:
    initializer = {"class_name": "RandomNormal", "config": {"stddev": 2.0}}
    runs = [make_run(tmp_path / "a", input_initializer=initializer), make_run(tmp_path / "b")]
    assert charlm("compare", *runs).stdout.splitlines()[2].split()[-3:] == ["-", "-", "null"]


def test_long_value_is_shortened_in_the_table_but_not_in_json(tmp_path: Path) -> None:
    name = "x" * 40
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", rnn={"kernel_initializer": name})]
    assert charlm("compare", *runs).stdout.splitlines()[2].endswith("  " + "x" * 23 + "…")
    assert compare_as_json(*runs)[1]["settings"] == {"model.rnn.kernel_initializer": name}


@pytest.mark.parametrize(
    ("arguments", "order"),
    [([], "bac"), (["--sort", "score"], "bac"), (["--sort", "name"], "abc"), (["--sort", "time"], "abc")],
)
def test_order_is_the_one_asked_for(arguments: Sequence[str], order: str, bundle: Bundle, tmp_path: Path) -> None:
    make_scored_run(tmp_path / "a", bundle, 2.0, seconds=1)
    make_scored_run(tmp_path / "b", bundle, 1.0, seconds=2)
    make_run(tmp_path / "c")
    output = charlm("compare", *(tmp_path / name for name in "cab"), *arguments).stdout
    assert names(output) == [*order]


def test_run_that_has_just_begun_is_shown_with_dashes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert charlm("compare", run).stdout.splitlines()[1].split() == [str(run), *"--------"]
    assert {key for key, value in compare_as_json(run)[0].items() if value is not None} == {"run", "settings"}


def test_without_arguments_all_runs_under_runs_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs/: no run here" in charlm("compare").stderr
    for name in "ab":
        make_run(Path("runs") / name)
    (tmp_path / "runs/notes").mkdir()
    assert names(charlm("compare").stdout) == ["a", "b"]


def test_nothing_is_printed_if_a_folder_is_not_a_run(tmp_path: Path) -> None:
    command = charlm("compare", make_run(tmp_path / "run"), tmp_path)
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr == f"charlm: {tmp_path}: not a run: there is no config.yaml and metrics.jsonl in it\n"


def test_control_characters_in_names_and_values_are_escaped(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a\x1b[2J\n", rnn={"kernel_initializer": "\x1b]0;x\x07"}),
        make_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))),
    ]
    output = charlm("compare", *runs).stdout
    assert r"a\x1b[2J\n" in output
    assert output.count("\n") == 3
    assert output.replace("\n", "").isprintable()
    assert charlm("compare", *runs, "--json").stdout.isascii()


@pytest.mark.usefixtures("place")
@table("""
compare                | runs/: no run here
compare bundle         | bundle: not a run
compare text.txt       | text.txt: not a run
compare begun missing  | missing: not a run
""")
def test_failure_is_one_line_that_names_the_folder(line: str, expected: str) -> None:
    check_failure(line, expected)


@pytest.mark.usefixtures("place")
@table("""
compare --sort beauty  | '--sort'
compare --red\x1b[31m  | --red\\x1b[31m
""")
def test_wrong_usage_names_the_option(line: str, expected: str) -> None:
    check_usage_error(line, expected)
