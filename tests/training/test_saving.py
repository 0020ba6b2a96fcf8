"""What a resume keeps or removes if a file of the run is missing, damaged or unreadable."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import FIRST_IS_BEST
from fake_runs import resume, train
from run_folders import contents, cut, replace_by_folder

from charlm.network.model_file import read_model
from charlm.storage import UnreadableError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Train 50 steps, and damage the last checkpoint; the best network is that of step 10."""
    folder = train(tmp_path / "run", faults=FIRST_IS_BEST).folder
    cut(folder / "checkpoints" / "step-50.safetensors")
    return folder


def test_a_resume_from_an_earlier_checkpoint_keeps_the_best_model(run: Path) -> None:
    before = (run / "best.safetensors").read_bytes()
    resume(run, faults=FIRST_IS_BEST)
    assert (run / "best.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("best.safetensors", id="best model"),
        pytest.param("checkpoints/step-40.safetensors", id="checkpoint"),
    ],
)
def test_nothing_is_removed_if_a_file_cannot_be_read(name: str, run: Path) -> None:
    replace_by_folder(run / name)
    before = contents(run)
    with pytest.raises(UnreadableError, match=rf"{name}: cannot be read: Is a directory$"):
        resume(run, faults=FIRST_IS_BEST)
    assert contents(run) == before


@pytest.mark.parametrize(
    "damage",
    [pytest.param(Path.unlink, id="missing"), pytest.param(cut, id="damaged")],
)
def test_a_lost_best_model_is_replaced_at_the_next_evaluation(
    damage: Callable[[Path], None],
    run: Path,
) -> None:
    damage(run / "best.safetensors")
    resume(run, faults=FIRST_IS_BEST)
    assert read_model(run / "best.safetensors").facts["step"] == 50


def test_the_best_model_is_restored_from_a_checkpoint_that_the_resume_removes(
    tmp_path: Path,
) -> None:
    keep = "training.keep_checkpoints"
    run = train(tmp_path / "run", f"{keep}=true", faults=FIRST_IS_BEST).folder
    (run / "best.safetensors").unlink()
    resume(run, f"{keep}=false", faults=FIRST_IS_BEST)
    assert not (run / "checkpoints" / "step-10.safetensors").exists()
    assert read_model(run / "best.safetensors").facts["step"] == 10
