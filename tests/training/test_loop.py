"""A run is the same whenever it is interrupted and whatever it started from; and what ends or refuses it."""

import shutil
import signal
from pathlib import Path
from typing import Literal, get_args, get_origin

import numpy as np
import pytest
from arrays import bytes_of
from fake_engine import Faults, crash_after, interrupt_after
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, check_same, check_same_end, engine_of, resume, ticking, train
from run_folders import contents

from charlm.config.file import walk
from charlm.config.schema import Config
from charlm.errors import CharlmError
from charlm.network.model_file import read_model
from charlm.runs.run import open_run
from charlm.training import loop
from charlm.training.checkpoints import Progress
from charlm.training.signals import Session, stop_on_signal

# Repeatable


def test_the_same_seed_gives_the_same_bytes(reference: Trained, tmp_path: Path) -> None:
    check_same(train(tmp_path / "again"), reference)


@pytest.mark.parametrize(
    ("step", "growing"),
    [
        pytest.param(7, "false", id="between two logs"),
        pytest.param(STEPS_PER_EPOCH + 10, "false", id="in the middle of an epoch, with an evaluation"),
        pytest.param(49, "false", id="one step before the last"),
        pytest.param(50, "false", id="before the last evaluation"),
        pytest.param(7, "true", id="growing windows"),
        pytest.param(30, "true", id="growing windows that have grown"),
    ],
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    step: int, growing: str, reference: Trained, tmp_path: Path
) -> None:
    setting = f"training.growing_windows={growing}"
    whole = reference if growing == "false" else train(tmp_path / "whole", setting)
    stopped = train(tmp_path / "run", setting, faults=interrupt_after(step))
    assert (stopped.outcome.progress.step, stopped.outcome.signal) == (step, signal.SIGINT)
    assert stopped.outcome.reason == "stopped by SIGINT"
    assert list(stopped.validation()) == [*range(10, step, 10)]

    resumed = resume(stopped.folder)
    assert resumed.outcome.reason == "all steps done"
    check_same_end(resumed, whole)


def test_a_run_that_still_improves_says_how_many_minutes_would_double_it(tmp_path: Path) -> None:
    settings, improving = ("training.steps=20", "training.evaluations=2"), Faults(weights=lambda step: step / 20_000)
    for seconds in (0.01, 70.0):
        run = train(tmp_path / str(seconds), *settings, text=30 * TEXT, faults=improving, clock=ticking(seconds))
        longer, taken = run.outcome.longer_minutes, run.outcome.progress.elapsed_seconds
        assert longer is not None
        assert 60 * (longer - 1) < taken <= 60 * longer
    worse = train(tmp_path / "worse", *settings, text=30 * TEXT, faults=Faults(weights=lambda step: step))
    assert worse.outcome.longer_minutes is None


def test_the_time_of_a_run_counts_on_when_it_is_resumed(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(45), clock=ticking(100.0))
    resumed = resume(stopped.folder).outcome.progress
    assert resumed.elapsed_seconds > stopped.outcome.progress.elapsed_seconds > 100
    assert resumed.seconds > stopped.outcome.progress.seconds > 0


