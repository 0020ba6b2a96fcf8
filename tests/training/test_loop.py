"""Runs that are interrupted, damaged, lengthened, or that diverge: each can be repeated exactly."""

import contextlib
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
from arrays import bytes_of
from corpora import make_corpus
from fake_engine import (
    FIRST_IS_BEST,
    OF_ENGINES,
    SETTINGS,
    FakeEngine,
    Faults,
    crash_after,
    interrupt_after,
)
from fake_runs import (
    LONG_TEXT,
    STEPS_PER_EPOCH,
    TEXT,
    Trained,
    begin_run,
    check_same,
    check_same_end,
    engine_of,
    refuse_events,
    resume,
    ticking,
    train,
    train_begun,
)
from models import weights_of
from run_folders import contents, event_files, event_steps
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from charlm.config.file import walk
from charlm.config.schema import Config
from charlm.errors import Advice, CharlmError
from charlm.events import (
    BestModelLost,
    Evaluated,
    Event,
    KernelChanged,
    OnEvent,
    Resumed,
    SettingChanged,
    StepsTaken,
)
from charlm.network.model_file import read_model
from charlm.runs.run import open_run
from charlm.training import checkpoints, loop
from charlm.training.evaluating import DivergenceError
from charlm.training.session import Session
from charlm.training.suggestion import End


def check_events(run: Path, *, last: int) -> None:
    """Check that TensorBoard reads each step of a run once, in each folder."""
    logs = [*range(5, last + 1, 5)]
    evaluations = [*range(10, last + 1, 10)]
    steps = event_steps(run)
    assert steps["train/loss"] == steps["./optimization/learning_rate"] == logs
    assert steps["validation/loss"] == steps["./spectral_radius/layer_0"] == evaluations
    assert steps["5-gram/loss"] == [0, *evaluations]


# Interruptions


@pytest.mark.parametrize("step", [7, 30, 50])
def test_a_signal_ends_a_run_without_an_evaluation(step: int, tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(step))
    assert (stopped.outcome.progress.step, stopped.outcome.signal) == (step, signal.SIGINT)
    assert stopped.outcome.reason == "stopped by SIGINT"
    assert [*stopped.validation()] == [*range(10, step, 10)]


@pytest.mark.parametrize(
    ("step", "growing"),
    [
        pytest.param(7, "false", id="between two logs"),
        pytest.param(STEPS_PER_EPOCH + 10, "false", id="at an evaluation within an epoch"),
        pytest.param(49, "false", id="a step before the end"),
        pytest.param(50, "false", id="before the last evaluation"),
        pytest.param(7, "true", id="between two logs, growing windows"),
        pytest.param(30, "true", id="at an evaluation, growing windows"),
    ],
)
def test_an_interrupted_run_ends_like_a_whole_one(
    step: int,
    growing: str,
    reference: Trained,
    tmp_path: Path,
) -> None:
    setting = f"training.growing_windows={growing}"
    whole = reference if growing == "false" else train(tmp_path / "whole", setting)
    stopped = train(tmp_path / "run", setting, faults=interrupt_after(step))
    resumed = resume(stopped.folder)
    assert resumed.outcome.reason == "all steps done"
    check_same_end(resumed, whole)


def test_a_resumed_run_continues_to_count_its_time(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(45), clock=ticking(100.0))
    before = stopped.outcome.progress
    after = resume(stopped.folder).outcome.progress
    assert after.elapsed_seconds > before.elapsed_seconds > 100
    assert after.seconds > before.seconds > 0


def crash(folder: Path, *overrides: str, step: int) -> Path:
    """Train a run that crashes after a step."""
    with pytest.raises(ZeroDivisionError):
        train(folder, *overrides, faults=crash_after(step))
    return folder / "run"


def train_watched(folder: Path, on_event: OnEvent) -> Path:
    """Train a run from its second step with a function of the events, which may divide by zero."""
    run = open_run(train(folder, faults=interrupt_after(1)).folder)
    with contextlib.suppress(ZeroDivisionError):
        loop.train(run, engine_of(run), session=Session(on_event))
    return run.folder


