"""What the user sees of a training: its size, the progress bar, and evaluations."""

import fcntl
import os
import pty
import struct
import termios
from dataclasses import replace
from pathlib import Path

import pytest
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, train

from charlm.config.schema import ScheduleConfig
from charlm.evaluation.baselines import baseline_scores
from charlm.runs.run import open_run
from charlm.text.batches import Batches
from charlm.training import display
from charlm.training.checkpoints import Progress
from charlm.training.schedule import Phase, Schedule, Stretch
from charlm.training.signals import Session

BATCHES = Batches(length=4 * 4 * STEPS_PER_EPOCH + 1, batch_size=4, sequence_length=4, seed=1)
SCHEDULE = Schedule(
    (Stretch(0, 50, 50, 5, (Phase(0, 0, BATCHES),)),), 5, BATCHES, peak_rate=1.0, decay=ScheduleConfig()
)


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
def test_the_scores_of_simple_models_need_2400_characters(repetitions: int, lines: int, tmp_path: Path) -> None:
    trained = train(tmp_path / "run", text=repetitions * TEXT)
    assert len([line for line in trained.said if line.startswith(SCORES)]) == lines


def test_the_user_is_told_what_is_wrong_with_the_text(tmp_path: Path) -> None:
    said = train(tmp_path / "run", text="ab    c\n" * 200).said
    assert any(line.startswith("blanks: 50% of the characters ") for line in said)


def test_a_long_line_is_wrapped_between_words() -> None:
    assert display.wrap("short") == ["short"]
    assert display.wrap("a line of words-with-hyphens", columns=12) == ["a line of", "  words-with-hyphens"]


# The progress bar


def test_the_bar_shows_the_step_the_speed_and_the_loss(capsys: pytest.CaptureFixture[str]) -> None:
    for step, speed in ((1, "32.0"), (25, "800"), (50, "1.60k")):  # 16 characters a step, in 0.5 s
        progress = Progress(step=step, seconds=0.5, train_nats=2.0, pending_losses=[1.5, 1.25])
        with display.progress_bar(SCHEDULE, Progress(), disable=False) as bar:
            display.update_bar(bar, progress, SCHEDULE)
        line = capsys.readouterr().err.strip().split("\r")[-1].lstrip()
        assert line.startswith(f"{2 * step}%|")
        left = "last evaluation" if step == 50 else "0s left"
        assert line.endswith(f"| step {step} of 50, {left}, {speed} char/s, loss 1.250 nats")


def test_a_line_is_printed_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with display.progress_bar(SCHEDULE, Progress(), disable=False):
        Session(print).say("a line")
    printed = capsys.readouterr()
    assert printed.out == "a line\n"
    assert printed.err.count("step 0 of 50") == 3  # drawn, drawn again below the line, and drawn when it is closed


# Evaluations


def test_an_evaluation_is_told_with_its_step_the_time_left_its_losses_and_what_the_network_writes() -> None:
    progress = Progress(step=250, elapsed_seconds=500, train_nats=1.2345)
    schedule = replace(SCHEDULE, stretches=(replace(SCHEDULE.stretches[0], until=1000, total=1000),))

    def told(*, columns: int = 72, sample: str = "", nats: float | None = 1.5) -> str:
        return display.describe_evaluation(progress, schedule, nats, is_best=True, sample=sample, columns=columns)

    start = "step 250 of 1,000, 25m left: train 1.234, validation 1.500, best"
    assert told() == start
    assert told(nats=None) == "step 250 of 1,000, 25m left: train 1.234, best"
    for columns in range(16, 201):
        line = told(columns=columns, sample="The ferry\n\nlies on the mud.")
        assert len(line) <= columns
        written = f' "{"The ferry lies on the mud."[: columns - len(start) - 3]}"'
        assert '"' not in line if columns < len(start) + 15 else line == start + written


def test_the_width_of_a_line_is_that_of_the_terminal_or_80_columns() -> None:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 24, 57, 0, 0))
    assert display.line_columns(its) == 57 - len("charlm: ")
    os.close(its)
    os.close(ours)
    with Path(os.devnull).open("wb") as file:
        assert display.line_columns(file.fileno()) == 80 - len("charlm: ")