@pytest.mark.parametrize("step", [13, 50])
def test_a_crashed_run_ends_like_an_uninterrupted_one(step: int, reference: Trained, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", faults=crash_after(step))
    check_same(resume(tmp_path / "run/run"), reference)


def test_a_run_that_crashed_before_its_first_checkpoint_starts_again(reference: Trained, tmp_path: Path) -> None:
    crashed = train(tmp_path / "run")
    shutil.rmtree(crashed.folder / "checkpoints")
    for name in ("best", "last"):
        (crashed.folder / f"{name}.safetensors").unlink()
    check_same(resume(crashed.folder), reference)
    assert len(list(crashed.folder.glob("*.tfevents.*"))) == 1


def test_a_run_without_checkpoints_does_not_start_again_if_a_model_would_be_lost(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", "training.steps=10").folder
    shutil.rmtree(folder / "checkpoints")
    (folder / "last.safetensors").unlink()
    before = contents(folder)
    with pytest.raises(CharlmError, match=r"checkpoints: no checkpoint to continue from, but the run has best\.safe"):
        resume(folder)
    assert contents(folder) == before


def test_temporary_files_of_a_crashed_run_are_removed(tmp_path: Path) -> None:
    crashed = train(tmp_path / "run")
    for name in (".1.best.safetensors.tmp", "checkpoints/.1.step-60.safetensors.tmp"):
        (crashed.folder / name).touch()
    resume(crashed.folder)
    assert not list(crashed.folder.glob("**/.*.tmp"))


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    done = train(tmp_path / "run")
    before = done.files(), done.metrics
    again = resume(done.folder)
    assert again.outcome.reason == "all steps done"
    assert (again.files(), again.metrics) == before


def test_a_run_with_a_damaged_checkpoint_repeats_the_steps_since_the_one_before(
    reference: Trained, tmp_path: Path
) -> None:
    crashed = train(tmp_path / "run")
    (crashed.folder / "checkpoints/step-50.safetensors").write_bytes(b"")
    resumed = resume(crashed.folder)
    assert any("step-50" in line for line in resumed.said)
    assert "resumed at step 40 of 50" in resumed.said
    check_same(resumed, reference)


# The end


def test_early_stopping_ends_a_run_after_that_many_evaluations_without_a_new_best(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    trained = train(tmp_path / "run", "training.early_stopping=2", faults=overconfident)
    assert trained.outcome.reason == "no new best in 2 evaluations"
    assert list(trained.validation()) == [10, 20, 30]
    assert trained.outcome.progress.best_step == 10
    assert train(tmp_path / "on", faults=overconfident).outcome.reason == "all steps done"


def test_a_program_that_fails_at_an_evaluation_leaves_a_saved_run_that_ends_like_an_uninterrupted_one(
    reference: Trained, tmp_path: Path
) -> None:
    seen: list[tuple[int, float]] = []

    def watch(progress: Progress, nats: float) -> None:
        seen.append((progress.step, nats))
        if progress.step == 30:
            raise ZeroDivisionError

    run = open_run(train(tmp_path / "run", faults=interrupt_after(1)).folder)
    with stop_on_signal(Session(on_evaluation=watch)) as session, pytest.raises(ZeroDivisionError):
        loop.train(run, engine_of(run), resume=True, session=session)
    assert seen == list(reference.validation().items())[:3]
    resumed = resume(run.folder)
    assert "resumed at step 30 of 50" in resumed.said
    check_same(resumed, reference)


def test_each_step_is_reported_once_with_the_loss_that_the_log_averages(tmp_path: Path, reference: Trained) -> None:
    seen: dict[int, float] = {}
    run = open_run(train(tmp_path / "run", faults=interrupt_after(1)).folder)
    with stop_on_signal(Session(on_step=lambda step, nats: seen.update({step: nats}))) as session:
        loop.train(run, engine_of(run), resume=True, session=session)
    assert list(seen) == list(range(2, 51))
    for line in reference.metrics:
        if line["split"] == "train" and line["step"] > 5:
            assert np.mean([seen[line["step"] - n] for n in range(5)]) == pytest.approx(line["nats_per_char"])


def test_a_program_that_fails_in_a_step_leaves_a_run_that_ends_like_an_uninterrupted_one(
    tmp_path: Path, reference: Trained
) -> None:
    def fail(step: int, _nats: float) -> None:
        if step == 25:
            raise ZeroDivisionError

    run = open_run(train(tmp_path / "run", faults=interrupt_after(1)).folder)
    with stop_on_signal(Session(on_step=fail)) as session, pytest.raises(ZeroDivisionError):
        loop.train(run, engine_of(run), resume=True, session=session)
    check_same(resume(run.folder), reference)


def test_a_run_keeps_every_checkpoint_and_that_of_the_beginning(tmp_path: Path, reference: Trained) -> None:
    kept = train(tmp_path / "kept", "training.keep_checkpoints=true")
    steps = {int(path.stem.removeprefix("step-")): path for path in (kept.folder / "checkpoints").iterdir()}
    assert sorted(steps) == list(range(0, 51, 10))
    first = engine_of(open_run(kept.folder)).parameters()
    assert bytes_of(read_model(steps[0]).parameters.tensors()) == bytes_of(first.tensors())
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "killed", "training.keep_checkpoints=true", faults=crash_after(25))
    check_same(resume(tmp_path / "killed" / "run"), kept)
    assert len([*reference.folder.glob("checkpoints/*")]) == 2


# The weights of another model


def test_a_run_begins_with_the_weights_and_the_loss_of_another_model(reference: Trained, tmp_path: Path) -> None:
    child = train(tmp_path / "child", parent=reference.folder / "last.safetensors")
    assert child.validation()[0] == pytest.approx(reference.validation()[50], rel=1e-5)
    assert "step 0: validation" in "".join(child.said)


def test_a_run_that_only_gets_worse_keeps_the_weights_it_began_with_as_its_best(
    reference: Trained, tmp_path: Path
) -> None:
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    child = train(tmp_path / "child", faults=worse, parent=reference.folder / "last.safetensors")
    assert child.outcome.progress.best_step == 0
    assert read_model(child.folder / "best.safetensors").facts["step"] == 0
    assert "no evaluation was better than the weights that training began with" in "".join(child.said)


def test_a_run_that_begins_with_another_model_is_resumed_to_the_bit_without_it(
    reference: Trained, tmp_path: Path
) -> None:
    shutil.copy(reference.folder / "last.safetensors", tmp_path / "parent.safetensors")
    whole = train(tmp_path / "whole", parent=tmp_path / "parent.safetensors")
    cut = train(tmp_path / "cut", parent=tmp_path / "parent.safetensors", faults=interrupt_after(5))
    assert cut.outcome.progress.step == 5
    (tmp_path / "parent.safetensors").unlink()
    check_same(resume(tmp_path / "cut/run"), whole)


# Settings with names


NAMED = {key: get_args(field.annotation) for key, field in walk(Config) if get_origin(field.annotation) is Literal}
ENGINES = {"model.rnn.activation", "training.precision", "training.kernel", "training.optimizer.name"}
"""Settings that the engine itself reads; see its tests."""


def test_every_name_that_a_setting_takes_makes_another_run(tmp_path: Path) -> None:
    for key in NAMED.keys() - ENGINES:
        settings = [f"{key}={name}" for name in NAMED[key]]
        runs = [train(tmp_path / one, one, "training.steps=20").files() for one in settings]
        weights = {files["step-20.safetensors"] for files in runs}
        assert len(weights) == len(NAMED[key]) > 1, key