def fail_at(step: int, kind: type[StepsTaken] | type[Evaluated]) -> OnEvent:
    """Return a function that divides by zero at the event of a step."""

    def on_event(event: Event) -> None:
        if isinstance(event, kind):
            1 / max(0, step - event.step)

    return on_event


def lose_everything(folder: Path) -> Path:
    """Remove all models and checkpoints of a run, and add unfinished files of a killed process."""
    run = train(folder).folder
    for path in (*run.glob("*.safetensors"), *run.glob("checkpoints/*")):
        path.unlink()
    (run / ".1.best.safetensors.tmp").touch()
    (run / "checkpoints/.1.step-60.safetensors.tmp").touch()
    return run


def lose_newest_checkpoint(folder: Path) -> Path:
    run = train(folder).folder
    (run / "checkpoints/step-50.safetensors").write_bytes(b"")
    return run


@pytest.mark.parametrize(
    ("damage", "step"),
    [
        pytest.param(lambda folder: crash(folder, step=13), 10, id="killed"),
        pytest.param(
            lambda folder: crash(folder, step=50),
            40,
            id="killed at the end",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda folder: train_watched(folder, fail_at(25, StepsTaken)),
            20,
            id="an error",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda folder: train_watched(folder, fail_at(30, Evaluated)),
            30,
            id="an error at an evaluation",
        ),
        pytest.param(lose_everything, 0, id="everything lost"),
        pytest.param(lose_newest_checkpoint, 40, id="the newest checkpoint lost"),
    ],
)
def test_a_damaged_run_ends_like_a_whole_one(
    damage: Callable[[Path], Path],
    step: int,
    reference: Trained,
    tmp_path: Path,
) -> None:
    resumed = resume(damage(tmp_path / "run"))
    assert resumed.of_type(Resumed) == ([Resumed(step, 50)] if step else [])
    check_same(resumed, reference)
    check_events(resumed.folder, last=50)
    assert not [*resumed.folder.glob("**/.*.tmp")]


def test_a_run_that_begins_again_has_new_event_files(tmp_path: Path) -> None:
    run = lose_everything(tmp_path / "run")
    resume(run)
    assert {len(files) for files in event_files(run).values()} == {1}


