"""Runs that are interrupted, limited in time, or that diverge: each can be repeated exactly."""

import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from arrays import bytes_of
from fake_engine import (
    FIRST_IS_BEST,
    OF_ENGINES,
    SETTINGS,
    Call,
    FakeEngines,
    Faults,
    crash_after,
    interrupt_after,
)
from fake_runs import (
    LONG_TEXT,
    STEPS_PER_EPOCH,
    TEXT,
    Clock,
    Trained,
    begin,
    check_same,
    check_same_end,
    engine_of,
    resume,
    ticking,
    timed_steps,
    train,
    train_begun,
)
from models import weights_of
from run_folders import contents, event_steps

from charlm.core.checkpoints import saved_steps
from charlm.core.evaluating import DivergenceError, generate_sample
from charlm.core.model_file import read_model
from charlm.errors import CharlmError
from charlm.events import Evaluated, Event, Saved, Started, StepsTaken
from charlm.runs.run import open_run
from charlm.runs.session import Session
from charlm.runs.timing import TimeLimit
from charlm.runs.trainer import continue_run

KEEP = "training.keep_checkpoints=true"

# Calls of the engine


def calls_of(
    folder: Path,
    *overrides: str,
    faults: Faults | None = None,
) -> list[Call]:
    """Train a run in folder/run/run, and return the calls of its engine."""
    return train(folder / "run", *overrides, faults=faults).engine.calls


def test_calls_read_the_windows_of_each_epoch_in_order(tmp_path: Path) -> None:
    calls = calls_of(tmp_path, "training.epochs=2")
    run = open_run(tmp_path / "run/run")
    batches = engine_of(run).batches
    epochs = [batches.positions(epoch=epoch, first=0, count=STEPS_PER_EPOCH) for epoch in (0, 1)]
    windows = np.concatenate([call.windows for call in calls])
    expected = run.corpus.split("train")[np.concatenate(epochs)]
    np.testing.assert_array_equal(windows, expected)


def test_only_an_epoch_begins_with_the_zero_state(tmp_path: Path) -> None:
    step = 0
    resets: list[int] = []
    for call in calls_of(tmp_path):
        if call.reset_state:
            resets.append(step)
        step += len(call.windows)
    assert resets == [0, STEPS_PER_EPOCH, 2 * STEPS_PER_EPOCH]


def test_each_character_has_the_soft_targets_of_its_own_position(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "training.ngram_weight=0.5", faults=interrupt_after(1)).folder
    ids = open_run(run).corpus.split("train")
    certain = np.eye(ids.max() + 1, dtype="<f2")[ids[1:]]
    (run / "soft_targets.bin").write_bytes(certain.tobytes())
    for call in resume(run).engine.calls:
        assert call.soft_targets is not None
        np.testing.assert_array_equal(call.soft_targets.argmax(-1), call.windows[:, 1:])


def test_slow_steps_have_shorter_calls(tmp_path: Path) -> None:
    """The first call takes 0.25 s, and each other one half a second."""
    faults = Faults(seconds=lambda step: 0.25 if step == 1 else 0.5)
    calls = calls_of(tmp_path, "training.steps=25", "training.evaluations=1", faults=faults)
    assert [len(call.windows) for call in calls[:3]] == [1, 2, 2]


# Interruptions

KINDS = {
    "plain": (),
    "n-grams": ("training.ngram_weight=0.5",),
    "initial weights": (),
    "all checkpoints": (KEEP,),
}


def train_kind(
    kind: str,
    folder: Path,
    parent: Trained,
    faults: Faults | None = None,
) -> Trained:
    """Train a run of some kind; one may begin with the weights of another run."""
    init = parent.folder / "last.safetensors" if kind == "initial weights" else None
    return train(folder, *KINDS[kind], init=init, faults=faults)


