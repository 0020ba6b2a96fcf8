"""What `charlm train`, `plan` and `tokenize` report, of real plans and trainings."""

import json
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, create_autospec

import pytest
from click.testing import Result
from commands import charlm, json_of, suggestions
from conftest import CAN_TRAIN
from corpora import write_plays, write_texts
from models import weights_of
from run_folders import make_run
from tensorboard import program

from charlm.api import training
from charlm.cli import output
from charlm.config.file import load_config
from charlm.core.model_file import read_model
from charlm.events import Evaluated, Event
from charlm.runs.run import Outcome, read_outcome
from charlm.runs.session import Stopped
from charlm.text.corpus import open_corpus

Report = Callable[..., Result]
trains = pytest.mark.skipif(not CAN_TRAIN, reason="it trains")
pytestmark = pytest.mark.usefixtures("wide_terminal")
SHORT = "-c tiny -s training.steps=40 -s training.evaluations=2"


@pytest.fixture
def outcome(trained_run: Path) -> Outcome:
    """Return the outcome of a real training whose last model is the best, as it ended."""
    found = read_outcome(trained_run)
    assert found is not None
    assert found.best_step == found.step
    return replace(found, folder=Path("runs/a b"), had_ended=False)


@pytest.fixture
def report(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return a function that runs `charlm train` with that outcome, changed, as its result."""

    def train(*arguments: str, **changes: Any) -> Result:
        ended = replace(outcome, **changes)
        monkeypatch.setattr(training, "train", create_autospec(training.train, return_value=ended))
        return charlm("train", *arguments)

    return train


def messages(command: Result) -> list[str]:
    """Return the lines of standard error without their prefix."""
    lines = command.stderr.splitlines()
    assert all(line.startswith("charlm: ") for line in lines)
    return [line.removeprefix("charlm: ") for line in lines]


# What a training suggests


SLOW = pytest.mark.slow
KINDS = [
    pytest.param("", ["plays.txt"], id="text", marks=SLOW),
    pytest.param("", ["plays.txt", "-more of it.txt"], id="texts", marks=SLOW),
    pytest.param("", ["-"], id="standard input"),
    pytest.param("--init 'first run'", ["plays.txt"], id="initial weights"),
    pytest.param("-c 'my recipe.yaml'", ["plays.txt"], id="recipe file", marks=SLOW),
    pytest.param("-r 'my runs/new one'", ["plays.txt"], id="folder"),
    pytest.param("-r run --resume", ["plays.txt"], id="start or resume", marks=SLOW),
]
"""Options and texts of each kind of run."""


@trains
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.parametrize(("options", "texts"), KINDS)
def test_every_command_that_a_training_suggests_works(
    options: str, texts: list[str], trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longer training is one of the same text with the same settings."""
    monkeypatch.setattr(program.TensorBoard, "launch", lambda _board: "http://127.0.0.1:6006/")
    monkeypatch.setattr(signal, "pause", Mock())
    text = write_plays(Path("plays.txt"), characters=30_000).read_text("utf-8")
    Path("-more of it.txt").write_text("The ferry lies on the mud.\n" * 40, encoding="utf-8")
    recipe = charlm("config", "show", "tiny", "-s", "seed=5").stdout
    Path("my recipe.yaml").write_text(recipe, encoding="utf-8")
    Path("first run").symlink_to(trained_run)
    first = charlm(*shlex.split(f"train {SHORT} {options} --"), *texts, stdin=text)
    assert first.exit_code == 0, first.stderr
    folder, _, said = first.stdout.partition(": ")
    longer, *others = suggestions(first.stderr)
    assert [name for name, *_ in others] == ["sample", "inspect", "tensorboard"]
    for arguments in others:
        command = charlm(*arguments)
        assert command.exit_code == 0, command.stderr
    assert Path("report.html").is_file()
    found = json_of(*longer)
    new = found["run"]
    assert (new == f"{folder}-longer") == ("-r " in options)
    assert found["nats_per_char"] < float(said.split()[0])
    config, longer_config = (
        load_config(Path(run, "config.yaml")).model_copy(update={"recipe": ""})
        for run in (folder, new)
    )
    assert longer_config == config.with_training(steps=80)
    ids, longer_ids = (open_corpus(Path(run, "corpus")).ids for run in (folder, new))
    assert longer_ids.tolist() == ids.tolist()
    weights, longer_weights = (
        [weights_of(path) for path in Path(run).glob("init*")] for run in (folder, new)
    )
    assert len(weights) == ("--init" in options)
    assert longer_weights == weights


@trains
@pytest.mark.parametrize(
    ("options", "expected"),
    [((), ("english", "finetune")), (("--init", "none"), (None, "small"))],
    ids=["the base", "random weights"],
)
def test_the_user_can_begin_with_random_weights(
    options: tuple[str, ...], expected: tuple[str | None, str]
) -> None:
    write_plays(Path("plays.txt"), characters=5000)
    plan = json_of("plan", "plays.txt", *options)
    assert (plan["initial_model"], plan["recipe"]) == expected


@trains
def test_a_stopped_training_suggests_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    write_plays(Path("plays.txt"), characters=30_000)

    def describe(event: Event) -> list[str]:
        """Send a signal at the first evaluation."""
        if isinstance(event, Evaluated) and event.step == 20:
            signal.raise_signal(signal.SIGTERM)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(output, "describe", describe)
        command = charlm(*shlex.split(f"train plays.txt {SHORT} -r 'a b'"))
    assert (command.exit_code, command.stdout) == (128 + signal.SIGTERM, "")
    stopped, continued = messages(command)
    assert stopped.startswith("stopped by SIGTERM: 20 steps in ")
    assert continued == "continue with: charlm train --resume -r 'a b'"
    (arguments,) = suggestions(command.stderr)
    resumed = charlm(*arguments)
    assert "charlm: resumed at step 20 of 40\n" in resumed.stderr
    assert resumed.stdout.startswith("a b: ")


# The end of a training


def test_the_loss_is_explained_as_a_choice(report: Report, outcome: Outcome) -> None:
    """exp(1.25) = 3.49, and exp(1.5) = 4.48."""
    assert outcome.baselines.keys() == {"8-gram"}
    assert report(nats_per_char=1.25, baselines={"8-gram": 1.5}).stdout == (
        "runs/a b: 1.2500 nats per character: as uncertain as a choice among 3.5 characters; "
        "an 8-gram model: 4.5\n"
    )


def test_without_a_validation_text_the_loss_is_that_of_the_training_text(report: Report) -> None:
    command = report(split="train", nats_per_char=0.0, baselines={})
    assert command.stdout == (
        "runs/a b: 0.0000 nats per character of the training text: as uncertain as a choice among "
        "1.0 characters\n"
    )


def test_a_training_without_a_best_model_has_no_score(report: Report) -> None:
    assert report(nats_per_char=None, best_step=0).stdout == ""


@pytest.mark.parametrize(
    ("best_step", "end"),
    [
        pytest.param(60, "", id="last"),
        pytest.param(40, "; best at step 40", id="earlier"),
        pytest.param(
            0,
            "; the initial weights are still the best, and in best.safetensors",
            id="initial weights",
        ),
    ],
)
def test_a_training_ends_with_its_reason(best_step: int, end: str, report: Report) -> None:
    command = report(best_step=best_step, elapsed_seconds=60.4)
    assert messages(command)[0] == f"all steps done: 60 steps in 1m00s{end}"


def test_an_uncertain_choice_of_the_best_model_names_the_last_one(report: Report) -> None:
    """The validation text has fewer than 2,400 characters."""
    assert messages(report(is_uncertain=True))[1] == (
        "fewer than 2,400 validation characters: it is uncertain which model is best; compare with "
        "the last one: charlm sample 'runs/a b'/last.safetensors"
    )


@pytest.mark.parametrize(
    ("options", "longer", "time"),
    [
        pytest.param("--minutes 3", "--minutes 6", "6m00s", id="minutes"),
        pytest.param("--epochs 4 -r a --resume", "--epochs 8 -r a-longer", "2m01s", id="epochs"),
        pytest.param("-s training.epochs=3", "-s training.steps=120", "2m01s", id="setting"),
    ],
)
def test_a_longer_training_has_twice_the_length_that_was_given(
    options: str, longer: str, time: str, report: Report
) -> None:
    command = report("my text", *shlex.split(options), is_improving=True, elapsed_seconds=60.4)
    message = f"still improving; a new run twice as long takes about {time}: charlm train 'my text'"
    assert f"{message} {longer}" in messages(command)


def test_a_network_that_is_no_longer_improving_gets_no_suggestion(report: Report) -> None:
    assert "twice" not in report(is_improving=False).stderr


def test_a_run_that_continues_gets_no_suggestion(report: Report) -> None:
    make_run(Path("run"))
    assert "twice" not in report("text", "-r", "run", "--resume", is_improving=True).stderr


@pytest.mark.parametrize(
    ("stopped", "exit_code", "message"),
    [
        (Stopped(signal.SIGHUP), 129, "stopped by SIGHUP"),
        (KeyboardInterrupt(), 130, "stopped before training; nothing was saved"),
    ],
    ids=["by a session", "before it"],
)
def test_a_training_that_is_stopped_at_its_start_says_so(
    stopped: KeyboardInterrupt, exit_code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train", Mock(side_effect=stopped))
    command = charlm("train")
    assert (command.exit_code, messages(command)) == (exit_code, [message])


@trains
def test_a_training_is_printed_as_json() -> None:
    Path("abba.txt").write_text("abba\n" * 200, encoding="utf-8")
    found = json_of(*shlex.split(f"train abba.txt {SHORT} -r run -q"))
    ended = json.loads(Path("run/ended.json").read_text("utf-8"))
    assert found.pop("total_seconds") > found["elapsed_seconds"]
    (warning,) = found.pop("warnings")
    assert "are lines that the training text has too" in warning
    assert found == {
        **ended,
        "run": "run",
        "minutes": None,
        "suggestion": None,
        "model": "run/best.safetensors",
    }
    score = read_model(Path("run/best.safetensors")).facts["score"]
    assert (found["step"], found["nats_per_char"]) == (40, score["nats_per_char"])


# The plan of a training


@pytest.fixture(scope="module")
def plan(trained_run: Path) -> dict[str, Any]:
    """Return a real plan."""
    return training.plan(trained_run / "corpus", recipe="tiny")


@pytest.fixture
def show_plan(plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return a function that returns the lines of the plan, changed."""

    def show(**changes: Any) -> list[str]:
        changed = create_autospec(training.plan, return_value=plan | changes)
        monkeypatch.setattr(training, "plan", changed)
        return charlm("plan").stdout.splitlines()

    return show


ShowPlan = Callable[..., list[str]]
MEASURED = {
    "precision": "bfloat16",
    "seconds": 70.0,
    "memory_bytes": 1_500_000_000,
    "characters_per_second": 20_480.0,
}


@trains
def test_every_figure_of_a_plan_is_printed(show_plan: ShowPlan) -> None:
    lines = show_plan(**MEASURED)[1:]
    assert lines == [
        "begins with random weights",
        "recipe      tiny: chosen by you",
        "network     1 x 16 units, 2,285 weights, bfloat16",
        "steps       60, 0.484 epochs, 8 windows of 16 characters each, 2 evaluations",
        "memory      1.5 GB",
        "time        1m10s",
        "speed       20,480 characters per second",
    ]


@trains
@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"reason": "it fits"}, "recipe      tiny: it fits", id="chosen recipe"),
        pytest.param({"initial_model": "mine"}, "begins with mine", id="initial weights"),
        pytest.param(
            {"initial_model": "mine", "initial_reason": "mine (1.5 nats)"},
            "begins with mine (1.5 nats)",
            id="chosen initial weights",
        ),
        pytest.param({"minutes": 3.0}, "time        1m10s of 3 min", id="time limit"),
        pytest.param({"may_end_early": True}, "time        at most 1m10s", id="early end"),
        pytest.param(
            {"text": {"summary": "short", "findings": ["line ends: mixed"]}},
            "problem     line ends: mixed",
            id="problem",
        ),
    ],
)
def test_a_plan_depends_on_what_the_user_chose(
    changes: dict[str, Any], line: str, show_plan: ShowPlan
) -> None:
    assert line in show_plan(**MEASURED, **changes)


@trains
def test_a_plan_fits_into_a_narrow_terminal(
    show_plan: ShowPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, show_plan())) <= 40


@trains
@pytest.mark.parametrize("options", ["", "--init 'first run'", "--epochs 1"])
def test_a_training_does_what_was_planned(options: str, trained_run: Path) -> None:
    Path("first run").symlink_to(trained_run)
    arguments = shlex.split(f"{trained_run}/corpus -c tiny {options}")
    plan = json_of("plan", *arguments)
    found = json_of("train", *arguments, "-r", "run")
    assert (found["recipe"], found["step"]) == (plan["recipe"], plan["steps"])
    assert found["epochs"] == pytest.approx(plan["epochs"])
    model = read_model(Path("run/best.safetensors"))
    assert model.architecture.size == plan["parameters"]
    assert model.config["training"]["evaluations"] == plan["evaluations"]


# Tokenizing


def test_the_corpus_is_summarized(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba\n" * 50, b"\xff")
    command = charlm(
        "tokenize", sources, "--out", tmp_path / "corpus", "-s", "corpus.test_fraction=0.1"
    )
    assert command.stdout == (f"{tmp_path}/corpus: 250 characters, a vocabulary of 3, 1 document\n")
    assert (
        f"files: 1 left out: {sources}/01.txt (not valid utf-8 at byte 0 (0xFF))" in command.stderr
    )
