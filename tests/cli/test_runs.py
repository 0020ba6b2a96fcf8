"""`charlm runs`: the runs under runs/, as a table and as JSON."""

import json
import math
import os
import re
import shutil
import signal
import socket
import statistics
import sys
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import reference
from commands import charlm, json_of, messages
from corpora import make_corpus
from processes import command_line, run_process, started, wait_until
from run_folders import make_run, make_scored_run
from tensorboard import program

from charlm.core.model_file import TrainedModel
from charlm.runs.run import read_outcome

pytestmark = pytest.mark.usefixtures("wide_terminal")


def set_age(run: Path, seconds: float) -> None:
    """Set the time of the last log entry of a run, in seconds before 1970."""
    os.utime(run / "metrics.jsonl", (-seconds, -seconds))


# One run


@pytest.fixture
def two_runs(trained: TrainedModel, trained_run: Path) -> None:
    """Make a scored run and a newer one without a score."""
    set_age(make_scored_run(Path("runs/old"), trained, 1.5), 0)
    outcome = read_outcome(trained_run)
    assert outcome is not None
    replace(outcome, folder=make_run(Path("runs/new")), train_nats_per_char=1.25).write()


@pytest.mark.usefixtures("two_runs")
def test_the_table_has_a_row_for_each_run() -> None:
    assert charlm("runs").stdout == (
        "run  state    step    loss  training loss  above best\n"
        "new  done        -       -         1.2500           -\n"
        "old  stopped     9  1.5000              -           -\n"
    )


@pytest.mark.usefixtures("two_runs")
def test_the_json_has_the_figures_of_each_run(trained: TrainedModel) -> None:
    new, old = json_of("runs")
    assert 0 <= new["age_seconds"] < 600
    assert (
        old.items()
        >= {
            "name": "old",
            "run": "runs/old",
            "state": "stopped",
            "text": None,
            "step": 9,
            "best_step": 7,
            "nats_per_char": 1.5,
            "seconds": 2,
        }.items()
    )


# Several runs


def change(run: Path, setting: str) -> None:
    """Change a setting in the config of a run."""
    config = run / "config.yaml"
    config.write_text(charlm("config", "show", config, "-s", setting).stdout, encoding="utf-8")


@pytest.fixture
def runs_on_a_text(trained: TrainedModel) -> dict[str, list[float]]:
    """Make runs with scores on the same text, and return the mean losses of their blocks."""
    rng = np.random.default_rng(0)
    best, other = np.add(rng.random((2, 9)), [[1.0], [1.25]]).tolist()
    Path("text.txt").write_text("text " * 30, encoding="utf-8")
    charlm("tokenize", "text.txt", "--out", "corpus")
    runs = [
        make_scored_run(Path("runs/best"), trained, 1.5, block_means=best),
        make_scored_run(Path("runs/other"), trained, 1.75, block_means=other),
        make_scored_run(Path("runs/shorter"), trained, 2.0, block_means=best[:8]),
        make_scored_run(Path("runs/train"), trained, 1.0, split="train", block_means=best),
    ]
    for units, run in enumerate(runs, start=1):
        (run / "corpus").symlink_to(Path("corpus").resolve())
        change(run, f"model.units={units}")
    make_scored_run(Path("runs/lost"), trained, 1.0, block_means=best)  # without a corpus
    return {"best": best, "other": other}


ONE_SEED = "above best: one seed each: not known to be more than chance"


@pytest.mark.usefixtures("runs_on_a_text")
def test_the_distance_to_the_best_of_runs_with_one_seed_may_be_chance() -> None:
    distances = {run["name"]: run["above_best"] for run in json_of("runs")}
    assert distances == {
        "best": None,
        "other": {"nats_per_char": 0.25, "standard_error": None},
        "shorter": {"nats_per_char": 0.5, "standard_error": None},
        "train": None,
        "lost": None,
    }
    assert charlm("runs").stdout.splitlines()[-1] == ONE_SEED


def test_the_table_has_losses_with_their_errors(runs_on_a_text: dict[str, list[float]]) -> None:
    own_error = reference.standard_error(runs_on_a_text["other"])
    rows = {line.split()[0]: line for line in charlm("runs").stdout.splitlines()}
    errors = [float(error) for error in re.findall(r"± ([\d.]+)", rows["other"])]
    assert errors == pytest.approx([own_error], rel=0.01)
    assert "(train)" in rows["train"]
    assert rows["train"].endswith("  -")