@pytest.fixture(scope="module", params=KINDS)
def whole(
    request: pytest.FixtureRequest, reference: Trained, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Trained]:
    """Train a run of each kind without interruption, which tests only read."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    return request.param, train_kind(request.param, folder, reference)


MORE_STEPS = [pytest.param(step, marks=pytest.mark.slow) for step in (1, STEPS_PER_EPOCH, 30, 49)]


@pytest.mark.parametrize("step", [7, *MORE_STEPS])
def test_an_interrupted_run_ends_like_a_whole_one(
    step: int, whole: tuple[str, Trained], reference: Trained, tmp_path: Path
) -> None:
    kind, expected = whole
    stopped = train_kind(kind, tmp_path / "run", reference, interrupt_after(step))
    assert stopped.outcome.step == step
    resumed = resume(stopped.folder)
    assert resumed.outcome.reason == "all steps done"
    assert resumed.of_type(Started) == [Started(stopped.folder, step, 50)]
    check_same_end(resumed, expected)


def test_a_signal_ends_a_run_after_the_present_step(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(7))
    assert (stopped.outcome.step, stopped.outcome.signal) == (7, signal.SIGINT)
    assert stopped.outcome.reason == "stopped by SIGINT"
    assert saved_steps(stopped.folder) == [7]
    assert not (stopped.folder / "ended.json").exists()


def test_a_resumed_run_continues_to_count_its_time(tmp_path: Path) -> None:
    stopped = train(tmp_path / "run", faults=interrupt_after(45), clock=ticking(100.0))
    before = stopped.outcome
    after = resume(stopped.folder).outcome
    assert after.elapsed_seconds > before.elapsed_seconds > 100
    assert after.seconds > before.seconds > 0


def test_a_run_is_saved_once_a_minute_between_evaluations(tmp_path: Path) -> None:
    faults = crash_after(75)
    faults.is_slow = True  # a step takes a second
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", "training.steps=200", "training.evaluations=1", faults=faults)
    with pytest.raises(ZeroDivisionError):
        resume(tmp_path / "run/run", faults=faults)
    assert saved_steps(tmp_path / "run/run") == [60]


# A folder that is replaced while its run is trained


@pytest.mark.parametrize(
    ("step", "length"),
    [(30, 8), (50, 8), (50, 0)],
    ids=["between saves", "after the last", "with the temperature of the user"],
)
def test_a_run_whose_folder_was_replaced_writes_nothing_more(
    step: int, length: int, reference: Trained, tmp_path: Path
) -> None:
    setting = f"sampling.length={length}"
    run = train(tmp_path / "run", setting, faults=interrupt_after(1)).folder
    moved = tmp_path / "moved"
    before: list[dict[str, bytes | None]] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Saved) and event.step == step:
            run.rename(moved)
            shutil.copytree(reference.folder, run)
            before.append(contents(moved))

    message = r"run: was moved, removed or replaced in the meantime; nothing more is written"
    with pytest.raises(CharlmError, match=message):
        continue_run(run, engines=FakeEngines(), session=Session(on_event))
    assert contents(run) == contents(reference.folder)
    assert [contents(moved)] == before


# Time limits


def test_a_run_without_a_checkpoint_resumes_with_its_initial_weights(
    reference: Trained, tmp_path: Path
) -> None:
    initial = reference.folder / "last.safetensors"
    whole = train(tmp_path / "whole", init=initial)
    run = begin(tmp_path / "run", text=whole.folder.parent / "text.txt", init=initial)
    check_same(resume(run.folder), whole)


def test_a_run_whose_time_is_over_logs_its_last_steps(reference: Trained, tmp_path: Path) -> None:
    run = begin(tmp_path / "run", text=reference.folder.parent / "text.txt")
    clock = Clock()
    faults = timed_steps(clock, evaluation_seconds=7)
    trained = train_begun(run, faults=faults, clock=clock, limit=TimeLimit(1, 9, Clock(9)))
    assert trained.outcome.elapsed_seconds == 8
    assert [(line["split"], line["step"]) for line in trained.metrics] == [
        ("train", 1),
        ("validation", 1),
    ]


# Other ends


def test_early_stopping_ends_a_run_after_evaluations_without_a_new_best(tmp_path: Path) -> None:
    trained = train(tmp_path / "run", "training.early_stopping=2", faults=FIRST_IS_BEST)
    assert trained.outcome.reason == "no new best in 2 evaluations"
    assert [*trained.validation()] == [10, 20, 30]


def test_a_resumed_run_goes_on_counting_evaluations_without_a_new_best(tmp_path: Path) -> None:
    faults = replace(FIRST_IS_BEST, after_call=interrupt_after(20).after_call)
    stopped = train(tmp_path / "run", "training.early_stopping=2", faults=faults)
    assert stopped.outcome.step == 20
    resumed = resume(stopped.folder, faults=FIRST_IS_BEST)
    assert [*resumed.validation()] == [10, 20, 30]


# Events


def test_the_speed_is_reported_with_the_time_left(tmp_path: Path) -> None:
    """A step takes a second and reads 16 characters; an evaluation takes ten seconds."""
    clock = Clock()
    faults = timed_steps(clock, evaluation_seconds=10.0)
    trained = train(tmp_path / "run", faults=faults, clock=clock)
    steps = trained.of_type(StepsTaken)
    assert {(event.total, event.characters_per_second) for event in steps} == {(50, 16.0)}
    elapsed = {step: step + 10 * ((step - 1) // 10) for step in range(1, 51)}
    expected = {step: elapsed[step] / step * (50 - step) for step in elapsed}
    assert {event.step: event.left_seconds for event in steps} == pytest.approx(expected)
    for event in trained.of_type(Evaluated):
        assert event.left_seconds == pytest.approx(expected[event.step])


def test_each_evaluation_is_reported_with_its_losses(reference: Trained) -> None:
    lines = {(line["split"], line["step"]): line["nats_per_char"] for line in reference.metrics}
    losses = [*reference.validation().values()]
    for number, event in enumerate(reference.of_type(Evaluated)):
        assert (event.step, event.total) == (10 * (number + 1), 50)
        assert event.train_nats == lines["train", event.step]
        assert event.validation_nats == losses[number]
        assert event.is_best == (losses[number] == min(losses[: number + 1]))


# Divergence


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (
            Faults(loss=lambda step, _: math.nan if step == 25 else None),
            "the loss is nan .* at step 25",
        ),
        (
            Faults(norm=lambda step: math.inf if step == 25 else None),
            "the gradient norm inf at step 25",
        ),
        (
            Faults(state=lambda step: math.inf if step >= 30 else 0.0),
            "not every weight is finite at step 30",
        ),
        (
            Faults(weights=lambda step: math.nan if step >= 30 else 1.0),
            "not every weight is finite at step 30",
        ),
        (
            Faults(weights=lambda step: 3.4e38 if step >= 30 else 1.0),
            "the validation loss is inf at step 30",
        ),
    ],
    ids=["loss", "norm", "state", "weights", "validation"],
)
def test_a_run_that_diverges_keeps_its_checkpoints(
    faults: Faults, message: str, tmp_path: Path
) -> None:
    advice = r".*training has diverged: set a lower training\.optimizer\.learning_rate"
    with pytest.raises(DivergenceError, match=message + advice):
        train(tmp_path / "run", faults=faults)
    run = tmp_path / "run/run"
    assert saved_steps(run) == [20, 10]
    assert read_model(run / "last.safetensors").facts["step"] == 20
    assert not (run / "ended.json").exists()


# Initial weights, and runs without steps


def test_a_run_that_gets_worse_keeps_its_initial_weights_as_its_best(
    reference: Trained, tmp_path: Path
) -> None:
    worse = Faults(weights=lambda step: 1.0 if step == 0 else 50.0)
    init = reference.folder / "last.safetensors"
    trained = train(tmp_path / "run", init=init, faults=worse)
    assert trained.outcome.best_step == 0
    assert weights_of(trained.folder / "best.safetensors") == weights_of(init)
    assert trained.validation()[0] == pytest.approx(reference.validation()[50], rel=1e-5)
    assert trained.of_type(Evaluated)[0].train_nats is None


def test_initial_weights_are_not_evaluated_without_a_validation_text(
    reference: Trained, tmp_path: Path
) -> None:
    init = reference.folder / "last.safetensors"
    trained = train(tmp_path / "run", "corpus.validation_fraction=0", init=init)
    assert [event.step for event in trained.of_type(Evaluated)] == [10, 20, 30, 40, 50]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train a run without steps, which tests only read."""
    return train(tmp_path_factory.mktemp("untrained") / "run", "training.steps=0", text=LONG_TEXT)


