"""What `charlm train`, `plan` and `tokenize` report."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import Signals
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import Result
from commands import charlm, json_of
from corpora import write_plays, write_texts
from pages import parse_command

from charlm.config.file import load_config
from charlm.core.model_file import read_model
from charlm.events import Note, OnEvent
from charlm.runs.run import Outcome
from charlm.runs.session import Stopped

Report = Callable[..., Result]

FACTS: dict[str, Any] = {
    "recipe": "tiny",
    "epochs": 10.0,
    "seconds": 50.4,
    "elapsed_seconds": 60.4,
    "nats_per_char": 1.25,
    "standard_error": 0.01,
    "best_step": 1500,
    "split": "validation",
    "temperature": 0.8,
    "baselines": {"8-gram": 1.5},
}
OUTCOME = Outcome(
    folder=Path("runs/a b"),
    reason="all steps done",
    step=1500,
    **FACTS,
)
"""A training whose last model is the best."""


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    """Return a function that runs `charlm train` with OUTCOME, changed, as its result."""

    def train(*arguments: str, **changes: Any) -> Result:
        outcome = replace(OUTCOME, **changes)
        monkeypatch.setattr("charlm.api.training.train", Mock(return_value=outcome))
        return charlm("train", *arguments)

    return train


def messages(command: Result) -> list[str]:
    """Return the lines of standard error without their prefix."""
    lines = command.stderr.splitlines()
    assert all(line.startswith("charlm: ") for line in lines)
    return [line.removeprefix("charlm: ") for line in lines]


# The end of a training


def test_the_best_loss_of_a_training_is_reported(trained_run: Path, tmp_path: Path) -> None:
    command = charlm("train", trained_run.parent / "text.txt", "-c", "tiny", "-r", tmp_path / "run")
    assert command.exit_code == 0, command.stderr
    best = read_model(tmp_path / "run" / "best.safetensors").facts["score"]["nats_per_char"]
    assert command.stdout.startswith(f"{tmp_path}/run: {best:.4f} nats per character: ")


def test_the_loss_is_explained_as_a_choice(report: Report) -> None:
    """exp(1.25) = 3.49, and exp(1.5) = 4.48."""
    assert report().stdout == (
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
        pytest.param(1500, "", id="last"),
        pytest.param(1400, "; best at step 1,400", id="earlier"),
        pytest.param(
            0,
            "; the initial weights are still the best, and in best.safetensors",
            id="initial weights",
        ),
    ],
)
def test_a_training_ends_with_its_reason(
    best_step: int,
    end: str,
    report: Report,
) -> None:
    command = report(best_step=best_step)
    assert messages(command)[0] == f"all steps done: 1,500 steps in 1m00s{end}"


def test_a_training_ends_with_what_to_do_next(report: Report) -> None:
    assert messages(report())[1:] == [
        "generate text: charlm sample 'runs/a b'; look inside: charlm inspect 'runs/a b' --out "
        "report.html, charlm tensorboard"
    ]


def test_an_uncertain_choice_of_the_best_model_names_the_last_one(report: Report) -> None:
    """The validation text has fewer than 2,400 characters."""
    assert messages(report(is_uncertain=True))[1] == (
        "fewer than 2,400 validation characters: it is uncertain which model is best; compare with "
        "the last one: charlm sample 'runs/a b'/last.safetensors"
    )


# How to go on


@pytest.mark.parametrize(
    ("text", "options", "longer", "time"),
    [
        pytest.param("my text", ["--minutes", "3"], "--minutes 6", "6m00s", id="minutes"),
        pytest.param("my text", ["--epochs", "4"], "--epochs 8", "2m01s", id="epochs"),
        pytest.param(
            "my text", ["-s", "training.epochs=3"], "-s training.steps=3000", "2m01s", id="setting"
        ),
        pytest.param(
            "-",
            ["--init", "a b"],
            "--init 'a b' -s training.steps=3000",
            "2m01s",
            id="initial weights, standard input",
        ),
    ],
)
def test_a_network_that_is_still_improving_can_train_twice_as_long(
    report: Report, text: str, options: list[str], longer: str, time: str
) -> None:
    command = report(text, "-c", "tiny", "-s", "seed=2", *options, is_improving=True)
    text = "runs/a b/corpus" if text == "-" else text
    again = f"charlm train '{text}' -c tiny -s seed=2 {longer}"
    message = f"still improving; a new run twice as long takes about {time}: {again}"
    assert message in messages(command)


def test_a_run_that_resumes_can_train_twice_as_long_with_its_own_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outcome = replace(OUTCOME, is_improving=True)
    monkeypatch.setattr("charlm.api.training.train", Mock(return_value=outcome))
    found = json_of("train", "text", "-c", "tiny", "--minutes", 3, "-r", "r", "--resume")
    again = "charlm train 'runs/a b/corpus' -c 'runs/a b/config.yaml' -s training.steps=3000"
    assert found["suggestion"] == again


def test_a_network_that_is_no_longer_improving_gets_no_suggestion(report: Report) -> None:
    assert "twice" not in report(is_improving=False).stderr


@pytest.mark.slow
def test_a_suggestion_can_be_followed(tmp_path: Path) -> None:
    text = write_plays(tmp_path / "plays" / "text.txt", characters=30_000)
    first = charlm("train", text, "-c", "tiny", "-r", tmp_path / "first")
    assert first.exit_code == 0, first.stderr
    (line,) = [line for line in first.stderr.splitlines() if "still improving" in line]
    arguments = shlex.split(line.rpartition(": ")[2])[1:]
    assert parse_command(arguments)["overrides"] == ("training.steps=120",)
    second = charlm(*arguments, "-r", tmp_path / "second")
    assert second.exit_code == 0, second.stderr
    before, after = (
        read_model(tmp_path / name / "best.safetensors").facts["score"]["nats_per_char"]
        for name in ("first", "second")
    )
    assert after < before


# Other ends


def test_a_training_that_a_signal_ends_reports_only_how_to_resume(report: Report) -> None:
    command = report(signal=Signals.SIGTERM, reason="stopped by SIGTERM")
    assert command.exit_code == 128 + 15
    assert command.stdout == ""
    assert messages(command)[1:] == ["continue with: charlm train --resume -r 'runs/a b'"]


def test_a_training_that_is_stopped_at_its_start_names_the_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped = Stopped(Signals.SIGHUP)
    monkeypatch.setattr("charlm.api.training.train", Mock(side_effect=stopped))
    command = charlm("train")
    assert command.exit_code == 128 + 1
    assert messages(command) == ["stopped by SIGHUP"]


# JSON


def test_a_training_is_printed_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*, on_event: OnEvent, **_: Any) -> Outcome:
        on_event(Note("recipe tiny"))
        on_event(Note("the text is short", is_warning=True))
        return replace(OUTCOME, is_improving=True)

    monkeypatch.setattr("charlm.api.training.train", train)
    found = json_of("train", "text", "--minutes", 3, "-q")
    assert found.pop("total_seconds") >= 0
    assert found == {
        "run": "runs/a b",
        "reason": "all steps done",
        "step": 1500,
        **FACTS,
        "minutes": 3,
        "suggestion": "charlm train text --minutes 6",
        "warnings": ["the text is short"],
        "model": "runs/a b/best.safetensors",
    }


def test_without_a_suggestion_or_a_time_limit_the_json_has_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charlm.api.training.train", Mock(return_value=OUTCOME))
    found = json_of("train")
    assert (found["minutes"], found["suggestion"]) == (None, None)


# The plan of a training


PROBLEM = "line ends: mixed: 20 \\n, 10 \\r\\n; make them one kind"
PLAN = {
    "recipe": "small",
    "reason": "it suits the text",
    "parameters": 1_234_567,
    "layers": 2,
    "units": 512,
    "batch_size": 32,
    "sequence_length": 64,
    "precision": "bfloat16",
    "steps": 8_000,
    "epochs": 6.656,
    "evaluations": 20,
    "minutes": 3.0,
    "seconds": 70.0,
    "may_end_early": False,
    "memory_bytes": 1_500_000_000,
    "characters_per_second": 20_480.0,
    "text": {"summary": "20,000 characters, a vocabulary of 2", "findings": [PROBLEM]},
}
LINES = [
    "text        20,000 characters, a vocabulary of 2",
    f"problem     {PROBLEM}",
    "recipe      small: it suits the text",
    "network     2 x 512 units, 1,234,567 weights, bfloat16",
    "steps       8,000, 6.66 epochs, 32 windows of 64 characters each, 20 evaluations",
    "memory      1.5 GB",
    "time        1m10s of 3 min",
    "speed       20,480 characters per second",
]


def show_plan(
    monkeypatch: pytest.MonkeyPatch,
    *,
    columns: int = 400,
    **changes: Any,
) -> list[str]:
    """Return the lines of `charlm plan`, whose plan has some changes."""
    monkeypatch.setattr("charlm.api.training.plan", Mock(return_value=PLAN | changes))
    monkeypatch.setenv("COLUMNS", str(columns))
    return charlm("plan").stdout.splitlines()


def test_every_figure_of_a_plan_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert show_plan(monkeypatch) == LINES


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        pytest.param({"reason": ""}, "recipe      small: chosen by you", id="chosen recipe"),
        pytest.param({"minutes": None}, "time        1m10s", id="no time limit"),
        pytest.param({"may_end_early": True}, "time        at most 1m10s of 3 min", id="early end"),
        pytest.param({"evaluations": 1}, f"{LINES[4][:-14]}1 evaluation", id="one evaluation"),
    ],
)
def test_a_plan_depends_on_what_the_user_chose(
    changes: dict[str, Any], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert line in show_plan(monkeypatch, **changes)


def test_a_plan_fits_into_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, show_plan(monkeypatch, columns=40))) <= 40


def test_a_plan_is_printed_as_json(trained_run: Path) -> None:
    found = json_of("plan", trained_run / "corpus", "-c", "tiny")
    contract = {"parameters", "steps", "steps_per_epoch", "memory_bytes", "seconds", "recipe"}
    assert found.keys() >= contract | PLAN.keys()
    assert (found["recipe"], found["steps"]) == ("tiny", 60)
    trained = load_config(trained_run / "config.yaml").training
    assert found["evaluations"] == trained.evaluations


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--minutes", "1000001", "minutes: found 1000001.0; must be above 0 and at most 1,000,000"),
        ("--epochs", "1000000001", "training.epochs: found 1000000001; must be less than or"),
        ("--epochs", "9" * 30, "epochs: found 999999999999999999999999999999; must be 1 to 9,2"),
    ],
)
@pytest.mark.parametrize("command", ["train", "plan"])
def test_a_length_without_end_is_refused_in_one_line(
    command: str, option: str, value: str, message: str
) -> None:
    refused = charlm(command, option, value)
    assert refused.exit_code == 1
    (line,) = messages(refused)
    assert message in line
    assert list(Path.cwd().iterdir()) == []


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
