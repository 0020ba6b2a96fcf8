"""What the user sees of a training: its size, the progress bar, and evaluations."""

import fcntl
import os
import pty
import struct
import termios
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, train

from charlm.cli import progress
from charlm.cli.output import text_width, wrap
from charlm.cli.progress import ProgressDisplay, describe
from charlm.evaluation.baselines import baseline_scores
from charlm.events import (
    Evaluated,
    Event,
    LengthChanged,
    NgramProgress,
    NoValidationText,
    ReportProgress,
    ScoringProgress,
    StepsTaken,
    TeacherEvent,
    TextProgress,
)
from charlm.runs.run import open_run


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a small run."""
    return train(tmp_path_factory.mktemp("reference") / "run")


def test_the_user_is_told_what_is_trained_on_what(reference: Trained) -> None:
    assert reference.said[4].startswith("length: ")
    assert reference.said[:4] == [
        "training on text with the recipe tiny:",
        "364 characters, a vocabulary of 6, 1 document",
        f"1 x 8 units, {(6 * 8 + 8 * 8 + 8) + (8 * 6 + 6)} weights; kernel: auto",
        f"50 steps of 4 windows of 4 characters, {50 / STEPS_PER_EPOCH:.3g} epochs",
    ]


SCORES = "nats per character (lower is better): "


def test_the_scores_of_simple_models_are_reported(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", text=90 * TEXT)
    corpus = open_run(trained.folder).corpus
    scores = baseline_scores(corpus.split("validation"), corpus.vocabulary, corpus.split("train"))
    assert f"{SCORES}5-gram {scores['5-gram'].nats_per_char:.3f}" in trained.said


@pytest.mark.parametrize(
    ("repetitions", "lines"),
    [
        pytest.param(65, 0, id="2,366 characters"),
        pytest.param(67, 1, id="2,439 characters"),
    ],
)
def test_the_scores_of_simple_models_need_2400_characters(
    repetitions: int, lines: int, tmp_path: Path
) -> None:
    trained = train(tmp_path / "run", text=repetitions * TEXT)
    assert len([line for line in trained.said if line.startswith(SCORES)]) == lines


def test_the_user_is_told_what_is_wrong_with_the_text(tmp_path: Path) -> None:
    said = train(tmp_path / "run", text="ab    c\n" * 200).said
    assert any(line.startswith("spaces: 50% of the characters ") for line in said)


def test_a_long_line_is_wrapped_between_words() -> None:
    assert wrap(["short"], 12) == ["short"]
    words = ["a", "line", "of", "words-with-hyphens"]
    assert wrap(words, 12, next_indent="  ") == ["a line of", "  words-with-hyphens"]


# The progress bar


def steps_taken(step: int, speed: float) -> StepsTaken:
    """Return the event of a run of 50 steps after a step with a loss of 1.25 nats."""
    return StepsTaken(
        step=step, losses=(1.5, 1.25), total=50, characters_per_second=speed, left_seconds=9.0
    )


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
    with ProgressDisplay(has_bar=True) as display:
        display(steps_taken(step, speed))
    shown = capsys.readouterr().err.strip().split("\r")[-1].lstrip()
    assert shown.startswith(f"{2 * step}%|")
    assert shown.endswith(line)


def test_there_is_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay() as display:
        display(steps_taken(1, 32.0))
    assert capsys.readouterr().err == ""


def test_a_line_is_printed_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(has_bar=True) as display:
        display(steps_taken(1, 32.0))
        display(NoValidationText())
    before, line, after = capsys.readouterr().err.partition("charlm: no validation text")
    assert line
    assert "step 1 of 50" in before
    assert "step 1 of 50" in after


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (TextProgress("counting", 1, 3), "counting characters"),
        (TextProgress("encoding", 1, 3), "encoding characters"),
        (NgramProgress(1, 3), "counting n-grams"),
        (ScoringProgress("text.txt", 1, 3), "scoring"),
        (ReportProgress("runs/a", "units", 1, 3), "report"),
        (TeacherEvent(2, NgramProgress(1, 3)), "teacher 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_long_task_has_a_bar(
    event: Event, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(has_bar=True) as display:
        display(event)
    shown = capsys.readouterr().err
    assert f"{name}  33%|" in shown
    assert " 1 of 3" in shown


@pytest.mark.parametrize(
    ("event", "is_left"),
    [
        (steps_taken(50, 32.0), True),
        (TextProgress("counting", 3, 3), False),
        (NgramProgress(3, 3), False),
        (TeacherEvent(2, steps_taken(50, 32.0)), False),
    ],
    ids=["steps", "text", "n-grams", "steps of a teacher"],
)
def test_only_the_bar_of_the_steps_is_left_on_the_screen(
    event: Event, is_left: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(has_bar=True) as display:
        display(event)
    last = capsys.readouterr().err.split("\r")[-1]
    assert ("100%" in last) == is_left


def test_small_changes_of_the_length_are_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    lengths = [1000, 850, 751, 749, 900, 937]
    with ProgressDisplay() as display:
        for before, steps in pairwise(lengths):
            display(LengthChanged(before, steps))
    assert capsys.readouterr().err.splitlines() == [
        "charlm: this machine has become slower: 749 steps instead of 1,000",
        "charlm: this machine has become faster: 937 steps instead of 749",
    ]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        pytest.param(
            ScoringProgress("text.txt", 0, 500_000),
            ["charlm: scoring 500,000 characters of text.txt"],
            id="long",
        ),
        pytest.param(ScoringProgress("text.txt", 0, 499_999), [], id="short"),
        pytest.param(ScoringProgress("text.txt", 1, 500_000), [], id="begun"),
    ],
)
def test_a_long_scoring_is_told_without_a_bar(
    event: Event, lines: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with ProgressDisplay(has_bar=False) as display:
        display(event)
    assert capsys.readouterr().err.splitlines() == lines


def test_a_long_scoring_with_a_bar_needs_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(has_bar=True) as display:
        display(ScoringProgress("text.txt", 0, 500_000))
    assert "of text.txt" not in capsys.readouterr().err


def test_a_slow_start_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ""
    with ProgressDisplay(first_line="reading the text", silent_seconds=0):
        while "\n" not in shown:
            shown += capsys.readouterr().err
    assert shown == "charlm: reading the text\n"


def test_a_quick_start_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressDisplay(first_line="reading the text"):
        pass
    assert capsys.readouterr().err == ""


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


def test_an_evaluation_is_reported() -> None:
    assert describe(EVALUATED) == [START]


def test_an_evaluation_without_a_validation_text_has_a_single_loss() -> None:
    found = describe(replace(EVALUATED, validation_nats=None))
    assert found == ["step 250 of 1,000, 25m left: train 1.234, best"]


def test_an_evaluation_of_the_initial_weights_has_no_training_loss() -> None:
    assert describe(replace(EVALUATED, step=0, train_nats=None)) == [
        "step 0: validation 1.500 nats"
    ]


def test_an_evaluation_without_steps_has_the_loss_on_the_only_text() -> None:
    found = describe(replace(EVALUATED, step=0, validation_nats=None))
    assert found == ["step 0: train 1.234 nats"]


def test_an_evaluation_of_a_teacher_is_told() -> None:
    assert describe(TeacherEvent(1, EVALUATED)) == [START]


def test_other_events_of_a_teacher_are_not_told() -> None:
    assert describe(TeacherEvent(1, NoValidationText())) == []


@pytest.mark.parametrize(
    "columns", [16, 40, len(START), len(START) + 14, len(START) + 15, 100, 200]
)
def test_the_line_of_an_evaluation_ends_with_as_much_of_the_sample_as_fits(columns: int) -> None:
    evaluated = replace(EVALUATED, sample="The ferry\n\nlies on the mud.")
    [line] = describe(evaluated, columns=columns)
    written = f' "{"The ferry lies on the mud."[: columns - len(START) - 3]}"'
    expected = START + written if columns >= len(START) + 15 else START[:columns]
    assert line == expected


@pytest.mark.parametrize("columns", [40, 80])
def test_a_sample_of_wide_characters_fits_the_line(columns: int) -> None:
    [line] = describe(replace(EVALUATED, sample="日本語 " * 20), columns=columns)
    assert text_width(line) in {columns, columns - 1}


def test_the_width_of_a_line_is_that_of_the_terminal() -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 57, 0, 0))
    assert progress.line_columns(its) == 57 - len("charlm: ")
    os.close(its)
    os.close(ours)


def test_a_line_has_80_columns_without_a_terminal() -> None:
    with Path(os.devnull).open("wb") as file:
        assert progress.line_columns(file.fileno()) == 80 - len("charlm: ")