@pytest.fixture
def runs_on_two_texts(trained: TrainedModel) -> None:
    """Make two runs on one text and a run on another of this name, each newer than the next."""
    for name, text, nats in (("a", "one", 1.5), ("b", "two", 1.0), ("c", "one", 1.25)):
        Path("text.txt").write_text(f"{text} " * 30, encoding="utf-8")
        run = make_scored_run(Path(f"runs/{name}"), trained, nats)
        charlm("tokenize", "text.txt", "--out", run / "corpus")
        change(run, f"model.units={ord(name)}")
        set_age(run, nats)


@pytest.mark.usefixtures("runs_on_two_texts")
def test_runs_on_different_texts_are_not_compared() -> None:
    runs = json_of("runs")
    assert [run["name"] for run in runs] == ["b", "c", "a"]
    assert [run["text"] for run in runs] == ["text", "text", "text"]
    distances = [run["above_best"] for run in runs]
    assert distances == [None, None, {"nats_per_char": 0.25, "standard_error": None}]
    named = re.findall(r'  text "text \((\w+)\)"', charlm("runs").stdout)
    assert named == [run["text_sha256"][:8] for run in runs]
    assert len({*named}) == 2


@pytest.mark.usefixtures("runs_on_two_texts")
def test_a_run_is_listed_once_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("runs/a")
    assert [run["name"] for run in json_of("runs", ".", "../a", Path.cwd())] == ["a"]
    assert charlm("runs", ".").stdout.splitlines()[1].startswith("a ")


# Samples and groups


@pytest.fixture
def runs_with_samples(trained: TrainedModel) -> None:
    """Make two runs with models that sample at different temperatures, and one without a model."""
    trained.parameters.logits_bias[4] = -99  # a text does not end
    make_scored_run(Path("runs/a"), trained, 1.5)
    settings = {**trained.config["sampling"], "temperature": 0.0}
    deterministic = replace(trained, config={**trained.config, "sampling": settings})
    make_scored_run(Path("runs/b"), deterministic, 1.25)
    make_run(Path("runs/empty"))


@pytest.mark.usefixtures("runs_with_samples")
def test_the_json_has_a_sample_of_each_run() -> None:
    samples = {run["name"]: run["sample"] for run in json_of("runs", "--samples")}
    expected: dict[str, str | None] = {"empty": None}
    for name in ("a", "b"):
        command = charlm("sample", f"runs/{name}", "-n", "300", "--seed", "1")
        expected[name] = command.stdout.rstrip("\n")
    assert samples == expected


@pytest.mark.usefixtures("runs_with_samples")
def test_a_sample_of_each_run_is_printed() -> None:
    (run,) = json_of("runs", "b", "--samples")
    table = charlm("runs", "b").stdout
    assert charlm("runs", "b", "--samples").stdout == f"{table}{run['sample']}\n\n"


@pytest.fixture
def runs_with_seeds(trained: TrainedModel) -> None:
    """Make three runs that differ only in their seeds, one with other units, and one unscored."""
    scores = {"seed=1": 1.5, "seed=2": 1.6, "seed=3": 1.75, "model.units=7": 1.0}
    for number, (override, score) in enumerate(scores.items()):
        run = make_scored_run(Path(f"runs/{number}"), trained, score)
        change(run, override)
        set_age(run, number)
    make_run(Path("runs/unscored"))
    for run in Path("runs").iterdir():
        make_corpus(run, "abba\n" * 9).folder.rename(run / "corpus")


MEAN = statistics.mean([1.5, 1.6, 1.75])
ERROR = statistics.stdev([1.5, 1.6, 1.75]) / math.sqrt(3)


@pytest.mark.usefixtures("runs_with_seeds")
def test_the_distance_to_the_best_run_has_the_error_over_seeds() -> None:
    """Two runs differ by chance by the spread over seeds, times the square root of 2."""
    error = math.sqrt(2) * statistics.stdev([1.5, 1.6, 1.75])
    expected = [{"nats_per_char": nats, "standard_error": error} for nats in (0.5, 0.6, 0.75)]
    distances = [run["above_best"] for run in json_of("runs", "0", "1", "2", "3")]
    assert distances == [*map(pytest.approx, expected), None]
    printed = charlm("runs").stdout
    assert f"0.7500 ± {error:.4f}" in printed
    assert ONE_SEED not in printed