def test_a_resume_leaves_a_run_that_has_ended_as_it_was(reference: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(reference.folder, folder)
    resumed = resume(folder)
    assert resumed.of_type(Resumed) == [Resumed(50, 50)]
    assert resumed.outcome.reason == "all steps done"
    assert resumed.files() == reference.files()
    assert resumed.metrics == reference.metrics
    check_events(folder, last=50)


def test_a_run_without_checkpoints_does_not_overwrite_a_model(tmp_path: Path) -> None:
    folder = train(tmp_path / "run", "training.steps=10").folder
    shutil.rmtree(folder / "checkpoints")
    (folder / "last.safetensors").unlink()
    before = contents(folder)
    message = r"checkpoints: no checkpoint to continue from, but the run has best\.safe"
    with pytest.raises(CharlmError, match=message):
        resume(folder)
    assert contents(folder) == before


KEEP = "training.keep_checkpoints=true"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run that keeps all checkpoints."""
    return train(tmp_path_factory.mktemp("kept") / "run", KEEP)


def test_a_run_keeps_all_checkpoints_from_step_0_on(kept: Trained) -> None:
    names = {path.stem for path in (kept.folder / "checkpoints").iterdir()}
    assert names == {f"step-{step}" for step in range(0, 51, 10)}


def test_the_checkpoint_of_step_0_has_the_initial_weights(kept: Trained) -> None:
    initial = engine_of(open_run(kept.folder)).parameters()
    saved = kept.model("checkpoints/step-0.safetensors").parameters
    assert bytes_of(saved.tensors) == bytes_of(initial.tensors)


def test_a_killed_run_keeps_all_checkpoints(kept: Trained, tmp_path: Path) -> None:
    check_same(resume(crash(tmp_path / "killed", KEEP, step=25)), kept)


# The end


def test_twice_the_epochs_are_suggested_after_a_run_that_still_improves(tmp_path: Path) -> None:
    improving = Faults(weights=lambda step: step / 200_000)
    steps_per_epoch = len(LONG_TEXT) * 0.9 / (4 * 4)
    steps = f"training.steps={round(2.2 * steps_per_epoch)}"
    outcome = train(tmp_path / "run", steps, text=LONG_TEXT, faults=improving).outcome
    assert outcome.suggestion is not None
    assert (outcome.suggestion.kind, outcome.suggestion.epochs) == ("still learning", 4)
    assert End.read(outcome.folder / "ended.json") == End(outcome.progress.step, outcome.suggestion)


def test_nothing_is_suggested_without_validation_text(tmp_path: Path) -> None:
    setting = "corpus.validation_fraction=0"
    trained = train(tmp_path / "run", setting, text=LONG_TEXT, faults=FIRST_IS_BEST)
    assert trained.outcome.suggestion is None


def test_nothing_is_suggested_after_a_signal(tmp_path: Path) -> None:
    faults = interrupt_after(40)
    faults.weights = lambda step: step / 20_000
    outcome = train(tmp_path / "run", text=LONG_TEXT, faults=faults).outcome
    assert outcome.signal == signal.SIGINT
    assert outcome.suggestion is None


EARLY_STOPPING = "training.early_stopping=2"


@pytest.fixture
def stopped_early(tmp_path: Path) -> Trained:
    """Train a run that early stopping ends two evaluations after its best one."""
    return train(tmp_path / "run", EARLY_STOPPING, faults=FIRST_IS_BEST)


def test_early_stopping_ends_a_run_after_evaluations_without_a_new_best(
    stopped_early: Trained,
) -> None:
    assert stopped_early.outcome.reason == "no new best in 2 evaluations"
    assert [*stopped_early.validation()] == [10, 20, 30]


def test_a_run_that_early_stopping_ended_can_be_lengthened(stopped_early: Trained) -> None:
    longer = resume(stopped_early.folder, "training.steps=100")
    assert longer.outcome.progress.step > 30


def test_an_early_stopped_run_stays_ended_when_it_is_resumed(stopped_early: Trained) -> None:
    assert resume(stopped_early.folder).outcome.progress.step == 30


@pytest.fixture
def watched_events(tmp_path: Path) -> list[Event]:
    """Train a run from its second step, and return its events."""
    events: list[Event] = []
    train_watched(tmp_path / "run", events.append)
    return events


def test_each_step_is_reported_once_with_its_loss(
    watched_events: list[Event],
    reference: Trained,
) -> None:
    losses: dict[int, float] = {}
    for event in watched_events:
        if isinstance(event, StepsTaken):
            losses.update(enumerate(event.losses, event.step - len(event.losses) + 1))
    assert [*losses] == [*range(2, 51)]
    lines = [line for line in reference.metrics if line["split"] == "train"]
    for line in lines[1:]:
        mean = np.mean([losses[line["step"] - earlier] for earlier in range(5)])
        assert mean == pytest.approx(line["nats_per_char"])


def test_each_evaluation_is_reported_once_with_its_loss(
    watched_events: list[Event],
    reference: Trained,
) -> None:
    evaluations = [event for event in watched_events if isinstance(event, Evaluated)]
    losses = [(event.step, event.nats_per_char) for event in evaluations]
    assert losses == [*reference.validation().items()]


# Divergence


def loss_at(step: int, nats: float) -> Faults:
    """Report a loss at a step."""
    return Faults(loss=lambda taken, _: nats if taken == step else None)


def state_from(step: int, number: float) -> Faults:
    """Add a number to the tensors that are saved from a step on."""
    return Faults(state=lambda taken: number if taken >= step else 0.0)


def weights_from(step: int, factor: float) -> Faults:
    """Multiply the weights that are evaluated from a step on."""
    return Faults(weights=lambda taken: factor if taken >= step else 1.0)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        pytest.param(loss_at(25, math.nan), "the loss is nan .* at step 25", id="nan loss"),
        pytest.param(loss_at(25, math.inf), "the loss is inf .* at step 25", id="infinite loss"),
        pytest.param(
            state_from(20, math.inf),
            "not every weight is finite at step 20",
            id="infinite state",
        ),
        pytest.param(
            weights_from(20, math.nan),
            "not every weight is finite at step 20",
            id="nan weights",
        ),
    ],
)
def test_a_run_that_diverges_ends_with_a_sound_checkpoint(
    faults: Faults,
    message: str,
    tmp_path: Path,
) -> None:
    run = tmp_path / "run/run"
    advice = r": training has diverged: .*lower training\.optimizer\.learning_rate"
    with pytest.raises(DivergenceError, match=f"^{message}{advice}") as caught:
        train(tmp_path / "run", faults=faults)
    assert caught.value.advice == Advice("lower the learning rate", run)
    saved = checkpoints.restore(run / "checkpoints", on_event=refuse_events)
    assert saved.facts.progress.step in {10, 20}
    assert all(np.isfinite(tensor).all() for tensor in saved.tensors.values())
    resumed = resume(run, "training.optimizer.learning_rate=1e-3")
    assert resumed.outcome.reason == "all steps done"


def test_a_run_that_diverges_after_the_checkpoint_of_step_0_advises_a_resume(
    tmp_path: Path,
) -> None:
    with pytest.raises(DivergenceError) as caught:
        train(tmp_path / "run", KEEP, faults=loss_at(5, math.nan))
    assert caught.value.advice == Advice("lower the learning rate", tmp_path / "run/run")


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(loss_at(5, math.nan), id="between two evaluations"),
        pytest.param(state_from(10, math.inf), id="as its first checkpoint is saved"),
        pytest.param(weights_from(10, math.nan), id="at its first evaluation"),
    ],
)
def test_a_run_that_diverges_before_its_first_checkpoint_advises_no_resume(
    faults: Faults,
    tmp_path: Path,
) -> None:
    with pytest.raises(DivergenceError) as caught:
        train(tmp_path / "run", faults=faults)
    assert caught.value.advice is None


# The weights of another model


def test_a_resumed_run_does_not_need_the_model_with_its_initial_weights(
    reference: Trained,
    tmp_path: Path,
) -> None:
    init = Path(shutil.copy(reference.folder / "last.safetensors", tmp_path / "parent.safetensors"))
    whole = train(tmp_path / "whole", init=init)
    stopped = train(tmp_path / "run", init=init, faults=interrupt_after(5))
    assert stopped.outcome.progress.step == 5
    init.unlink()
    check_same(resume(stopped.folder), whole)


@pytest.fixture(scope="module")
def worse_child(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run that gets worse than its initial weights."""
    folder = tmp_path_factory.mktemp("worse")
    init = train(folder / "parent", text=LONG_TEXT).folder / "last.safetensors"
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    return train(folder / "child", text=LONG_TEXT, faults=worse, init=init)


def test_a_run_that_gets_worse_keeps_its_initial_weights_as_its_best(worse_child: Trained) -> None:
    assert worse_child.outcome.progress.best_step == 0
    assert worse_child.model("best.safetensors").facts["step"] == 0
    assert worse_child.outcome.has_initial_weights


def test_nothing_is_suggested_after_a_run_that_gets_worse_than_its_initial_weights(
    worse_child: Trained,
) -> None:
    assert not worse_child.outcome.is_uncertain
    assert worse_child.outcome.suggestion is None


# Settings

CHANGES = """
seed=2
corpus.encoding=latin-1
corpus.min_count=2
corpus.validation_fraction=0.2
corpus.test_fraction=0.1
training.batch_size=5
training.sequence_length=5
training.growing_windows=true
training.shuffle=false
training.data_seed=7
training.epochs=1
training.steps=40
training.schedule.name=constant
training.schedule.warmup_steps=3
training.schedule.final_fraction=0.5
training.ngram_weight=0.3
training.early_stopping=1
training.evaluations=4
training.keep_checkpoints=true
training.log_every=7
training.earlier_lengths=[{until: 5, steps: 10, evaluations: 2}]
sampling.length=9
sampling.prompt=b
sampling.temperature=3.0
sampling.top_k=1
sampling.top_p=0.1
sampling.min_p=0.9
""".strip().splitlines()
"""Another value of each setting that the loop reads.

Teachers, initial weights and recital are tested elsewhere.
"""
CHANGED_KEYS = {change.partition("=")[0] for change in CHANGES}


def test_the_table_has_every_setting_that_the_loop_reads() -> None:
    elsewhere = {
        "recipe",
        "training.initial_weights",
        "training.teacher_weight",
        "training.until_recited",
    }
    read = {key for key in SETTINGS - OF_ENGINES - elsewhere if ".teachers." not in key}
    assert read == CHANGED_KEYS


def test_each_setting_of_the_table_that_is_a_name_has_two_values() -> None:
    values = {
        key: get_args(field.annotation)
        for key, field in walk(Config)
        if key in CHANGED_KEYS and get_origin(field.annotation) is Literal
    }
    assert values == {"training.schedule.name": ("constant", "cosine")}


def files_written(folder: Path, *overrides: str) -> list[Any]:
    """Return everything that a run with some settings writes."""
    sampling = ("sampling.length=20", "sampling.temperature=0.7")
    run = train(folder, *sampling, *overrides, text=TEXT + "é", faults=FIRST_IS_BEST)
    weights = {path.name: weights_of(path) for path in run.folder.rglob("*.safetensors")}
    return [weights, run.repeatable_metrics, run.outcome.sample]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return everything that a run with the usual settings writes."""
    return files_written(tmp_path_factory.mktemp("usual") / "run")


def test_the_same_settings_write_the_same(usual: list[Any], tmp_path: Path) -> None:
    assert files_written(tmp_path / "again") == usual


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_changes_the_files_of_a_run(
    change: str,
    usual: list[Any],
    tmp_path: Path,
) -> None:
    assert files_written(tmp_path / "run", change) != usual


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "now", "events"),
    [
        pytest.param("a", "b", [KernelChanged()], id="another library"),
        pytest.param("a", "a", [], id="the same library"),
        pytest.param(None, "b", [], id="no library before"),
        pytest.param("a", None, [], id="no library now"),
    ],
)
def test_a_resume_reports_another_kernel(
    before: str | None,
    now: str | None,
    events: list[KernelChanged],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FakeEngine, "library", before)
    run = train(tmp_path / "run", "training.steps=10").folder
    monkeypatch.setattr(FakeEngine, "library", now)
    assert resume(run, "training.steps=20").of_type(KernelChanged) == events


def test_the_logs_are_synced_before_a_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    synced: list[tuple[int, int]] = []

    def identity(status: os.stat_result) -> tuple[int, int]:
        """Return the number and the size of a file; a number alone may be used again."""
        return status.st_ino, status.st_size

    monkeypatch.setattr(os, "fsync", lambda file: synced.append(identity(os.fstat(file))))
    run = train(tmp_path / "run", "training.steps=10").folder
    saved = identity((run / "checkpoints/step-10.safetensors").stat())
    before = synced[: len(synced) - synced[::-1].index(saved)]
    logs = [run / "metrics.jsonl", *run.rglob("events.*")]
    assert len(logs) == 5
    for path in logs:
        assert identity(path.stat()) in before


@pytest.fixture
def ten_steps(tmp_path: Path) -> Path:
    """Train a run of ten steps."""
    return train(tmp_path / "run", "training.steps=10").folder


def check_refused(run: Path, message: str, *, steps: int = 20) -> None:
    """Check that resuming a run is refused, and that its files stay as they were."""
    before = contents(run)
    with pytest.raises(CharlmError, match=message):
        resume(run, f"training.steps={steps}")
    assert contents(run) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "tanh",
            "relu",
            r"run/config\.yaml: model\.rnn\.activation: found 'relu'; must be 'tanh'",
        ),
        ("units: 8", "units: 9", "does not fit the settings; to resume the run"),
    ],
)
def test_a_run_whose_network_was_changed_is_refused(
    old: str,
    new: str,
    message: str,
    ten_steps: Path,
) -> None:
    config = ten_steps / "config.yaml"
    config.write_text(config.read_text().replace(old, new))
    check_refused(ten_steps, message)


def test_a_run_whose_text_was_changed_is_refused(ten_steps: Path) -> None:
    shutil.rmtree(ten_steps / "corpus")
    make_corpus(ten_steps.parent, TEXT[::-1]).folder.rename(ten_steps / "corpus")
    check_refused(ten_steps, "run/corpus: not the corpus that the run was trained on")


def test_a_length_before_the_last_step_is_refused(ten_steps: Path) -> None:
    message = r"training.steps: gives a run of 9 steps, but it is at step 10"
    check_refused(ten_steps, message, steps=9)


def logged_changes(run: Trained) -> list[tuple[int, dict[str, Any]]]:
    """Return the step and the settings of each change in metrics.jsonl."""
    lines = [line for line in run.metrics if line.get("event") == "settings"]
    return [(line["step"], line["changes"]) for line in lines]


FIRST_CHANGE = {
    "training.steps": {"from": 10, "to": 20},
    "training.log_every": {"from": 5, "to": 7},
}


def test_settings_that_a_resume_changes_are_reported(ten_steps: Path) -> None:
    resumed = resume(ten_steps, "training.steps=20", "training.log_every=7")
    changes = resumed.of_type(SettingChanged)
    assert SettingChanged("training.steps", 10, 20) in changes
    assert SettingChanged("training.log_every", 5, 7) in changes
    assert logged_changes(resumed) == [(10, FIRST_CHANGE)]


def test_each_change_of_settings_is_logged_once_even_if_the_run_crashes(ten_steps: Path) -> None:
    resume(ten_steps, "training.steps=20", "training.log_every=7")
    with pytest.raises(ZeroDivisionError):
        resume(ten_steps, "training.steps=40", faults=crash_after(21))
    resume(ten_steps)
    second_change = {"training.steps": {"from": 20, "to": 40}}
    assert logged_changes(resume(ten_steps)) == [(10, FIRST_CHANGE), (20, second_change)]


# Resuming from an older checkpoint


def test_a_best_model_that_is_lost_is_reported(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", faults=FIRST_IS_BEST)
    (trained.folder / "best.safetensors").unlink()
    resumed = resume(trained.folder, "training.steps=60", faults=FIRST_IS_BEST)
    assert [event.step for event in resumed.of_type(BestModelLost)] == [10]


@pytest.mark.parametrize("keep", ["false", pytest.param("true", marks=pytest.mark.slow)])
def test_a_resume_from_an_older_checkpoint_removes_everything_later(
    keep: str,
    tmp_path: Path,
) -> None:
    """The best network is that of step 50, and that of step 10 before."""
    wavering = Faults(weights=lambda step: {10: 0.9, 50: 1.0}.get(step, 0.1))
    folder = train(tmp_path / "run", f"training.keep_checkpoints={keep}", faults=wavering).folder
    assert read_model(folder / "best.safetensors").facts["step"] == 50
    (folder / "checkpoints/step-50.safetensors").unlink()
    resumed = resume(folder, faults=interrupt_after(49))
    assert resumed.outcome.progress.step == 49
    assert resumed.model("last.safetensors").facts["step"] == 49
    for path in folder.rglob("*.safetensors"):
        assert read_model(path).facts["step"] <= 49, path
    assert max(line["step"] for line in resumed.metrics) <= 49
    for path in folder.rglob("events.*"):
        assert max(event.step for event in EventFileLoader(str(path)).Load()) <= 49, path
    newest = {tag: max(steps) for tag, steps in event_steps(folder).items() if "loss" in tag}
    assert newest == {"train/loss": 45, "validation/loss": 40, "5-gram/loss": 40}
    assert not (folder / "ended.json").exists()
    if keep == "true":
        assert resumed.model("best.safetensors").facts["step"] == 10
    else:
        assert not (folder / "best.safetensors").exists()


# A run that is lengthened


@pytest.fixture(
    scope="module", params=["false", "true"], ids=["windows of one length", "growing windows"]
)
def lengthened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run, and lengthen it at its end, in its middle and at its end again."""
    folder = tmp_path_factory.mktemp("lengthened") / "run"
    run = train(folder, f"training.growing_windows={request.param}").folder
    resume(run, "training.steps=80")
    resume(run, "training.steps=200", faults=interrupt_after(120))
    return resume(run, "training.steps=150")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["characters", "epoch", "seconds"])