def test_a_run_without_steps_is_evaluated_once(untrained: Trained) -> None:
    assert untrained.outcome.reason == "not trained: the run has no steps"
    assert (untrained.outcome.step, untrained.outcome.is_improving) == (0, False)
    (event,) = untrained.of_type(Evaluated)
    assert untrained.validation() == {0: event.validation_nats}
    assert event_steps(untrained.folder)["validation/loss"] == [0]


@pytest.mark.parametrize("name", ["best.safetensors", "last.safetensors"])
def test_a_network_without_steps_is_saved_with_its_first_weights(
    name: str, untrained: Trained
) -> None:
    first = engine_of(open_run(untrained.folder)).parameters()
    assert bytes_of(untrained.model(name).parameters.tensors) == bytes_of(first.tensors)


def test_without_validation_text_its_loss_is_measured_on_the_start_of_the_training_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.core.loop.EVALUATED_CHARACTERS", 200)
    trained = train(tmp_path / "run", "training.steps=0", "corpus.validation_fraction=0")
    run = open_run(trained.folder)
    engine = engine_of(run)
    expected = engine.score(engine.parameters(), run.corpus.ids[:200]).nats_per_char
    (line,) = trained.metrics
    assert (line["split"], line["nats_per_char"]) == ("train", expected)
    (event,) = trained.of_type(Evaluated)
    assert trained.outcome.nats_per_char == event.train_nats == expected


