"""What the user sees of a training: the size of the run, the times of its start, and the progress bar."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_runs import STEPS_PER_EPOCH, Trained, resume, train

from charlm.text.batches import Batches
from charlm.training.display import ProgressBar, above_bar
from charlm.training.progress import Progress
from charlm.training.schedule import Schedule

BATCHES = Batches(length=327, batch_size=4, sequence_length=4, seed=1)
SCHEDULE = Schedule(total=50, log_every=5, evaluate_every=10, checkpoint_every=10, steps_per_epoch=STEPS_PER_EPOCH)

Shown = Callable[[], str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """Return a function that returns the last state of the bar on standard error."""
    return lambda: capsys.readouterr().err.strip().split("\r")[-1]


def test_the_user_is_told_the_size_of_the_corpus_the_model_and_the_run(reference: Trained) -> None:
    corpus, model, *_ = reference.said
    assert corpus.startswith("corpus: 364 characters, 6 distinct")
    weights = (6 * 8 + 8 * 8 + 8) + (8 * 6 + 6)
    assert model == (f"model: 1 x 8 units, {weights} weights; 50 steps of 4 x 4 characters, {STEPS_PER_EPOCH} an epoch")


def test_the_user_is_told_how_long_the_start_takes(reference: Trained) -> None:
    assert re.fullmatch(r"ready in [\d.]+ s \(network [\d.]+, graph [\d.]+\)", reference.said[2])


@pytest.mark.parametrize(("step", "epoch"), [(0, 1), (19, 1), (20, 2), (50, 3)])
def test_the_bar_shows_the_epoch_the_loss_and_the_characters(step: int, epoch: int, shown: Shown) -> None:
    progress = Progress(step=step, train_nats=2.0, pending_losses=[1.5, 1.25])
    with ProgressBar(BATCHES, SCHEDULE, Progress(), disable=False) as bar:
        bar.update(progress)
    line = shown()
    assert line.startswith(f"epoch {epoch}/3: ")
    assert f" {16 * step}" in line
    assert "loss 1.250, 1.803 bits/char" in line


def test_the_bar_shows_the_loss_of_the_last_log_line_if_there_are_no_steps_since(shown: Shown) -> None:
    with ProgressBar(BATCHES, SCHEDULE, Progress(), disable=False) as bar:
        bar.update(Progress(step=10, train_nats=2.0))
    assert "loss 2.000" in shown()


def test_the_bar_of_a_resumed_run_starts_at_its_step(shown: Shown) -> None:
    with ProgressBar(BATCHES, SCHEDULE, Progress(step=25), disable=False):
        pass
    assert "50%" in shown()


def test_a_disabled_bar_writes_nothing(shown: Shown) -> None:
    with ProgressBar(BATCHES, SCHEDULE, Progress(), disable=True) as bar:
        bar.update(Progress(step=10))
    assert shown() == ""


def test_a_line_is_printed_above_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(BATCHES, SCHEDULE, Progress(), disable=False):
        above_bar(print)("a line")
    printed = capsys.readouterr()
    assert printed.out == "a line\n"
    assert printed.err.count("0%") == 3  # drawn, cleared for the line, drawn again, and once more when it is closed


def test_a_resumed_run_tells_its_step_instead_of_its_size(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.steps=10")
    assert resume(trained.folder, "training.steps=20").said[0] == "resumed at step 10 of 20"