def test_the_position_of_a_lengthened_run_only_grows(key: str, lengthened: Trained) -> None:
    lines = [line for line in lengthened.metrics if line["split"] == "train"]
    assert [line["step"] for line in lines] == [*range(5, 151, 5)]
    values = [line[key] for line in lines]
    assert values == sorted(set(values))


def test_tensorboard_reads_each_step_of_a_lengthened_run_once(tmp_path: Path) -> None:
    run = train(tmp_path / "run").folder
    resume(run, "training.steps=100", faults=interrupt_after(83))
    resume(run)
    check_events(run, last=100)


def rates_by_step(run: Trained) -> dict[int, float | None]:
    return {line["step"]: line.get("learning_rate") for line in run.metrics}


def test_a_lengthened_run_can_be_repeated_from_its_config(
    lengthened: Trained,
    tmp_path: Path,
) -> None:
    folder = lengthened.folder
    recipe = shutil.copy(folder / "config.yaml", tmp_path / "recipe.yaml")
    run = begin_run(tmp_path / "again", (), text=folder.parent / "text.txt", recipe=recipe)
    repeated = train_begun(run)
    assert rates_by_step(repeated) == rates_by_step(lengthened)
    name = "last.safetensors"
    assert weights_of(repeated.folder / name) == weights_of(folder / name)


