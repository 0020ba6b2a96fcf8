"""What `charlm compare` prints, as tables and as JSON, and which runs it leaves out."""

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from bundles import change_model
from commands import charlm, check_failure, check_usage_error, messages, table
from run_folders import make_run, make_scored_run, metrics_line

from charlm.cli.table import text_width
from charlm.config.schema import CorpusConfig
from charlm.network.bundle import Bundle
from charlm.text.tokenization import tokenize


@pytest.fixture(autouse=True)
def wide_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to an empty folder and to a terminal in which a run is a line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def on_text(run: Path, text: str, **corpus: Any) -> Path:
    """Add a corpus to a run, from a document whose name is text.txt and these settings under `corpus`."""
    Path("text.txt").write_text(text)
    tokenize(["text.txt"], run / "corpus", CorpusConfig(**corpus))
    return run


def names(output: str) -> list[str]:
    """Return the last part of the first column of each row of the only table."""
    return [Path(row.split()[0]).name for row in output.splitlines()[2:]]


def compare_as_json(*arguments: str | Path) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(charlm("compare", *arguments, "--json").stdout)["runs"]
    return runs


# The table


def test_row_has_the_summary_of_a_run(bundle: Bundle) -> None:
    run = make_scored_run(Path("run"), bundle, 1.5, seconds=3725.4)
    heading, heads, row = charlm("compare", run).stdout.splitlines()
    assert heading == "text: not known"
    assert heads.split() == ["run", "nats", "bits", "of", "step", "training", "chars/s", "weights", "size"]
    size = sum(path.stat().st_size for path in (run / "best").iterdir())
    assert row.split() == [
        "run",
        "1.5000",
        "2.1640",
        "validation",
        "7",
        "1:02:05",
        "0",
        "101",
        f"{size / 1e3:.1f}",
        "kB",
    ]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(12.34, "12.3 s"), (59.96, "0:01:00"), (90061, "25:01:01"), (9e17, "250000000000000:00:00")],
)
def test_time_is_in_seconds_or_in_hours_minutes_and_seconds(seconds: float, expected: str, bundle: Bundle) -> None:
    run = make_scored_run(Path("run"), bundle, 1.5, seconds=seconds)
    assert f"  {expected}  " in charlm("compare", run).stdout


def test_size_of_a_large_bundle_is_in_megabytes(bundle: Bundle) -> None:
    run = make_scored_run(Path("run"), bundle, 1.5)
    with (run / "best/weights.safetensors").open("ab") as file:
        file.truncate(1_234_567_890)  # takes no room on the disk
    assert charlm("compare", run).stdout.endswith("  1,234.6 MB\n")


def test_only_settings_that_differ_are_shown(bundle: Bundle) -> None:
    runs = [make_scored_run(Path(f"{units}"), bundle, 1.0, units=units, layers=2) for units in (8, 16)]
    assert charlm("compare", *runs).stdout.splitlines()[1].split()[9:] == ["model.units"]
    assert [run["settings"] for run in compare_as_json(*runs)] == [{"model.units": 16}, {"model.units": 8}]


def test_setting_that_a_run_does_not_have_is_shown_as_a_dash() -> None:
    initializer = {"class_name": "RandomNormal", "config": {"stddev": 2.0}}
    runs = [make_run(Path("a"), input_initializer=initializer), make_run(Path("b"))]
    assert charlm("compare", *runs).stdout.splitlines()[3].split()[-3:] == ["-", "-", "null"]


def test_long_value_is_shortened_in_the_table_but_not_in_json() -> None:
    name = "x" * 40
    runs = [make_run(Path("a")), make_run(Path("b"), rnn={"kernel_initializer": name})]
    assert charlm("compare", *runs).stdout.splitlines()[3].endswith("  " + "x" * 23 + "…")
    assert compare_as_json(*runs)[1]["settings"] == {"model.rnn.kernel_initializer": name}


@pytest.mark.parametrize(
    ("arguments", "order"),
    [([], "bac"), (["--sort", "score"], "bac"), (["--sort", "name"], "abc"), (["--sort", "time"], "abc")],
)
def test_order_is_the_one_asked_for(arguments: Sequence[str], order: str, bundle: Bundle) -> None:
    make_scored_run(Path("a"), bundle, 2.0, seconds=1)
    make_scored_run(Path("b"), bundle, 1.0, seconds=2)
    make_run(Path("c"))
    assert names(charlm("compare", *"cab", *arguments).stdout) == [*order]


