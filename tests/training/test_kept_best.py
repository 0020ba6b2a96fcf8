"""The evaluation that only the clock has caused: it may become best/, and a resumed run ends as if it had not been."""

import shutil
from pathlib import Path

import pytest
from fake_engine import FakeEngines, Faults
from fake_runs import Trained, resume, train

from charlm.network.bundle import read_bundle
from charlm.training.kept_best import keep_best, put_back_best

WORSE_AFTER_30 = Faults(weights=lambda step: 1.0 if step <= 30 else 5.0)


def end_by_the_clock(folder: Path, *, after: int, weights: Faults | None = None) -> Trained:
    """Train until a clock ends the run after a number of steps."""
    taken: list[int] = []
    faults = Faults(after_call=taken.append, weights=(weights or Faults()).weights)
    return train(
        folder,
        *("training.max_minutes=1000", "training.steps_per_call=1"),
        engines=FakeEngines(faults),
        clock=lambda: 1e6 if taken and taken[-1] >= after else 0.0,
    )


def best_weights(trained: Trained) -> bytes:
    return trained.files()["best/weights.safetensors"]


@pytest.mark.parametrize("after", [3, 25])
def test_a_lower_loss_at_the_end_by_the_clock_becomes_the_best(after: int, tmp_path: Path) -> None:
    ended = end_by_the_clock(tmp_path / "run", after=after)
    assert ended.outcome.progress.best_step == after
    assert ended.outcome.progress.best_nats == min(ended.validation().values()) == ended.validation()[after]
    best = read_bundle(ended.folder / "best")
    assert best.facts["step"] == after
    assert best.facts["score"] == {"split": "validation", "nats_per_char": ended.outcome.progress.best_nats}


def test_a_higher_loss_at_the_end_by_the_clock_does_not_become_the_best(tmp_path: Path) -> None:
    ended = end_by_the_clock(tmp_path / "run", after=35, weights=WORSE_AFTER_30)
    assert ended.outcome.progress.best_step == read_bundle(ended.folder / "best").facts["step"] == 30
    assert not (ended.folder / "checkpoints/best").exists()


@pytest.mark.parametrize("after", [3, 25])
def test_a_run_resumed_after_the_clock_ended_it_ends_like_an_uninterrupted_one(
    after: int, reference: Trained, tmp_path: Path
) -> None:
    ended = end_by_the_clock(tmp_path / "run", after=after)
    resumed = resume(ended.folder, "training.max_minutes=null")
    assert resumed.outcome.progress.best_step == reference.outcome.progress.best_step
    assert best_weights(resumed) == best_weights(reference)
    assert not (ended.folder / "checkpoints/best").exists()


def test_a_best_that_the_clock_has_found_does_not_outlive_the_end_of_a_run_that_would_not_have_found_it(
    tmp_path: Path,
) -> None:
    peak = Faults(weights=lambda step: 1.0 if step in {10, 15} else 5.0)
    uninterrupted = train(tmp_path / "uninterrupted", faults=peak)
    ended = end_by_the_clock(tmp_path / "run", after=15, weights=peak)
    assert read_bundle(ended.folder / "best").facts["step"] == 15
    resumed = resume(ended.folder, "training.max_minutes=null", faults=peak)
    assert uninterrupted.outcome.progress.best_step == resumed.outcome.progress.best_step == 10
    assert best_weights(resumed) == best_weights(uninterrupted)


def test_the_copy_is_put_back_once(bundle_folder: Path) -> None:
    run = bundle_folder.parent / "run"
    shutil.copytree(bundle_folder, run / "best")
    before = {path.name: path.read_bytes() for path in (run / "best").iterdir()}
    keep_best(run)
    (run / "best/model.json").write_bytes(b"of another evaluation")
    put_back_best(run)
    assert {path.name: path.read_bytes() for path in (run / "best").iterdir()} == before
    (run / "best/model.json").write_bytes(b"of a later evaluation")
    put_back_best(run)
    assert (run / "best/model.json").read_bytes() == b"of a later evaluation"
