"""`charlm runs`: the runs under runs/, as a table and as JSON."""

import json
import math
import os
import re
import shutil
import signal
import socket
import statistics
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference
from commands import charlm, check_failure, json_of, messages
from processes import command_line, run_process, started, wait_until
from run_folders import make_run, make_scored_run

from charlm.cli.output import text_width
from charlm.inspection.sections import SECTIONS
from charlm.network.model_file import TrainedModel


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change to a terminal in which a run is a line."""
    monkeypatch.setenv("COLUMNS", "200")


def test_each_run_is_a_line_with_the_figures_of_the_json_the_newest_first(
    trained: TrainedModel,
) -> None:
    make_scored_run(Path("runs/old"), trained, 1.5)
    os.utime("runs/old/metrics.jsonl", (0, 0))
    (make_run(Path("runs/new")) / "ended.json").touch()
    names = charlm(
        "runs", *(make_run(Path("elsewhere") / name) for name in ("x" * 40, "y" * 41))
    ).stdout
    assert ("x" * 40 in names, "y" * 40 in names) == (True, False)
    heads, new, old = (line.split() for line in charlm("runs").stdout.splitlines()[:3])
    assert heads == ["run", "state", "step", "nats", "chars/s", "weights", "age"]
    assert new[:4] == ["new", "done", "-", "-"]
    assert old[:4] == ["old", "stopped", "9", "1.5000"]
    assert old[4:6] == ["500", str(trained.architecture.size)]
    first, run = json_of("runs")
    assert 0 <= first["age_seconds"] < 600
    assert (run["name"], run["run"], run["state"], run["text"]) == (
        "old",
        "runs/old",
        "stopped",
        None,
    )
    assert (run["step"], run["best_step"], run["nats_per_char"]) == (9, 7, 1.5)
    assert (run["seconds"], run["characters_per_second"], run["weights"]) == (
        2,
        500,
        trained.architecture.size,
    )


def test_the_distance_from_the_best_run_has_the_standard_error_of_the_difference(
    trained: TrainedModel,
) -> None:
    rng = np.random.default_rng(0)
    best, other = np.add(rng.random((2, 9)), [[1.0], [1.25]]).tolist()
    Path("text.txt").write_text("text " * 30, encoding="utf-8")
    charlm("tokenize", "text.txt", "--out", "corpus")
    for name, nats, split, means in (
        *(("best", 1.5, "validation", best), ("other", 1.75, "validation", other)),
        *(
            ("shorter", 2.0, "validation", best[:8]),
            ("train", 1.0, "train", best),
            ("lost", 1.0, "validation", best),
        ),
    ):
        run = make_scored_run(Path("runs") / name, trained, nats, split=split, block_means=means)
        if name != "lost":
            (run / "corpus").symlink_to(Path("corpus").resolve())
    runs = {run["name"]: run for run in json_of("runs")}
    error = pytest.approx(
        reference.standard_error([a - b for a, b in zip(other, best, strict=True)]), rel=0.01
    )
    assert runs["other"]["above_best"] == {"nats_per_char": 0.25, "standard_error": error}
    assert runs["other"]["standard_error"] == pytest.approx(
        reference.standard_error(other), rel=0.01
    )
    assert runs["shorter"]["above_best"] == {"nats_per_char": 0.5, "standard_error": None}
    assert [runs[name]["above_best"] for name in ("best", "train", "lost")] == [None] * 3
    table = charlm("runs").stdout
    cells = {line.split()[0]: line.split()[4:6] for line in table.splitlines()[1:]}
    assert cells["other"] == ["+0.2500", f"{runs['other']['above_best']['standard_error']:.4f}"]
    assert cells["shorter"] == ["+0.5000", "-"]
    assert cells["best"] == ["-", "-"]


@pytest.mark.parametrize(
    ("nats", "error", "characters", "shown"),
    [
        pytest.param(1.25, 0.01, 9_999, "0.2500 better", id="better"),
        pytest.param(1.75, 0.01, 9_999, "0.2500 worse", id="worse"),
        pytest.param(1.49, 0.01, 9_999, "unclear", id="unclear"),
        pytest.param(1.25, None, 35, None, id="too few characters for an error"),
    ],
)
def test_the_column_5_gram_has_the_margin(
    nats: float, error: float | None, characters: int, shown: str | None, trained: TrainedModel
) -> None:
    more = {"characters": characters, "ngram_nats_per_char": 1.5, "ngram_standard_error": error}
    make_scored_run(Path("runs/a"), trained, nats, more=more)
    (row,) = json_of("runs")
    assert row["comparison"] == {
        "ngram_nats_per_char": 1.5,
        "margin_nats": pytest.approx(1.5 - nats),
        "standard_error": error,
        "characters": characters,
    }
    assert row["total_bits"] == pytest.approx(nats * characters / math.log(2))
    head, line = charlm("runs").stdout.splitlines()
    if shown is None:
        assert "5-gram" not in head
        return
    assert head[head.index("nats") + 4 : head.index("5-gram") + 6].split() == ["5-gram"]
    assert line[head.index("nats") + 4 : head.index("5-gram") + 6].strip() == shown


def test_a_score_without_a_5_gram_is_not_compared(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/a"), trained, 1.25)
    (row,) = json_of("runs")
    assert (row["comparison"], row["total_bits"], row["scored_characters"]) == (None, None, None)
    assert "5-gram" not in charlm("runs").stdout


@pytest.mark.parametrize(
    "contents", [pytest.param(("one", "two"), id="changed"), pytest.param(("one",) * 2, id="same")]
)
def test_total_bits_are_told_if_a_text_has_changed(
    contents: tuple[str, str], trained: TrainedModel
) -> None:
    for name, text, nats in zip("ab", contents, (math.log(2), 2 * math.log(2)), strict=True):
        Path("play.txt").write_text(f"{text} " * 30, encoding="utf-8")
        run = make_scored_run(Path(f"runs/{name}"), trained, nats, more={"characters": 1_000})
        charlm("tokenize", "play.txt", "--out", run / "corpus")
        os.utime(run / "metrics.jsonl", (-nats, -nats))
    first = "play has changed, so nats per character cannot be compared; total bits:\n"
    totals = "  a 1,000 bits over 1,000 validation characters, b 2,000 bits over 1,000 validation characters\n"
    assert charlm("runs").stdout.endswith(first + totals) == (contents == ("one", "two"))
    assert ("has changed" in charlm("runs").stdout) == (contents == ("one", "two"))
    assert "has changed" not in charlm("runs", "--group").stdout


def test_runs_on_other_texts_are_in_the_same_table_and_not_compared(trained: TrainedModel) -> None:
    for name, text, nats in (("a", "one", 1.5), ("b", "two", 1.0), ("c", "one", 1.25)):
        Path(f"{text}.txt").write_text(f"{text} " * 30, encoding="utf-8")
        run = make_scored_run(Path(f"runs/{name}"), trained, nats)
        charlm("tokenize", f"{text}.txt", "--out", run / "corpus")
        os.utime(run / "metrics.jsonl", (-nats, -nats))
    rows = json_of("runs")
    assert [(row["name"], row["text"]) for row in rows] == [
        ("b", "two"),
        ("c", "one"),
        ("a", "one"),
    ]
    above = {row["name"]: row["above_best"] and row["above_best"]["nats_per_char"] for row in rows}
    assert above == {"a": 0.25, "b": None, "c": None}
    heads, *lines = charlm("runs").stdout.splitlines()
    assert heads.split()[:7] == ["run", "state", "step", "nats", "above", "best", "text"]
    assert [line.split()[0] for line in lines] == ["b", "c", "a"]
    assert {row["text"] for row in json_of("runs", "--group")} == {"one", "two"}


def test_each_run_writes_a_text_at_its_temperature_with_the_same_random_numbers(
    trained: TrainedModel,
) -> None:
    settings = {**trained.config["sampling"], "temperature": 0.0}
    safest = replace(trained, config={**trained.config, "sampling": settings})
    make_scored_run(Path("runs/a"), trained, 1.5)
    make_scored_run(Path("runs/b"), safest, 1.25)
    make_run(Path("runs/empty"))
    rows = {row["name"]: row["sample"] for row in json_of("runs", "--samples")}
    for name in ("a", "b"):
        assert rows[name] == charlm(
            "sample", f"runs/{name}", "-n", "300", "--seed", "1"
        ).stdout.rstrip("\n")
    assert rows["empty"] is None
    assert (
        charlm("runs", "b", "--samples").stdout
        == f"--- b: 1.2500 nats per character ---\n{rows['b']}\n"
    )
    check_failure("runs --samples --group", "--group", code=2)


def test_runs_that_differ_in_their_seeds_alone_are_one_line_with_mean_and_deviation(
    trained: TrainedModel,
) -> None:
    scores = {"seed=1": 1.5, "seed=2": 1.6, "training.data_seed=3": 1.75, "model.units=7": 1.0}
    for number, (override, score) in enumerate(scores.items()):
        config = make_scored_run(Path(f"runs/{number}"), trained, score) / "config.yaml"
        config.write_text(charlm("config", "show", config, "-s", override).stdout, encoding="utf-8")
        os.utime(config.with_name("metrics.jsonl"), (-number, -number))
    make_run(Path("runs/unscored"))
    seeds, other = json_of("runs", "0", "1", "2", "3", "unscored", "--group")
    mean, deviation = statistics.mean([1.5, 1.6, 1.75]), statistics.stdev([1.5, 1.6, 1.75])
    assert (seeds["scored"], seeds["nats_per_char"]) == (3, pytest.approx(mean))
    assert seeds["standard_deviation"] == pytest.approx(deviation)
    assert sorted(seeds["runs"]) == ["runs/0", "runs/1", "runs/2", "runs/unscored"]
    assert (other["scored"], other["standard_deviation"], other["settings"]) == (
        1,
        None,
        {"model.units": 7},
    )
    lines = charlm("runs", "--group").stdout.splitlines()
    assert lines[0].split() == ["runs", "mean", "nats", "deviation"]
    assert lines[1].split()[:3] == ["3", f"{mean:.4f}", f"{deviation:.4f}"]


def test_a_run_that_cannot_be_read_is_a_line_and_does_not_hide_the_others() -> None:
    make_run(Path("runs/red\x1b[31m"))
    (make_run(Path("runs/bad")) / "config.yaml").write_text("units", encoding="utf-8")
    with (make_run(Path("runs/new")) / "config.yaml").open("a", encoding="utf-8") as config:
        config.write("later: {version: 3}\n")
    command = charlm("runs")
    assert (command.exit_code, len(command.stdout.splitlines())) == (0, 5)
    assert command.stdout.replace("\n", "").isprintable()
    (message,) = messages(command)
    assert message.startswith("charlm: runs/bad/config.yaml: found 'units'")
    assert "  later.version 3\n" in command.stdout


def test_settings_that_differ_are_listed_below_each_run_and_parts_of_names_choose_runs(
    trained: TrainedModel,
) -> None:
    make_scored_run(Path("runs/narrow"), trained, 1.5, units=3)
    make_scored_run(Path("runs/wide"), trained, 1.25, units=4)
    listed = sorted(line for line in charlm("runs").stdout.splitlines() if line.startswith("  "))
    assert listed == ["  model.units 3", "  model.units 4"]
    assert [run["name"] for run in json_of("runs", "wid")] == ["wide"]
    assert charlm("runs", "wid", "none").exit_code == 1


DIFFERENT = (
    "log_every=7",
    "batch_size=5",
    "optimizer.learning_rate=0.5",
    "clip_norm=9",
    "epochs=3",
    "shuffle=true",
)


@pytest.fixture
def two_different_runs() -> None:
    """Make a run with default settings, and one with another seed and six other settings of training."""
    make_run(Path("runs/one"))
    config = make_run(Path("runs/two")) / "config.yaml"
    changes = ["seed=4", *(f"training.{change}" for change in DIFFERENT)]
    options = [word for change in changes for word in ("-s", change)]
    config.write_text(charlm("config", "show", config, *options).stdout, encoding="utf-8")


@pytest.mark.usefixtures("two_different_runs")
def test_the_five_settings_that_matter_most_are_shown() -> None:
    command = charlm("runs", "two", "one")
    important = (
        "seed 4, training.epochs 3, training.optimizer.learning_rate 0.5, training.batch_size 5"
    )
    assert f"  {important}, training.shuffle true\n" in command.stdout
    assert command.stderr == "charlm: 2 more differing settings not shown; --all shows them\n"


@pytest.mark.usefixtures("two_different_runs")
def test_all_settings_are_shown_if_the_user_asks() -> None:
    command = charlm("runs", "--all")
    assert "training.log_every 7" in command.stdout
    assert "training.clip_norm 9" in command.stdout
    assert command.stderr == ""


@pytest.mark.usefixtures("two_different_runs")
def test_all_settings_are_in_the_json() -> None:
    assert {len(run["settings"]) for run in json_of("runs")} == {7}


def test_a_table_with_wide_characters_fits_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    make_run(Path("runs") / ("日本語" * 4))
    make_run(Path("runs/short"))
    lines = charlm("runs").stdout.splitlines()
    assert max(map(text_width, lines)) <= 40
    assert len({text_width(line[: line.index("stopped")]) for line in lines[1:]}) == 1


# Other commands


@pytest.mark.usefixtures("place")
def test_inspect_has_every_part_the_nats_of_evaluate_and_what_was_left_out() -> None:
    found = json_of("inspect", "m.safetensors", "--text", "text.txt")
    assert {*SECTIONS, "spectral_radius"} <= set(found)
    assert found["name"] == "m.safetensors"
    assert (
        "".join(one["character"] for one in found["surprise"])
        == Path("text.txt").read_text(encoding="utf-8")[1:]
    )
    score = json_of("evaluate", "m.safetensors", "text.txt")["nats_per_char"]
    assert np.mean([one["nats"] for one in found["surprise"]]) == pytest.approx(score, rel=1e-4)
    other = json_of("inspect", "m.safetensors", "--text", "other.txt")
    assert other["notes"][0].endswith("'X' (U+0058) 1 time.")
    assert len(other["surprise"]) == 3


def test_a_port_that_is_taken_is_named_and_no_address_is_said(trained_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_process("tensorboard", trained_run, "--port", port, timeout=60)
    assert result.returncode == 1
    assert str(port) in result.stderr
    assert "http://" not in result.stderr


@pytest.mark.slow
def test_tensorboard_serves_each_tag_of_each_run_without_tensorflow(
    trained_run: Path, tmp_path: Path
) -> None:
    for name in ("run", "other"):
        shutil.copytree(trained_run, tmp_path / name)
    with started(command_line("tensorboard", tmp_path, "--port", 0)) as (process,):
        said = ""
        while "http://" not in said:
            said += next(process.stderr or iter(()))
        assert said.endswith("/?smoothing=0#timeseries\n")
        (address,) = re.findall(r"http://[\d.:]+", said)  # it listens by then

        def tags() -> Any:
            with urllib.request.urlopen(
                f"{address}/data/plugin/scalars/tags", timeout=10
            ) as response:
                return json.load(response)

        folders = {
            f"{name}/{part}"
            for name in ("run", "other")
            for part in ("train", "validation", "5-gram")
        }
        wait_until(lambda: {*tags()} == {"run", "other", *folders}, [process])
        assert {name for name, found in tags().items() if "loss" in found} == folders
        process.terminate()
        said += process.communicate()[1]
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "tensorflow" not in said.replace("github.com/tensorflow", "").lower(), said