def test_a_lengthened_run_is_evaluated_as_often_as_before(reference: Trained) -> None:
    shutil.copytree(reference.folder, "run")
    longer = resume(Path("run"), "training.steps=100")
    assert [*longer.validation()] == [*range(10, 101, 10)]


# The outcome of a resumed run


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run whose validation text is long enough for a suggestion."""
    return train(tmp_path_factory.mktemp("long") / "run", text=LONG_TEXT)


@pytest.mark.parametrize(
    "step",
    [45, 50],
    ids=["before the last evaluation", "after the last evaluation"],
)
def test_a_resumed_run_has_the_same_suggestion(
    step: int,
    long_run: Trained,
    tmp_path: Path,
) -> None:
    stopped = train(tmp_path / "run", text=LONG_TEXT, faults=interrupt_after(step))
    resumed = resume(stopped.folder)
    assert long_run.outcome.suggestion is not None
    assert long_run.outcome.suggestion.kind == "too few steps"
    assert resumed.outcome.suggestion == long_run.outcome.suggestion
    assert resumed.outcome.comparison == long_run.outcome.comparison


def test_a_resumed_run_has_the_same_difference_from_its_best_evaluation(tmp_path: Path) -> None:
    worse_at_the_end = Faults(weights=lambda step: 1.0 if step <= 40 else 3.0)
    whole = train(tmp_path / "whole", text=LONG_TEXT, faults=worse_at_the_end)
    before = whole.outcome.difference
    after = resume(whole.folder).outcome.difference
    assert before is not None
    assert before.standard_error is not None
    assert after is not None
    assert after.nats == pytest.approx(before.nats, abs=1e-5)
    assert after.standard_error == pytest.approx(before.standard_error, abs=1e-5)