@pytest.mark.usefixtures("runs_with_seeds")
def test_the_json_of_groups_has_means_in_the_order_of_the_setting() -> None:
    other, seeds = json_of("runs", "0", "1", "2", "3", "unscored", "--group")
    assert seeds["scored"] == 3
    assert seeds["nats_per_char"] == pytest.approx(MEAN)
    assert seeds["standard_error"] == pytest.approx(ERROR)
    assert sorted(seeds["runs"]) == ["runs/0", "runs/1", "runs/2", "runs/unscored"]
    assert (other["scored"], other["standard_error"], other["text"]) == (1, None, "sources")
    assert other["settings"] == {"model.units": 7}
    assert seeds["above_previous"]["nats_per_char"] == pytest.approx(MEAN - 1)
    assert seeds["above_previous"]["standard_error"] is None


@pytest.mark.usefixtures("runs_with_seeds")
def test_a_group_is_a_row() -> None:
    heads, _, _, second, *_ = charlm("runs", "--group").stdout.splitlines()
    assert re.split("  +", heads) == ["seeds", "mean loss ± standard error over seeds"]
    assert second.split() == ["3", f"{MEAN:.4f}", "±", f"{ERROR:.4f}"]


@pytest.mark.usefixtures("runs_with_seeds")
def test_a_group_is_compared_with_the_row_above(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/4"), trained, 1.2)
    shutil.copytree("runs/3/corpus", "runs/4/corpus")
    config = charlm("config", "show", "runs/3/config.yaml", "-s", "seed=2").stdout
    Path("runs/4/config.yaml").write_text(config, encoding="utf-8")
    difference = json_of("runs", "--group")[1]["above_previous"]
    assert difference["nats_per_char"] == pytest.approx(MEAN - 1.1)
    error = math.sqrt(ERROR**2 + 0.1**2)
    assert difference["standard_error"] == pytest.approx(error)
    assert difference["t"] == pytest.approx((MEAN - 1.1) / error)
    sentence = "0.5167 ± 0.1236 nats higher than the row above: may be chance"
    assert f"\n  {sentence}" in charlm("runs", "--group").stdout


# Settings and damaged runs


@pytest.fixture
def damaged_runs() -> None:
    """Make a run with a control character in its name, and three with wrong files."""
    make_run(Path("runs/red\x1b[31m"))
    (make_run(Path("runs/bad")) / "config.yaml").write_text("units", encoding="utf-8")
    with (make_run(Path("runs/new")) / "config.yaml").open("a", encoding="utf-8") as config:
        config.write("later: {version: 3}\n")
    (make_run(Path("runs/odd")) / "ended.json").write_text('{"step": []}', encoding="utf-8")


@pytest.mark.usefixtures("damaged_runs")
def test_a_damaged_file_is_reported_and_other_runs_are_listed() -> None:
    command = charlm("runs")
    assert (command.exit_code, len(command.stdout.splitlines())) == (0, 2)
    bad, new, odd = messages(command)
    assert bad.startswith("charlm: runs/bad/config.yaml: found 'units'")
    assert new.startswith("charlm: runs/new/config.yaml: later: found {'version': 3}; there is no")
    assert odd.startswith("charlm: runs/odd/ended.json: not valid ")
    assert charlm("runs", "red", "bad").exit_code == 1


def test_runs_with_the_same_name_are_listed_by_their_paths(trained: TrainedModel) -> None:
    for student in ("ann", "bob"):
        make_scored_run(Path(f"{student}/runs/mine"), trained, 1.5)
    rows = charlm("runs", "ann/runs/mine", "bob/runs/mine").stdout.splitlines()[1:]
    assert sorted(row.split()[0] for row in rows) == ["ann/runs/mine", "bob/runs/mine"]


def test_different_settings_are_listed_below_each_run(trained: TrainedModel) -> None:
    make_scored_run(Path("runs/narrow"), trained, 1.5, units=3)
    make_scored_run(Path("runs/wide"), trained, 1.25, units=4)
    listed = [line for line in charlm("runs").stdout.splitlines() if line.startswith("  ")]
    assert sorted(listed) == ["  model.units 3", "  model.units 4"]
    assert [group["above_previous"] for group in json_of("runs", "--group")] == [None, None]


@pytest.mark.parametrize("names", [[], ["none"]], ids=str)
def test_without_readable_runs_the_json_is_an_empty_list(names: list[str]) -> None:
    (make_run(Path("runs/none")) / "config.yaml").write_text("units", encoding="utf-8")
    command = charlm("runs", *names, "--json")
    assert (command.exit_code, command.stdout) == (1, "[]\n")


# Other commands


@pytest.mark.usefixtures("place")
def test_the_json_of_inspect_has_every_section() -> None:
    result = json_of("inspect", "m.safetensors", "--text", "text.txt")
    assert {"network", "lyapunov", "units", "spectral_radius", "groups"} <= result.keys()
    assert result["name"] == "m.safetensors"
    characters = [each["character"] for each in result["surprise"]]
    assert "".join(characters) == Path("text.txt").read_text(encoding="utf-8")[1:]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize(
    ("options", "host", "port"),
    [([], "127.0.0.1", None), (["--port", 0, "--host", "127.0.0.2"], "127.0.0.2", 0)],
    ids=str,
)
def test_tensorboard_is_launched_with_all_texts_of_the_runs(
    options: list[str | int],
    host: str,
    port: int | None,
    trained_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boards: list[Any] = []

    def launch(board: program.TensorBoard) -> str:
        boards.append(board.flags)
        return "http://127.0.0.1:6006/"

    monkeypatch.setattr(program.TensorBoard, "launch", launch)
    monkeypatch.setattr(signal, "pause", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", None)
    command = charlm("tensorboard", trained_run, *options)
    assert "http://127.0.0.1:6006/?smoothing=0#timeseries\n" in command.stderr
    (flags,) = boards
    assert (flags.logdir, flags.host, flags.port) == (str(trained_run), host, port)
    assert flags.samples_per_plugin == {"text": 100_000}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        pytest.param(
            ["a", "b/c", "d"], r"regex:^(?:(?:d)()|(?:b/c|a)())/", id="two seeds of a setting"
        ),
        pytest.param(["a", None, "d"], None, id="one seed of each setting"),
        pytest.param(["a", None, "d", "unreadable"], None, id="a run that cannot be read"),
    ],
)
def test_tensorboard_gives_a_group_one_colour(
    names: list[str | None],
    pattern: str | None,
    trained: TrainedModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(program.TensorBoard, "launch", lambda _: "http://127.0.0.1:6006/")
    monkeypatch.setattr(signal, "pause", Mock(side_effect=KeyboardInterrupt))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", None)
    overrides = ("seed=1", "seed=2", "model.units=7", "seed=3")
    for name, override in zip(names, overrides, strict=False):
        if name is None:
            continue
        run = make_scored_run(Path("runs", name), trained, 1.5)
        make_corpus(run, "abba\n" * 9).folder.rename(run / "corpus")
        config = charlm("config", "show", run / "config.yaml", "-s", override).stdout
        (run / "config.yaml").write_text(config, encoding="utf-8")
        (run / "events.out.tfevents.1").touch()
    if "unreadable" in names:
        Path("runs/unreadable/config.yaml").write_text("- units", encoding="utf-8")
    (address,) = re.findall(r"http://\S+", charlm("tensorboard", "runs").stderr)
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
    assert query.get("runColorGroup") == (pattern and [pattern])


@pytest.mark.slow
def test_tensorboard_reports_a_chosen_port_in_use(trained_run: Path) -> None:
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
        log = ""
        while "type validation into Filter runs\n" not in log:
            log += next(process.stderr or iter(()))
        assert "/?smoothing=0&runFilter=validation&runColorGroup=" in log
        (address,) = re.findall(r"http://[\d.:]+", log)

        def tags() -> Any:
            with urllib.request.urlopen(
                f"{address}/data/plugin/scalars/tags", timeout=10
            ) as response:
                return json.load(response)

        with_loss = {
            "run/train",
            "run/validation",
            "run/8-gram",
            "other/train",
            "other/validation",
            "other/8-gram",
        }
        wait_until(lambda: {*tags()} == {"run", "other", *with_loss}, [process])
        assert {name for name, names in tags().items() if "loss" in names} == with_loss
        process.terminate()
        log += process.communicate()[1]
    assert process.returncode in {0, 128 + signal.SIGTERM}
    assert "tensorflow" not in log.replace("github.com/tensorflow", "").lower(), log