# Settings

CHANGES = """
seed=2
corpus.encoding=latin-1
corpus.min_count=2
corpus.validation_fraction=0.2
corpus.test_fraction=0.1
training.batch_size=5
training.sequence_length=5
training.epochs=1
training.steps=40
training.schedule.warmup_steps=3
training.schedule.final_fraction=0.5
training.ngram_weight=0.3
training.target_loss=9
training.early_stopping=1
training.evaluations=4
training.keep_checkpoints=true
sampling.length=9
sampling.prompt=b
sampling.temperature=3.0
sampling.top_k=1
sampling.top_p=0.1
sampling.min_p=0.9
""".strip().splitlines()
"""Another value of each setting that the loop reads."""


def test_the_table_has_every_setting_that_the_loop_reads() -> None:
    initial = {"training.initial_weights", "training.initial_model"}
    elsewhere = {"recipe", "corpus.errors", *initial}
    read = {change.partition("=")[0] for change in CHANGES}
    assert read == SETTINGS - OF_ENGINES - elsewhere


def files_written(folder: Path, *overrides: str) -> list[Any]:
    """Return everything that a run with some settings writes."""
    sampling = ("sampling.length=20", "sampling.temperature=0.7")
    run = train(folder, *sampling, *overrides, text=TEXT + "é", faults=FIRST_IS_BEST)
    weights = {path.name: weights_of(path) for path in run.folder.rglob("*.safetensors")}
    sample = generate_sample(run.config, run.model("best.safetensors"))
    return [weights, run.repeatable_metrics, sample]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return everything that a run with the usual settings writes."""
    return files_written(tmp_path_factory.mktemp("usual") / "run")


def test_the_same_settings_write_the_same(usual: list[Any], tmp_path: Path) -> None:
    assert files_written(tmp_path / "again") == usual


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_changes_the_files_of_a_run(
    change: str, usual: list[Any], tmp_path: Path
) -> None:
    assert files_written(tmp_path / "run", change) != usual
