"""A run is the same whenever it is interrupted and whatever it started from; and what ends or refuses it."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from arrays import bytes_of
from fake_engine import OF_ENGINES, SETTINGS, Faults, crash_after, interrupt_after
from fake_runs import STEPS_PER_EPOCH, TEXT, Trained, check_same, check_same_end, engine_of, resume, ticking, train
from models import weights_of
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


def test_the_time_of_a_run_counts_on_when_it_is_resumed(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(45), clock=ticking(100.0))
    before, after = stopped.outcome.progress, resume(stopped.folder).outcome.progress
    assert after.elapsed_seconds > before.elapsed_seconds > 100
    assert after.seconds > before.seconds > 0


def crash(folder: Path, *overrides: str, step: int) -> Path:
    """Train a run that crashes after a step."""
    with pytest.raises(ZeroDivisionError):
        train(folder, *overrides, faults=crash_after(step))
    return folder / "run"


def train_watched(folder: Path, **watchers: Any) -> Path:
    """Train a run from its second step, with functions that are told of steps and evaluations, and may fail."""
    run = open_run(train(folder, faults=interrupt_after(1)).folder)
    try:
        with stop_on_signal(Session(**watchers)) as session:
            loop.train(run, engine_of(run), resume=True, session=session)
    except ZeroDivisionError:
        pass
    return run.folder


def fail_at(step: int) -> Callable[[int | Progress, float], None]:
    """Return a function that fails when it is told of a step, or of an evaluation after it."""

    def fail(at: int | Progress, _nats: float) -> None:
        if step == (at.step if isinstance(at, Progress) else at):
            raise ZeroDivisionError

    return fail


def lose_everything(folder: Path) -> Path:
    """Leave of a run what it has before its first checkpoint, and files that a killed process was writing."""
    run = train(folder).folder
    shutil.rmtree(run / "checkpoints")
    for name in ("best", "last"):
        (run / f"{name}.safetensors").unlink()
    (run / "checkpoints").mkdir()
    for name in (".1.best.safetensors.tmp", "checkpoints/.1.step-60.safetensors.tmp"):
        (run / name).touch()
    return run


def lose_the_newest(folder: Path) -> Path:
    """Leave nothing in the newest checkpoint of a run."""
    run = train(folder).folder
    (run / "checkpoints/step-50.safetensors").write_bytes(b"")
    return run


@pytest.mark.parametrize(
    ("end", "step"),
    [
        pytest.param(lambda folder: crash(folder, step=13), 10, id="a crash"),
        pytest.param(lambda folder: crash(folder, step=50), 40, id="a crash after the last step"),
        pytest.param(lambda folder: train_watched(folder, on_step=fail_at(25)), 20, id="a program that fails"),
        pytest.param(lambda folder: train_watched(folder, on_evaluation=fail_at(30)), 30, id="one that fails later"),
        pytest.param(lose_everything, 0, id="no checkpoint"),
        pytest.param(lose_the_newest, 40, id="a damaged checkpoint"),
        pytest.param(lambda folder: train(folder).folder, 50, id="its end"),
    ],
)
def test_a_run_that_did_not_end_well_ends_like_one_that_was_left_alone(
    end: Callable[[Path], Path], step: int, reference: Trained, tmp_path: Path
) -> None:
    resumed = resume(end(tmp_path / "run"))
    told = [f"resumed at step {step} of 50"] if step else []
    assert [line for line in resumed.said if line.startswith("resumed ")] == told
    check_same(resumed, reference)
    assert not list(resumed.folder.glob("**/.*.tmp"))
    assert step or len(list(resumed.folder.glob("*.tfevents.*"))) == 1
    again = resume(resumed.folder)
    assert (again.outcome.reason, again.files(), again.metrics) == ("all steps done", resumed.files(), resumed.metrics)


def test_a_run_without_checkpoints_does_not_start_again_if_a_model_would_be_lost(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", "training.steps=10").folder
    shutil.rmtree(folder / "checkpoints")
    (folder / "last.safetensors").unlink()
    before = contents(folder)
    with pytest.raises(CharlmError, match=r"checkpoints: no checkpoint to continue from, but the run has best\.safe"):
        resume(folder)
    assert contents(folder) == before


def test_a_run_keeps_every_checkpoint_and_that_of_the_beginning(tmp_path: Path, reference: Trained) -> None:
    kept = train(tmp_path / "kept", "training.keep_checkpoints=true")
    steps = {int(path.stem.removeprefix("step-")): path for path in (kept.folder / "checkpoints").iterdir()}
    assert sorted(steps) == list(range(0, 51, 10))
    first = engine_of(open_run(kept.folder)).parameters()
    assert bytes_of(read_model(steps[0]).parameters.tensors()) == bytes_of(first.tensors())
    check_same(resume(crash(tmp_path / "killed", "training.keep_checkpoints=true", step=25)), kept)
    assert len([*reference.folder.glob("checkpoints/*")]) == 2


# The end


def test_a_run_that_still_improves_says_how_many_minutes_would_double_it(tmp_path: Path) -> None:
    settings, improving = ("training.steps=20", "training.evaluations=2"), Faults(weights=lambda step: step / 20_000)
    for seconds in (0.01, 70.0):
        run = train(tmp_path / str(seconds), *settings, text=90 * TEXT, faults=improving, clock=ticking(seconds))
        longer, taken = run.outcome.longer_minutes, run.outcome.progress.elapsed_seconds
        assert longer is not None
        assert 60 * (longer - 1) < taken <= 60 * longer
    worse = train(tmp_path / "worse", *settings, text=90 * TEXT, faults=Faults(weights=lambda step: step))
    assert worse.outcome.longer_minutes is None


def test_early_stopping_ends_a_run_after_that_many_evaluations_without_a_new_best(tmp_path: Path) -> None:
    overconfident = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
    trained = train(tmp_path / "run", "training.early_stopping=2", faults=overconfident)
    assert trained.outcome.reason == "no new best in 2 evaluations"
    assert list(trained.validation()) == [10, 20, 30]
    assert trained.outcome.progress.best_step == 10
    assert train(tmp_path / "on", faults=overconfident).outcome.reason == "all steps done"


def test_each_step_and_each_evaluation_is_reported_once_with_its_loss(tmp_path: Path, reference: Trained) -> None:
    seen: list[tuple[int, float]] = []
    evaluated: list[tuple[int, float]] = []
    train_watched(
        tmp_path / "run",
        on_step=lambda step, nats: seen.append((step, nats)),
        on_evaluation=lambda progress, nats: evaluated.append((progress.step, nats)),
    )
    assert [step for step, _ in seen] == list(range(2, 51))
    assert evaluated == list(reference.validation().items())
    for line in reference.metrics:
        if line["split"] == "train" and line["step"] > 5:
            mean = np.mean([dict(seen)[line["step"] - n] for n in range(5)])
            assert mean == pytest.approx(line["nats_per_char"])


# The weights of another model


def test_a_run_begins_with_the_weights_and_the_loss_of_another_model_and_needs_it_no_more(
    reference: Trained, tmp_path: Path
) -> None:
    parent = Path(shutil.copy(reference.folder / "last.safetensors", tmp_path / "parent.safetensors"))
    whole = train(tmp_path / "whole", parent=parent)
    assert whole.validation()[0] == pytest.approx(reference.validation()[50], rel=1e-5)
    assert "step 0: validation" in "".join(whole.said)
    stopped = train(tmp_path / "run", parent=parent, faults=interrupt_after(5))
    assert stopped.outcome.progress.step == 5
    parent.unlink()
    check_same(resume(stopped.folder), whole)


def test_a_run_that_only_gets_worse_keeps_the_weights_it_began_with_as_its_best(
    reference: Trained, tmp_path: Path
) -> None:
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    child = train(tmp_path / "child", faults=worse, parent=reference.folder / "last.safetensors")
    assert child.outcome.progress.best_step == 0
    assert read_model(child.folder / "best.safetensors").facts["step"] == 0
    assert "no evaluation was better than the weights that training began with" in "".join(child.said)


# Settings


OTHERS: dict[str, Any] = {
    **{"seed": 2, "corpus.encoding": "latin-1", "corpus.min_count": 2, "corpus.validation_fraction": 0.2},
    **{"corpus.test_fraction": 0.1, "training.batch_size": 5, "training.sequence_length": 5},
    **{"training.growing_windows": True, "training.shuffle": False, "training.data_seed": 7, "training.epochs": 1},
    **{"training.steps": 40, "training.schedule.name": "constant", "training.schedule.warmup_steps": 3},
    **{"training.schedule.final_fraction": 0.5, "training.ngram_weight": 0.3, "training.early_stopping": 1},
    **{"training.evaluations": 4, "training.keep_checkpoints": True, "training.log_every": 7},
    **{"sampling.length": 9, "sampling.prompt": "b", "sampling.temperature": 3.0, "sampling.top_k": 1},
    **{"sampling.top_p": 0.1, "sampling.min_p": 0.9},
}
"""Another value of each setting that the loop reads; tests of teachers and of first weights are elsewhere."""


def test_every_setting_changes_what_a_run_writes(tmp_path: Path) -> None:
    elsewhere = {"recipe", "training.first_weights", "training.teacher_weight"}
    assert {key for key in SETTINGS - OF_ENGINES - elsewhere if ".teachers." not in key} == OTHERS.keys()
    names = {key: get_args(field.annotation) for key, field in walk(Config) if get_origin(field.annotation) is Literal}
    assert all(len(names[key]) == 2 for key in OTHERS.keys() & names.keys())  # or each needs a run here

    usual_sampling = ("sampling.length=20", "sampling.temperature=0.7")

    def written(name: str, *overrides: str) -> list[Any]:
        worse = Faults(weights=lambda step: 1.0 if step <= 10 else float(step))
        run = train(tmp_path / name, *usual_sampling, *overrides, text=TEXT + "é", faults=worse)
        weights = {path.name: weights_of(path) for path in run.folder.rglob("*.safetensors")}
        return [weights, run.repeatable_metrics, run.outcome.sample]

    usual = written("usual")
    assert written("again") == usual
    for key, value in OTHERS.items():
        assert written(key, f"{key}={value}") != usual, key
