"""What a resume keeps and removes when a file of the run is missing, damaged or cannot be read."""

from pathlib import Path

import pytest
from fake_engine import Faults
from fake_runs import resume, train
from run_folders import contents, cut, replace_by_folder

from charlm.network.model_file import read_model
from charlm.runs.folder import BEST, CHECKPOINTS
from charlm.storage import UnreadableError

WORSE = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
"""Makes the network of step 10 the best of a run."""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """Train 50 steps, and damage the last checkpoint: a resume leaves what step 50 has written."""
    run = train(tmp_path / "run", faults=WORSE).folder
    cut(run / CHECKPOINTS / "step-50.safetensors")
    return run


def test_the_best_model_stays_if_the_run_goes_on_before_it_ended(left: Path) -> None:
    before = (left / BEST).read_bytes()
    resume(left, faults=WORSE)
    assert (left / BEST).read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(BEST, id="best model"),
        pytest.param(f"{CHECKPOINTS}/step-40.safetensors", id="checkpoint"),
    ],
)
def test_nothing_is_removed_if_a_file_cannot_be_read(name: str, left: Path) -> None:
    replace_by_folder(left / name)
    before = contents(left)
    with pytest.raises(UnreadableError, match=rf"{name}: cannot be read: Is a directory$"):
        resume(left, faults=WORSE)
    assert contents(left) == before


def test_a_best_model_that_is_missing_is_written_by_the_next_evaluation(left: Path) -> None:
    (left / BEST).unlink()
    resume(left, faults=WORSE)
    assert read_model(left / BEST).facts["step"] == 50


def test_a_best_model_that_is_damaged_is_written_by_the_next_evaluation(left: Path) -> None:
    cut(left / BEST)
    resume(left, faults=WORSE)
    assert read_model(left / BEST).facts["step"] == 50


def test_the_best_model_is_taken_from_a_checkpoint_that_the_resume_removes(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "training.keep_checkpoints=true", faults=WORSE).folder
    (run / BEST).unlink()
    resume(run, "training.keep_checkpoints=false", faults=WORSE)
    assert not (run / CHECKPOINTS / "step-10.safetensors").exists()
    assert read_model(run / BEST).facts["step"] == 10
