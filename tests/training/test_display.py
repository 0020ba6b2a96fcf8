"""What the user sees of a training: its size, the progress bar, evaluations and advice."""

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
from charlm.evaluation.scoring import Difference
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


@pytest.mark.parametrize("repetitions", [pytest.param(65, id="2,366 characters"), pytest.param(67, id="2,439")])
def test_the_scores_of_simple_models_are_told_if_the_validation_text_is_long_enough(
    repetitions: int, tmp_path: Path
) -> None:
    trained = train(tmp_path / "run", text=repetitions * TEXT)
    simple = ", ".join(f"{name} {nats:.3f}" for name, nats in trained.outcome.baseline_nats.items())
    assert (f"nats per character (lower is better): {simple}" in trained.said) == (repetitions == 67)


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


# Evaluations and advice


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


CLEAR, CHANCE, UNKNOWN = Difference(0.125, 0.05), Difference(0.125, 0.07), Difference(0.125, None)
SINCE = "best at step 704 of 768; the last evaluation is"
BEGINNING = "no evaluation was better than the weights that training began with, which are in best.safetensors;"


def test_what_the_evaluations_have_shown_is_said_at_the_end() -> None:
    """Of a run of 768 steps."""
    better = Difference(-0.125, 0.04)
    for best_step, difference, lines in (
        *((768, better, []), (768, CHANCE, []), (768, None, []), (None, None, [])),
        (704, CLEAR, [f"{SINCE} 0.1250 ± 0.0500 nats above it"]),
        (704, Difference(2e-5, 1e-6), [f"{SINCE} 0.0000 ± 0.0000 nats above it"]),
        (704, UNKNOWN, [f"{SINCE} 0.1250 nats above it"]),
        (0, CLEAR, [BEGINNING, "use a training.optimizer.learning_rate below 0.004, or the model as it is"]),
    ):
        progress = Progress(step=768)
        if best_step is not None:
            progress = Progress(step=768, best_step=best_step, best_nats=2.0)
        assert display.advise_on_end(progress, split="validation", difference=difference, rate=0.004) == lines
        assert display.is_improving(progress, difference) == (difference is better)
        assert not display.advise_on_end(progress, split="train", difference=difference, rate=0.004)
