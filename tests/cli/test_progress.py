"""What the user sees of a training: its size, the progress bar, and evaluations."""

from dataclasses import replace
from typing import Any

import pytest

from charlm.cli import output
from charlm.cli.output import ProgressDisplay, describe
from charlm.events import Evaluated, Event, Note, Progress, StepsTaken

# The progress bar


@pytest.fixture
def bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "shows_progress", lambda: True)


def steps_taken(step: int, speed: float) -> StepsTaken:
    """Return the event of a run of 50 steps after a step with a loss of 1.25 nats."""
    return StepsTaken(
        step=step, losses=(1.5, 1.25), total=50, characters_per_second=speed, left_seconds=9.0
    )


@pytest.mark.usefixtures("bar")
@pytest.mark.parametrize(
    ("step", "speed", "line"),
    [
        (1, 32.0, "| step 1 of 50, 9s left, 32.0 char/s, loss 1.250 nats"),
        (25, 800.0, "| step 25 of 50, 9s left, 800 char/s, loss 1.250 nats"),
        (50, 1600.0, "| step 50 of 50, last evaluation, 1.60k char/s, loss 1.250 nats"),
    ],
)
def test_the_bar_shows_the_step_the_speed_and_the_loss(
    step: int, speed: float, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay() as display:
        display(steps_taken(step, speed))
    shown = capsys.readouterr().err.strip().split("\r")[-1].lstrip()
    assert shown.startswith(f"{2 * step}%|")
    assert shown.endswith(line)


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        display(steps_taken(1, 32.0))
    assert capsys.readouterr().err == ""


def test_a_task_prints_a_line_without_a_terminal_after_three_silent_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = iter([0.0, 3.0, 3.5, 6.0, 7.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    display = ProgressDisplay()
    for part in range(1, 5):
        display(Progress("counting n-grams", part, 10, "part"))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"charlm: counting n-grams: part {part} of 10" for part in (2, 4)]


@pytest.mark.usefixtures("bar")
def test_a_line_is_printed_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        display(steps_taken(1, 32.0))
        display(Note("a message"))
    before, line, after = capsys.readouterr().err.partition("charlm: a message")
    assert line
    assert "step 1 of 50" in before
    assert "step 1 of 50" in after


@pytest.mark.usefixtures("bar")
def test_the_progress_of_a_task_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "SILENT_SECONDS", -1)
    with ProgressDisplay() as display:
        display(Progress("report", 1, 3, "part", "runs/\x1b: memory"))
        display(Progress("report", 2, 3, "part", "runs/\x1b: units"))
    shown = capsys.readouterr().err
    assert "report  33%|" in shown
    assert r"| part 1 of 3, runs/\x1b: memory" in shown
    assert "runs/\x1b" not in shown
    assert "charlm:" not in shown


@pytest.mark.usefixtures("bar")
@pytest.mark.parametrize(
    ("event", "is_left"),
    [
        pytest.param(steps_taken(50, 32.0), True, id="steps"),
        pytest.param(Progress("counting characters", 3, 3, "file"), False, id="another task"),
    ],
)
def test_only_the_bar_of_the_steps_is_left_on_the_screen(
    event: Event, is_left: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    display = ProgressDisplay()
    display(event)
    last = capsys.readouterr().err.split("\r")[-1]
    assert ("100%" in last) == is_left


def test_a_long_note_is_wrapped_at_the_width_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = 35 * "a " + "aa"
    assert len(f"charlm: {line}") == 80
    assert describe(Note(line)) == [line]
    assert describe(Note(f"{line} b")) == [line, "  b"]


# Evaluations


EVALUATED = Evaluated(
    step=250,
    total=1000,
    train_nats=1.2345,
    validation_nats=1.5,
    is_best=True,
    sample="",
    left_seconds=1500.0,
)
START = "step 250 of 1,000, 25m left: train 1.234, validation 1.500, best"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, START),
        ({"validation_nats": None}, "step 250 of 1,000, 25m left: train 1.234, best"),
        ({"step": 0, "train_nats": None}, "step 0: validation 1.500 nats"),
        ({"step": 0, "validation_nats": None}, "step 0: train 1.234 nats"),
    ],
    ids=["both", "no validation text", "initial weights", "no steps"],
)
def test_an_evaluation_is_reported_with_its_losses(changes: dict[str, Any], line: str) -> None:
    assert describe(replace(EVALUATED, **changes)) == [line]


@pytest.mark.parametrize("columns", [40, len(START) + 14, len(START) + 15, 100])
def test_the_line_of_an_evaluation_ends_with_as_much_of_the_sample_as_fits(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns + len("charlm: ")))
    evaluated = replace(EVALUATED, sample="The ferry\n\nlies on the mud.")
    [line] = describe(evaluated)
    written = f' "{"The ferry lies on the mud."[: columns - len(START) - 3]}"'
    expected = START + written if columns >= len(START) + 15 else START
    assert line == expected