def test_run_that_has_just_begun_is_shown_with_dashes() -> None:
    run = make_run(Path("run"))
    assert charlm("compare", run).stdout.splitlines()[2].split() == ["run", *"--------"]
    assert {key for key, value in compare_as_json(run)[0].items() if value is not None} == {"run", "settings"}


def test_without_arguments_all_runs_under_runs_are_compared() -> None:
    assert "runs/: no run here" in charlm("compare").stderr
    for name in "ab":
        make_run(Path("runs") / name)
    Path("runs/notes").mkdir()
    assert names(charlm("compare").stdout) == ["a", "b"]


def test_control_characters_in_names_and_values_are_escaped() -> None:
    runs = [
        make_run(Path("a\x1b[2J\n"), rnn={"kernel_initializer": "\x1b]0;x\x07"}),
        make_run(Path(os.fsdecode(b"\xff"))),
    ]
    output = charlm("compare", *runs).stdout
    assert r"a\x1b[2J\n" in output
    assert output.count("\n") == 4
    assert output.replace("\n", "").isprintable()
    assert charlm("compare", *runs, "--json").stdout.isascii()


# The width


@pytest.mark.parametrize("columns", [1, 40, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal(columns: int, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    initializer = {"class_name": "RandomNormal", "config": {"stddev": 2.0}}
    a = make_scored_run(Path("runs/20251125-132702-shakespeare-15m"), bundle, 1.5, seconds=3725.4)
    b = make_scored_run(Path("runs/20251125-142702-default"), bundle, 1.5, input_initializer=initializer)
    on_text(a, "abba " * 99)
    on_text(b, "日本" * 99)
    lines = charlm("compare").stdout.splitlines()
    assert max(map(text_width, lines)) <= max(40, columns)
    assert all(name in "\n".join(lines) for name in (str(a), str(b), "1.5000", "RandomNormal"))


def test_figures_of_a_usual_run_are_in_columns_at_80(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = make_scored_run(Path("runs/20251125-132702-shakespeare-15m"), bundle, 1.5, seconds=3725.4)
    heading, heads, name, figures = charlm("compare").stdout.splitlines()
    assert (heading, name) == ("text: not known", str(run))
    assert heads.split()[0] == "nats"
    assert figures.split()[:5] == ["1.5000", "2.1640", "validation", "7", "1:02:05"]


# Texts


def test_runs_on_different_texts_are_in_tables_apart_with_the_names_of_the_texts(bundle: Bundle) -> None:
    on_text(make_scored_run(Path("a"), bundle, 1.0), "abba " * 99)
    make_scored_run(Path("b"), bundle, 2.0)
    on_text(make_scored_run(Path("c"), bundle, 3.0), "abba " * 99)
    lines = charlm("compare", *"abc").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        *(["text:", "text.txt"], ["run", "nats"], ["a", "1.0000"], ["c", "3.0000"], []),
        *(["text:", "not"], ["run", "nats"], ["b", "2.0000"]),
    ]
    assert "sha256" not in "".join(lines)


def test_texts_of_the_same_name_are_told_apart_by_their_checksums() -> None:
    runs = [on_text(make_run(Path("a")), "abba " * 99), on_text(make_run(Path("b")), "baab " * 99)]
    sums = [run["text"]["sha256"][:8] for run in compare_as_json(*runs)]
    headings = [line for line in charlm("compare", *runs).stdout.splitlines() if line.startswith("text: ")]
    assert headings == [f"text: text.txt, sha256 {sums[0]}", f"text: text.txt, sha256 {sums[1]}"]


def test_different_splits_of_a_text_are_told_apart_by_the_validation_part() -> None:
    runs = [
        on_text(make_run(Path("a")), "abba" * 250, validation_fraction=0.1),
        on_text(make_run(Path("b")), "abba" * 250, validation_fraction=0.2),
    ]
    headings = [line for line in charlm("compare", *runs).stdout.splitlines() if line.startswith("text: ")]
    assert headings == [f"text: text.txt, validation from {start} to 1,000" for start in (900, 800)]


# JSON


def test_json_has_the_summary_of_each_run(bundle: Bundle) -> None:
    run = on_text(make_scored_run(Path("run"), bundle, 1.5), "abba" * 25)
    manifest = json.loads((run / "corpus/manifest.json").read_text())
    assert compare_as_json(run) == [
        {
            "run": "run",
            "text": {"name": "text.txt", "sha256": manifest["ids_sha256"], "validation": [90, 100]},
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


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize(("characters", "seconds"), [(10**17, 1e-3), (1, 5e-324), (float("nan"), float("inf"))])
def test_json_is_valid_whatever_the_numbers_of_a_run(characters: float, seconds: float) -> None:
    make_run(Path("run"), metrics=metrics_line(characters=characters, seconds=seconds))
    json.loads(charlm("compare", "run", "--json").stdout, parse_constant=refuse_constant)


# Runs that cannot be read


def damage(run: Path) -> Path:
    (run / "config.yaml").write_text("units: 3")
    return run


def test_bad_run_under_runs_is_a_line_and_does_not_hide_the_others() -> None:
    damage(make_run(Path("runs/a")))
    make_run(Path("runs/b"))
    command = charlm("compare")
    assert (command.exit_code, names(command.stdout)) == (0, ["b"])
    (message,) = messages(command)
    assert message.startswith("charlm: runs/a/config.yaml: units: unknown key")


def test_bad_run_that_was_named_is_a_failure_after_the_others_are_shown() -> None:
    runs = [damage(make_run(Path("runs/a"))), make_run(Path("runs/b"))]
    command = charlm("compare", *runs)
    assert (command.exit_code, names(command.stdout)) == (1, ["b"])
    (message,) = messages(command)
    assert message.startswith("charlm: runs/a/config.yaml: units: unknown key")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_it_is_a_failure_if_no_run_can_be_shown(options: Sequence[str]) -> None:
    for name in "ab":
        damage(make_run(Path("runs") / name))
    command = charlm("compare", *options)
    assert (command.exit_code, command.stdout, len(messages(command))) == (1, "", 2)


def test_json_has_the_reason_for_which_a_run_is_left_out(bundle: Bundle) -> None:
    run = make_scored_run(Path("runs/a"), bundle, 1.5)
    change_model(run / "best", lambda model: model.update(shapes={"x": [1 << 60, 1 << 60]}))
    make_run(Path("runs/b"))
    command = charlm("compare", "--json")
    (message,) = messages(command)
    found = json.loads(command.stdout)
    assert [run["run"] for run in found["runs"]] == ["runs/b"]
    assert found["unreadable"] == [{"run": "runs/a", "error": message.removeprefix("charlm: ")}]
    assert message.startswith("charlm: runs/a/best/model.json: damaged: `shapes`")


def test_run_that_was_named_twice_is_shown_twice() -> None:
    make_run(Path("run"))
    assert names(charlm("compare", "run", "run").stdout) == ["run", "run"]


@pytest.mark.usefixtures("place")
@table("""
compare                | runs/: no run here
compare bundle         | bundle: not a run
compare text.txt       | text.txt: not a run
compare missing        | missing: not a run
compare LONG           | not a run
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


# Seeds and CSV


def test_runs_of_several_seeds_are_a_line(bundle: Bundle) -> None:
    for seed, nats in ((1, 1.4), (2, 1.6)):
        with_seed(make_scored_run(Path(f"runs/{seed}"), bundle, nats), seed)
    assert len(charlm("compare").stdout.splitlines()) == 4
    _, _, row = charlm("compare", "--seeds").stdout.splitlines()
    assert row.startswith("runs/1 and 1 more  1.5000 ± 0.1414  ")
    (run,) = compare_as_json("--seeds")
    assert (run["seeds"], run["nats_per_char"], run["settings"]) == ([1, 2], pytest.approx(1.5), {})
    assert run["nats_deviation"] == pytest.approx(0.2 / 2**0.5)


def test_csv_has_the_figures_of_json_and_a_column_for_each_setting(bundle: Bundle) -> None:
    for name, units in (("a", 8), ('b,"c"', 16)):
        make_scored_run(Path("runs") / name, bundle, 1.5, units=units)
    rows = list(csv.DictReader(charlm("compare", "--csv", "--sort", "name").stdout.splitlines()))
    assert [(row["run"], row["model.units"]) for row in rows] == [("runs/a", "8"), ('runs/b,"c"', "16")]
    for row, run in zip(rows, compare_as_json("--sort", "name"), strict=True):
        assert float(row["bits_per_char"]) == run["bits_per_char"]
        assert (row["split"], row["text"], row["step"]) == ("validation", "", "7")


def test_csv_and_json_exclude_each_other() -> None:
    check_usage_error("compare --csv --json", "exclude each other")


def with_seed(run: Path, seed: int) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("seed: 1\n", f"seed: {seed}\n"), encoding="utf-8")
