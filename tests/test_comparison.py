"""Runs beside each other: the figures of each, what tells them apart, and runs that have not come far yet."""

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bundles import change_model
from commands import charlm
from test_startup import TENSORFLOW, imported_by

from charlm.bundle import Bundle, write_bundle
from charlm.comparison import TEXT, differing, read_standing
from charlm.config_file import dump_config, parse_config
from charlm.errors import CharlmError


def line(**figures: Any) -> str:
    return json.dumps({"split": "train", **figures}) + "\n"


def make_run(folder: Path, *, metrics: str = "", **model: Any) -> Path:
    """Make a run without a bundle."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(parse_config({"model": model}, origin="test")))
    (folder / "metrics.jsonl").write_text(metrics)
    return folder


def make_scored_run(folder: Path, bundle: Bundle, nats: float, *, seconds: float = 2.0, **model: Any) -> Path:
    run = make_run(folder, metrics=line(step=9, characters=1000, seconds=seconds), **model)
    facts = {"step": 7, "epoch": 1.0, "score": {"split": "validation", "nats_per_char": nats}}
    write_bundle(run / "best", Bundle(**{**vars(bundle), "facts": facts}))
    return run


def names(output: str) -> list[str]:
    """Return the last part of the first column of each row."""
    return [Path(row.split()[0]).name for row in output.splitlines()[1:]]


def compare_as_json(*arguments: str | Path) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(charlm("compare", *arguments, "--json").stdout)["runs"]
    return runs


def test_the_figures_are_those_of_the_best_bundle_and_the_last_line(bundle: Bundle, tmp_path: Path) -> None:
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


def test_a_row_is_made_for_a_person(bundle: Bundle, tmp_path: Path) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5, seconds=3725.4)
    row = charlm("compare", run).stdout.splitlines()[1].split()
    assert row[:-1] == [str(run), "1.5000", "2.1640", "validation", "7", "1:02:05", "0", "101"]


def test_only_the_settings_that_differ_are_shown(bundle: Bundle, tmp_path: Path) -> None:
    runs = [make_scored_run(tmp_path / f"{units}", bundle, 1.0, units=units, layers=2) for units in (8, 16)]
    assert charlm("compare", *runs).stdout.splitlines()[0].split()[9:] == ["model.units"]
    assert [run["settings"] for run in compare_as_json(*runs)] == [{"model.units": 16}, {"model.units": 8}]


def test_a_setting_that_a_run_does_not_have_is_a_difference(tmp_path: Path) -> None:
    named = {"class_name": "RandomNormal", "config": {"stddev": 2.0}}
    runs = [
        make_run(tmp_path / "a", input_initializer=named),
        make_run(tmp_path / "b"),
    ]
    keys = [f"model.input_initializer{part}" for part in (".class_name", ".config.stddev", "")]
    assert differing([read_standing(run) for run in runs]) == keys
    assert charlm("compare", *runs).stdout.splitlines()[2].split()[-3:] == ["-", "-", "null"]


def test_a_long_value_is_shortened_but_not_in_json(tmp_path: Path) -> None:
    name = "x" * 40
    runs = [make_run(tmp_path / "a"), make_run(tmp_path / "b", rnn={"kernel_initializer": name})]
    assert charlm("compare", *runs).stdout.splitlines()[2].endswith("  " + "x" * 23 + "…")
    assert compare_as_json(*runs)[1]["settings"] == {"model.rnn.kernel_initializer": name}


def test_runs_on_different_texts_are_told_apart(trained_run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (tmp_path / "text.txt").write_text("abba " * 100)
    shutil.copytree(trained_run, other)
    shutil.rmtree(other / "corpus")
    assert charlm("tokenize", tmp_path / "text.txt", "--out", other / "corpus").exit_code == 0
    assert differing([read_standing(trained_run), read_standing(other)]) == [TEXT]


@pytest.mark.parametrize(
    ("arguments", "order"),
    [([], "bac"), (["--sort", "score"], "bac"), (["--sort", "name"], "abc"), (["--sort", "time"], "abc")],
)
def test_the_order_is_the_one_asked_for(
    arguments: Sequence[str], order: str, bundle: Bundle, tmp_path: Path
) -> None:
    make_scored_run(tmp_path / "a", bundle, 2.0, seconds=1)
    make_scored_run(tmp_path / "b", bundle, 1.0, seconds=2)
    make_run(tmp_path / "c")
    output = charlm("compare", *(tmp_path / name for name in "cab"), *arguments).stdout
    assert names(output) == [*order]


def test_a_score_on_the_training_text_stands_after_those_on_validation_text(
    bundle: Bundle, tmp_path: Path
) -> None:
    runs = [make_scored_run(tmp_path / name, bundle, nats) for name, nats in [("a", 1.0), ("b", 2.0)]]
    facts = {"step": 7, "score": {"split": "train", "nats_per_char": 1.0}}
    write_bundle(runs[0] / "best", Bundle(**{**vars(bundle), "facts": facts}))
    assert [run["split"] for run in compare_as_json(*runs)] == ["validation", "train"]


def test_a_run_that_has_nothing_yet_is_shown_with_dashes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert charlm("compare", run).stdout.splitlines()[1].split() == [str(run), *"--------"]
    assert {key for key, value in compare_as_json(run)[0].items() if value is not None} == {"run", "settings"}


def test_half_a_last_line_is_not_read(tmp_path: Path) -> None:
    whole = line(characters=30, seconds=2.0)
    run = make_run(tmp_path / "run", metrics=whole + '{"characters": 90, "seconds": 9')
    assert read_standing(run).seconds == 2.0


def test_a_line_about_something_else_does_not_end_the_time(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", metrics=line(characters=30, seconds=2.0) + line(event="rollback", step=0))
    assert (read_standing(run).seconds, read_standing(run).characters_per_second) == (2.0, 15.0)


@pytest.mark.parametrize("last", ['"seconds"\n', '{"seconds":\n', "[" * 9999 + '"seconds"\n'])
def test_a_last_line_that_is_no_object_is_refused(last: str, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"metrics.jsonl: damaged: its last line is not a JSON object"):
        read_standing(make_run(tmp_path / "run", metrics=last))


@pytest.mark.parametrize("value", [None, "a", True, [1], float("nan"), float("inf"), 10**400])
def test_what_is_no_figure_is_none(value: Any, tmp_path: Path) -> None:
    assert read_standing(make_run(tmp_path / "run", metrics=line(characters=1, seconds=value))).seconds is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        *[(text, "damaged") for text in ("", "[]", '{"format": 1}', "[" * 9999)],
        *[(text, "format None;") for text in ("{}", '{"shapes": {"x": 3}}', '{"shapes": {}, "score": [1]}')],
    ],
)
def test_a_description_of_a_bundle_that_is_none_is_refused_by_name(
    text: str, problem: str, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run")
    (run / "best").mkdir()
    (run / "best/model.json").write_text(text)
    with pytest.raises(CharlmError, match=rf"best/model\.json: {problem}"):
        read_standing(run)


@pytest.mark.parametrize("facts", [{"score": [1]}, {"shapes": {"x": 3}}])
def test_a_description_with_something_else_in_the_place_of_a_figure_is_refused(
    facts: dict[str, Any], bundle: Bundle, tmp_path: Path
) -> None:
    run = make_scored_run(tmp_path / "run", bundle, 1.5)
    change_model(run / "best", lambda model: model.update(facts))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: not what describes a bundle"):
        read_standing(run)


def test_a_score_that_somebody_changed_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = make_scored_run(tmp_path / "run", bundle, 1.5) / "best/model.json"
    path.write_text(path.read_text().replace('"nats_per_char": 1.5', '"nats_per_char": 1.4'))
    with pytest.raises(CharlmError, match=r"best/model\.json: damaged: its own SHA-256, `seal`, is wrong"):
        read_standing(path.parents[1])


def test_a_folder_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    command = charlm("compare", make_run(tmp_path / "run"), tmp_path)
    assert (command.exit_code, command.stdout) == (1, "")
    assert command.stderr == f"charlm: {tmp_path}: not a run: there is no config.yaml and metrics.jsonl in it\n"


def test_no_run_named_means_all_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "runs/: no run here" in charlm("compare").stderr
    for name in "ab":
        make_run(Path("runs") / name)
    (tmp_path / "runs/notes").mkdir()
    assert names(charlm("compare").stdout) == ["a", "b"]


def test_names_and_values_do_not_steer_the_terminal(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a\x1b[2J\n", rnn={"kernel_initializer": "\x1b]0;x\x07"}),
        make_run(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))),
    ]
    output = charlm("compare", *runs).stdout
    assert re.search(r"a\\x1b\[2J\\n", output)
    assert output.count("\n") == 3
    assert output.replace("\n", "").isprintable()
    assert charlm("compare", *runs, "--json").stdout.isascii()


def test_comparing_does_not_import_tensorflow(trained_run: Path) -> None:
    assert imported_by("compare", trained_run).isdisjoint(TENSORFLOW)
